package runtime

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// Events are what the maker of a process does meanwhile.
type Events struct {
	// Pause is called when the process pid has come to a stage and waits.
	// An error ends the process.
	Pause func(s Stage, pid int) error
}

// Process is one that was made.
type Process struct {
	Pid      int
	Console  *os.File // the master of its terminal, if it has one
	Listener *os.File // of its seccomp filter's notifications
}

// Create makes the process, a child of the caller. For a bundle with Wait it
// returns when the process stands still, and listen is a listening socket of
// type SOCK_SEQPACKET, at which [Start] is to knock. Else it returns when the
// program runs.
func (c *Compiled) Create(listen *os.File, ev Events) (*Process, error) {
	regs := map[nsinit.Reg]int{}
	if c.wait {
		if listen == nil {
			return nil, errors.New("a process that waits needs a socket to wait at")
		}
		regs[nsinit.RegListen] = int(listen.Fd())
	}
	if c.pid != 0 {
		fd, err := unix.PidfdOpen(c.pid, 0)
		if err != nil {
			return nil, fmt.Errorf("cannot find process %d of the container: %w", c.pid, err)
		}
		defer unix.Close(fd)
		regs[nsinit.RegPidfd] = fd
	}
	opened, err := c.openOuter(regs)
	defer closeFDs(opened)
	if err != nil {
		return nil, err
	}
	child, err := nsinit.SpawnPausing(c.Program, regs, ev.pause)
	if err != nil {
		return nil, explain(err)
	}
	return c.handOver(child)
}

func (ev Events) pause(stage, pid int) error {
	if ev.Pause == nil {
		return nil
	}
	return ev.Pause(Stage(stage), pid)
}

// handOver sorts the descriptors that the program has passed.
func (c *Compiled) handOver(child *nsinit.Child) (*Process, error) {
	p := &Process{Pid: child.Pid}
	fds := child.FDs
	take := func(want bool) (f *os.File) {
		if want && len(fds) > 0 {
			f, fds = fds[0], fds[1:]
		}
		return f
	}
	p.Console, p.Listener = take(c.console), take(c.listener)
	err := error(nil)
	if len(fds) > 0 || c.console && p.Console == nil || c.listener && p.Listener == nil || c.wait && !child.Waiting {
		err = errors.New("the process was killed while it started")
	} else if c.console && !isTerminal(p.Console) {
		err = errors.New("the container's /dev/pts/ptmx is not a terminal multiplexer")
	}
	if err == nil {
		return p, nil
	}
	for _, f := range child.FDs {
		f.Close()
	}
	unix.Kill(p.Pid, unix.SIGKILL)
	unix.Wait4(p.Pid, nil, 0, nil)
	return nil, err
}

// isTerminal reports whether a descriptor from a container is the master of a
// terminal (tty(4): 5:2 in a devpts), and nothing that only looks so
// (CVE-2025-52565).
func isTerminal(f *os.File) bool {
	var st unix.Stat_t
	var fs unix.Statfs_t
	return unix.Fstat(int(f.Fd()), &st) == nil && unix.Fstatfs(int(f.Fd()), &fs) == nil &&
		st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(5, 2) && int64(fs.Type) == unix.DEVPTS_SUPER_MAGIC
}

// Start lets a waiting process go on, over a connection to the socket it waits
// at, and returns nil when the user's program runs. Rest is Compiled.Rest.
func Start(conn *os.File, rest []string, ev Events, pid int) error {
	return explain(nsinit.Resume(int(conn.Fd()), rest, pid, ev.pause))
}

// programError is a program that cannot be run, in the words of runc, by which
// podman and docker choose their exit codes.
type programError struct {
	text  string
	errno syscall.Errno
}

func (e *programError) Error() string { return e.text }
func (e *programError) Unwrap() error { return e.errno }

const notInPath = "executable file not found in $PATH"

func explain(err error) error {
	var oe *nsinit.OpError
	if !errors.As(err, &oe) || !strings.HasPrefix(oe.Op.What, "exec") {
		return err
	}
	text := oe.Op.What
	if !strings.HasSuffix(text, notInPath) {
		text += ": " + oe.Errno.Error()
	}
	return &programError{text, oe.Errno}
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
