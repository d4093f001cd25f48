package cgroup

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Kill sends SIGKILL to every process of the container. They may still be
// ending when it returns.
func (g *Group) Kill() {
	for _, dir := range g.Dirs {
		kill(dir)
		if dir == g.V2 {
			return // all are in every tree
		}
	}
}

// Signal sends a signal to every process of the container that there is when it
// is called.
func (g *Group) Signal(s unix.Signal) error {
	var errs []error
	for _, pid := range g.Procs() {
		if err := unix.Kill(pid, s); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, os.NewSyscallError("kill", err))
		}
	}
	return errors.Join(errs...)
}

// Frozen reports whether the container's processes are held still.
func (g *Group) Frozen() bool {
	file, _, frozen := g.freezer()
	return file != "" && frozen()
}
