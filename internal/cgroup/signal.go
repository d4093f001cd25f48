package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"

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
func (g *Group) Signal(s unix.Signal) error { return signalAll(g.Procs, s) }

// held is how many processes signalAll holds at a time: each takes a descriptor.
const held = 256

// signalAll sends a signal to the processes that list has, but not to our own.
// Each is held by a descriptor first and must still be listed after that: a
// process may end while we look, and its number soon be somebody else's.
func signalAll(list func() []int, s unix.Signal) error {
	var errs []error
	for pids := range slices.Chunk(list(), held) {
		fds := make(map[int]int, len(pids))
		for _, pid := range pids {
			if fd, err := unix.PidfdOpen(pid, 0); err == nil {
				fds[pid] = fd
			} else if err != unix.ESRCH {
				fds[pid] = -1 // the filter of a container around us forbids it
			}
		}
		if fd, ok := fds[os.Getpid()]; ok {
			unix.Close(fd)
			delete(fds, os.Getpid())
		}
		for _, pid := range list() {
			if fd, ok := fds[pid]; ok {
				if err := signalOne(pid, fd, s); err != nil && err != unix.ESRCH {
					errs = append(errs, fmt.Errorf("unable to signal process %d: %w", pid, err))
				}
			}
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	return errors.Join(errs...)
}

func signalOne(pid, fd int, s unix.Signal) error {
	if fd < 0 {
		return unix.Kill(pid, s)
	}
	return unix.PidfdSendSignal(fd, s, nil, 0)
}

// Frozen reports whether the container's processes are held still.
func (g *Group) Frozen() bool {
	file, _, frozen := g.freezer()
	return file != "" && frozen()
}
