package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// watch looks for some seconds for processes of this container that run a
// program from elsewhere: berth on its way in. Programs in /bin are the
// container's own. Of what it finds it tries to open the "program" for writing
// (an image can have it run inside by "#!/proc/self/exe"), or to get at the
// "process": its memory, descriptors, folders, or itself by ptrace(2). It prints
// "LOOT" and what it got, once for each kind.
func watch(args []string) {
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: agent watch program|process SECONDS")
		os.Exit(2)
	}
	w := &watcher{said: map[string]bool{}, what: args[0]}
	var seconds float64
	fmt.Sscan(args[1], &seconds)
	fmt.Println("watching")
	for end := time.Now().Add(time.Duration(seconds * float64(time.Second))); time.Now().Before(end); {
		for pid := newest(); pid > 1 && pid > newest()-4; pid-- {
			w.look(pid)
		}
	}
	if w.program > 0 {
		w.write(fmt.Sprintf("/proc/self/fd/%d", w.program), "kept descriptor of the program "+w.name)
	}
	fmt.Printf("watched %d\n", w.met)
}

// trampoline is what executes a container's program for `berth oci`: a process
// of the container's by then, with its rights, of which only the program is to
// be guarded.
const trampoline = "/memfd:start"

type watcher struct {
	what    string // it is after
	said    map[string]bool
	met     int    // how often a process was met on its way in
	program int    // a descriptor of its program, 0 for none yet
	name    string // of that program
}

func (w *watcher) say(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if !w.said[s] {
		w.said[s] = true
		fmt.Println(s)
	}
}

// newest is the pid that this pid namespace has given last: the end of
// /proc/loadavg.
func newest() int {
	b, _ := os.ReadFile("/proc/loadavg")
	f := strings.Fields(string(b))
	n := 0
	if len(f) > 4 {
		fmt.Sscan(f[4], &n)
	}
	return n
}

func (w *watcher) look(pid int) {
	if pid == os.Getpid() {
		return
	}
	proc := fmt.Sprintf("/proc/%d/", pid)
	exe, err := os.Readlink(proc + "exe")
	if os.IsNotExist(err) {
		return
	}
	if err == nil && strings.HasPrefix(exe, "/bin/") {
		return
	}
	w.met++
	if err == nil && w.what == "process" && strings.HasPrefix(exe, trampoline) {
		return
	}
	if w.what == "program" {
		if err != nil {
			return // on its way in, and perhaps one of ours in a moment
		}
		w.write(proc+"exe", "program "+exe)
		if w.program <= 0 {
			if fd, err := unix.Open(proc+"exe", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				w.program, w.name = fd, exe
			}
		}
		return
	}
	w.pry(pid, proc)
}

// write tries to open a program for writing and tells with which error it was
// refused: "text file busy" is no defence, it passes. With O_TRUNC the kernel
// asks the mount before it asks whether the file is busy.
func (w *watcher) write(path, what string) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
		w.say("LOOT write to the %s", what)
		return
	}
	if err != unix.ENOENT && err != unix.ESRCH && err != unix.EACCES {
		w.say("refused: write: %v", err)
	}
}

// pry tries to get at a process that cannot be looked at from the outside.
func (w *watcher) pry(pid int, proc string) {
	for _, name := range []string{"mem", "environ", "auxv", "maps"} {
		fd, err := unix.Open(proc+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if !w.ours(proc) {
			w.say("LOOT %s of a process on its way in", name)
		}
		unix.Close(fd)
	}
	for _, name := range []string{"cwd", "root"} {
		if to, err := os.Readlink(proc + name); err == nil && !w.ours(proc) {
			w.say("LOOT %s of a process on its way in: %s", name, to)
		}
	}
	// Root may list the numbers of what is open: no more.
	fds, _ := os.ReadDir(proc + "fd")
	for _, fd := range fds {
		if to, err := os.Readlink(proc + "fd/" + fd.Name()); err == nil && !w.ours(proc) {
			w.say("LOOT a descriptor of a process on its way in: %s", to)
		}
	}
	if err := unix.PtraceSeize(pid); err == nil {
		if !w.ours(proc) {
			w.say("LOOT ptrace of a process on its way in")
		}
		unix.PtraceDetach(pid)
	}
}

// ours reports whether the process has become a program of the container
// meanwhile, which is fair game.
func (w *watcher) ours(proc string) bool {
	exe, err := os.Readlink(proc + "exe")
	return err == nil && (strings.HasPrefix(exe, "/bin/") || strings.HasPrefix(exe, trampoline)) || os.IsNotExist(err)
}
