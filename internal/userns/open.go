package userns

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// errDone ends a process that was made for its namespace only.
var errDone = errors.New("done")

// Open makes a user namespace that has the map, and belongs to the caller. The
// process that it is made with exists only meanwhile: it waits for newuidmap and
// newgidmap to write its maps, until we hold its namespace.
func Open(m Map) (*os.File, error) {
	p := &nsinit.Program{Flags: unix.CLONE_NEWUSER, Ops: []nsinit.Op{dumpable(), pause()}}
	return hold(p, nil, func(pid int) error {
		gids := make(chan error, 1)
		go func() { gids <- write("newgidmap", pid, m.GIDs) }()
		err := write("newuidmap", pid, m.UIDs)
		if gerr := <-gids; err == nil {
			err = gerr
		}
		return err
	})
}

// Single makes a user namespace in which the caller is root, and nobody else is
// anybody: the only map that an account may write by itself.
func Single(uid, gid int) (*os.File, error) {
	p := &nsinit.Program{Flags: unix.CLONE_NEWUSER, Ops: []nsinit.Op{dumpable()}}
	for _, f := range [][2]string{
		{"setgroups", "deny"}, {"uid_map", fmt.Sprintf("0 %d 1\n", uid)}, {"gid_map", fmt.Sprintf("0 %d 1\n", gid)},
	} {
		p.Ops = append(p.Ops, writeTo("/proc/self/"+f[0], f[1])...)
	}
	p.Ops = append(p.Ops, pause())
	return hold(p, nil, func(int) error { return nil })
}

// writeTo are the operations that write a file of a process's.
func writeTo(path, text string) []nsinit.Op {
	const fd = nsinit.RegFree
	return []nsinit.Op{
		{
			Call: "openat", Out: fd, What: "open " + path,
			Args: []nsinit.Arg{nsinit.Int(unix.AT_FDCWD), nsinit.Str(path), nsinit.Int(unix.O_WRONLY | unix.O_CLOEXEC), nsinit.Int(0)},
		},
		{Call: "write", Args: []nsinit.Arg{nsinit.Ref(fd), nsinit.Bytes([]byte(text)), nsinit.Int(len(text))}, What: "map ids"},
		{Call: "close", Args: []nsinit.Arg{nsinit.Ref(fd)}, What: "map ids"},
	}
}

// Nest makes a user namespace inside of another, with whatever map of that one's
// ids.
func Nest(ns *os.File, m Map) (*os.File, error) {
	p := &nsinit.Program{Ops: []nsinit.Op{
		enter(),
		{Call: "unshare", Args: []nsinit.Arg{nsinit.Flags(unix.CLONE_NEWUSER)}, What: "make a user namespace inside another"},
		dumpable(), pause(),
	}}
	return hold(p, ns, func(pid int) error { return writeInside(ns, pid, m) })
}

// hold runs a program to its pause, has the maps written, and returns the
// namespace that the process is in.
func hold(p *nsinit.Program, ns *os.File, maps func(pid int) error) (user *os.File, err error) {
	_, spawned := nsinit.SpawnPausing(p, registers(ns), func(_, pid int) error {
		if err = maps(pid); err == nil {
			user, err = os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
		}
		return errDone
	})
	if user == nil && err == nil {
		err = spawned
	}
	return user, err
}

func registers(ns *os.File) map[nsinit.Reg]int {
	if ns == nil {
		return nil
	}
	return map[nsinit.Reg]int{nsinit.RegUserNS: int(ns.Fd())}
}

// enter makes the process one of the namespace, with all capabilities there.
func enter() nsinit.Op {
	return nsinit.Op{
		Call: "setns", Args: []nsinit.Arg{nsinit.Ref(nsinit.RegUserNS), nsinit.Flags(unix.CLONE_NEWUSER)},
		What: "enter the user namespace",
	}
}

// dumpable makes /proc/PID the caller's, which a change of rights has made
// root's: newuidmap looks at its owner.
func dumpable() nsinit.Op {
	zero := nsinit.Int(0)
	return nsinit.Op{Call: "prctl", Args: []nsinit.Arg{nsinit.Int(unix.PR_SET_DUMPABLE), nsinit.Int(1), zero, zero, zero}, What: "set dumpable"}
}

func pause() nsinit.Op {
	return nsinit.Op{Call: nsinit.CallPause, Args: []nsinit.Arg{nsinit.Int(1)}, What: "map ids"}
}

// write has newuidmap or newgidmap write a map.
func write(name string, pid int, rs []Range) error {
	path := find(os.DirFS("/"), helperFolders(), name)
	if path == "" {
		return fmt.Errorf("%s is not installed", name)
	}
	args := []string{strconv.Itoa(pid)}
	for _, r := range rs {
		args = append(args, fmt.Sprint(r.Inside), fmt.Sprint(r.Outside), fmt.Sprint(r.Size))
	}
	var said bytes.Buffer
	if err := run("/"+path, args, nil, &said); err != nil {
		text, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		if text == "" {
			text = err.Error()
		}
		return fmt.Errorf("cannot map the ids of /etc/subuid and /etc/subgid: %s", text)
	}
	return nil
}

// writeInside writes the maps of a process in a namespace inside of ns, as only
// a process of ns may.
func writeInside(ns *os.File, pid int, m Map) error {
	proc := fmt.Sprintf("/proc/%d/", pid)
	p := &nsinit.Program{Ops: []nsinit.Op{enter(), dumpable()}}
	for _, f := range []struct{ name, text string }{{"uid_map", text(m.UIDs)}, {"gid_map", text(m.GIDs)}} {
		p.Ops = append(p.Ops, writeTo(proc+f.name, f.text)...)
	}
	p.Ops = append(p.Ops, pause())
	written := false
	_, err := nsinit.SpawnPausing(p, registers(ns), func(int, int) error {
		written = true
		return errDone
	})
	if written {
		return nil
	}
	return err
}

// text is a map as the kernel reads it.
func text(rs []Range) string {
	var b strings.Builder
	for _, r := range rs {
		fmt.Fprintf(&b, "%d %d %d\n", r.Inside, r.Outside, r.Size)
	}
	return b.String()
}

// run runs a program of the host's to its end, with nothing of our environment.
func run(path string, args []string, stdout, stderr io.Writer) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	files, to := []*os.File{null, null, w}, stderr
	if stdout != nil {
		files, to = []*os.File{null, w, null}, stdout
	}
	p, err := os.StartProcess(path, append([]string{path}, args...), &os.ProcAttr{Env: []string{"PATH=/usr/bin:/bin"}, Files: files})
	w.Close()
	if err != nil {
		return err
	}
	io.Copy(to, io.LimitReader(r, 64<<10))
	st, err := p.Wait()
	if err == nil && !st.Success() {
		err = fmt.Errorf("%s: %s", path, st)
	}
	return err
}
