package shim

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/foreign"
	"berth/internal/nsinit"
)

// first makes the first process: ourselves, or by another runtime, which then
// has it wait for startOther.
func (c *container) first(s *stdio) (*nsinit.Child, error) {
	if c.plan.Other == nil {
		c.brood.expect()
		regs := c.plan.userNS()
		c.net.lend(regs)
		child, err := spawnWith(c.plan.Program, s, c.plan.OpenStdin, regs)
		c.brood.born(child)
		return child, err
	}
	streams := foreign.Streams{Tty: s.tty}
	if !s.tty {
		theirs, err := s.pipes(c.plan.OpenStdin)
		if err != nil {
			return nil, err
		}
		defer closeAll(theirs[:])
		streams.Files = theirs
	}
	p, err := c.plan.Other.Create(streams, numbers(c.plan.userNS()))
	if err == nil && s.tty {
		if err = s.accept(p.Console); err != nil {
			abandon(&nsinit.Child{Pid: p.Pid, FDs: p.Passed})
		}
	}
	if err != nil {
		s.closeInput()
		closeAll(s.outs)
		return nil, otherFailure(err)
	}
	return &nsinit.Child{Pid: p.Pid, FDs: p.Passed}, nil
}

// startOther lets the first process go on that another runtime has made.
func (c *container) startOther() error {
	if c.plan.Other == nil {
		return nil
	}
	if err := c.plan.Other.Start(c.enclosure()); err != nil {
		c.plan.Other.Delete(c.enclosure())
		return otherFailure(err)
	}
	return nil
}

// enclosure is where the other runtime is called.
func (c *container) enclosure() map[nsinit.Reg]int { return numbers(c.ns) }

// numbers are the descriptors that registers are preset with.
func numbers(files map[nsinit.Reg]*os.File) map[nsinit.Reg]int {
	regs := map[nsinit.Reg]int{}
	for r, f := range files {
		regs[r] = int(f.Fd())
	}
	return regs
}

// kill sends the first process a signal. Another runtime's is not always the
// program itself.
func (c *container) kill(sig unix.Signal) {
	if c.plan.Other == nil || c.plan.Other.Kill(c.enclosure(), int(sig)) != nil {
		unix.Kill(c.pid, sig)
	}
}

// freezer is who can hold the container still: its control group, or the other
// runtime.
type freezer interface {
	Freeze() error
	Thaw() error
}

// freezer returns the container's, or nil.
func (c *container) freezer() freezer {
	switch {
	case c.plan.Other != nil:
		return &otherFreezer{c.plan.Other, c.enclosure()}
	case c.plan.Cgroup != nil:
		return c.plan.Cgroup
	}
	return nil
}

type otherFreezer struct {
	runtime *foreign.Runtime
	regs    map[nsinit.Reg]int
}

func (f *otherFreezer) Freeze() error { return f.runtime.Pause(f.regs) }
func (f *otherFreezer) Thaw() error   { return f.runtime.Resume(f.regs) }

// otherFailure finds out what kind of failure another runtime's words mean: a
// program that is not there or cannot be run has exit codes of its own.
func otherFailure(err error) error {
	var e *foreign.Error
	if !errors.As(err, &e) {
		return err
	}
	f := &Failure{Message: err.Error(), What: "start the container"}
	switch {
	case strings.Contains(e.Text, "executable file not found"), strings.Contains(e.Text, "stat ") && strings.Contains(e.Text, "no such file"),
		strings.Contains(e.Text, "executable file") && strings.Contains(e.Text, "not found"):
		f.Call, f.Errno = "execve", int(unix.ENOENT)
	case strings.Contains(e.Text, "exec") && strings.Contains(e.Text, "permission denied"):
		f.Call, f.Errno = "execve", int(unix.EACCES)
	}
	return f
}

// accept takes over the master of a terminal.
func (s *stdio) accept(master *os.File) error {
	defer master.Close()
	if err := checkMaster(master); err != nil {
		return err
	}
	// A descriptor that does not block from the start can be closed while
	// somebody reads from it.
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	unix.SetNonblock(fd, true)
	s.terminal(os.NewFile(uintptr(fd), "ptmx"))
	return nil
}
