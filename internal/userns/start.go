package userns

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
	"berth/internal/sys"
)

// Command is a program to start.
type Command struct {
	Path string
	Args []string // from argv[0] on; empty is the path alone
	Env  []string
	Dir  string // empty is ours
	// Files are its descriptors from 0 on; nil ones of the first three are
	// the null device.
	Files []*os.File
	// Namespaces are made for it alone inside the user namespace, as CLONE_NEW*
	// flags: unix.CLONE_NEWNS for one that mounts.
	Namespaces uint64
}

// Process is a program that was started.
type Process struct{ Pid int }

// Wait waits for the end of the process and returns its exit code, or 128 and
// the signal as a shell does.
func (p *Process) Wait() int {
	ws := sys.Wait(p.Pid)
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// Kill ends the process, which must not have been waited for.
func (p *Process) Kill() { unix.Kill(p.Pid, unix.SIGKILL) }

const (
	maxFiles  = 64
	highFiles = 100 // above all places of files
)

// Start starts a program in a user namespace, as its root: an id that is the
// caller outside. It keeps the caller's groups, which may be what lets it reach
// the data root. It outlives us unless something else, such as the end of its
// input, ends it.
//
// The path is looked up by the caller's rights and those over the namespace's
// ids.
func Start(ns *os.File, c Command) (*Process, error) {
	files, done, err := high(c.Files)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c.Path, err)
	}
	defer done()
	regs := registers(ns)
	ops := []nsinit.Op{enter()}
	add := func(call, what string, args ...nsinit.Arg) {
		ops = append(ops, nsinit.Op{Call: call, Args: args, What: what})
	}
	zero := nsinit.Int(0)
	if c.Namespaces != 0 {
		add("unshare", "make namespaces", nsinit.Flags(c.Namespaces))
	}
	add("setresgid", "become root of the user namespace", zero, zero, zero)
	add("setresuid", "become root of the user namespace", zero, zero, zero)
	if c.Dir != "" {
		add("chdir", "enter "+c.Dir, nsinit.Str(c.Dir))
	}
	// The status socket goes out of the way before the files get their
	// places, and comes next to them after it.
	add(nsinit.CallClose, "close descriptors", nsinit.Int(files[len(files)-1]-2))
	for i, fd := range files {
		add("dup3", "pass descriptors", nsinit.Int(fd), nsinit.Int(i), zero)
	}
	add(nsinit.CallClose, "close descriptors", nsinit.Int(len(files)-3))
	args := c.Args
	if len(args) == 0 {
		args = []string{c.Path}
	}
	add("execve", "run "+c.Path, nsinit.Str(c.Path), nsinit.Vec(args), nsinit.Vec(c.Env))
	// The child shares our memory until it executes, and with it whether
	// /proc/self is ours.
	before, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	child, err := nsinit.Spawn(&nsinit.Program{Ops: ops}, regs)
	if before == 1 {
		unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	}
	if err != nil {
		return nil, err
	}
	return &Process{Pid: child.Pid}, nil
}

// high duplicates descriptors to numbers above all places they may go to, in
// ascending order.
func high(files []*os.File) (fds []int, done func(), err error) {
	done = func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	if len(files) > maxFiles {
		return nil, done, fmt.Errorf("%d descriptors are more than %d", len(files), maxFiles)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, done, err
	}
	defer null.Close()
	for i := range max(len(files), 3) {
		f, least := null, highFiles
		if i < len(files) && files[i] != nil {
			f = files[i]
		}
		if len(fds) > 0 {
			least = fds[len(fds)-1] + 1
		}
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, least)
		if err != nil {
			done()
			return nil, func() {}, os.NewSyscallError("fcntl", err)
		}
		fds = append(fds, fd)
	}
	return fds, done, nil
}
