package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoMemoryController says that nobody counts the container's memory.
var ErrNoMemoryController = errors.New("the container has no control group that counts memory")

// OOMKills returns how many processes of the container the kernel has ended for
// want of memory. It must be asked before the group is removed. Without a
// memory controller nobody knows, and the answer is 0.
func (g *Group) OOMKills() uint64 {
	dir, ok := g.Control[memory]
	if !ok {
		return 0
	}
	if g.isV2(memory) {
		return readPairs(filepath.Join(dir, "memory.events"))["oom_kill"]
	}
	return oldOOMKills(dir)
}

// oldOOMKills adds up the groups inside, whose kills version 1 counts apart.
func oldOOMKills(dir string) uint64 {
	n := readPairs(filepath.Join(dir, "memory.oom_control"))["oom_kill"]
	for _, sub := range subgroups(dir) {
		n += oldOOMKills(sub)
	}
	return n
}

// OOMKilled reports whether that has happened at all.
func (g *Group) OOMKilled() bool { return g.OOMKills() > 0 }

// WatchOOM sends the number of OOMKills each time it has grown, or has not
// although memory ran out, which is when the killer is disabled. The channel is
// closed when ctx is done, which the caller must see to: of a group's removal
// version 2 does not tell. A watch costs one descriptor and, while nothing
// happens, no processor time.
func (g *Group) WatchOOM(ctx context.Context) (<-chan uint64, error) {
	dir, ok := g.Control[memory]
	if !ok {
		return nil, ErrNoMemoryController
	}
	var bell *os.File
	var err error
	if g.isV2(memory) {
		bell, err = inotify(filepath.Join(dir, "memory.events"))
	} else {
		bell, err = memoryEvent(dir, "memory.oom_control", "")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot watch the container's memory: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { bell.Close() })
	out := make(chan uint64)
	go func() {
		defer close(out)
		defer bell.Close()
		defer stop()
		g.listen(ctx, bell, dir, out)
	}()
	return out, nil
}

// listen tells of the kills until the group is gone.
func (g *Group) listen(ctx context.Context, bell *os.File, dir string, out chan<- uint64) {
	last := g.OOMKills()
	buf := make([]byte, 4096)
	for {
		if _, err := bell.Read(buf); err != nil {
			return
		}
		if !exists(dir) {
			return
		}
		n := g.OOMKills()
		if !g.isV2(memory) {
			// Version 1 rings before it kills, at the end of the group
			// too, and its bell does not say why.
			for wait := time.Millisecond; n == last && wait < 200*time.Millisecond; wait *= 2 {
				time.Sleep(wait)
				n = g.OOMKills()
			}
			if n == last && readPairs(filepath.Join(dir, "memory.oom_control"))["under_oom"] == 0 {
				continue
			}
		} else if n == last {
			continue // memory.high or .max was met
		}
		last = n
		select {
		case out <- n:
		case <-ctx.Done():
			return
		}
	}
}

// inotify returns a file that becomes readable when the kernel changes path.
func inotify(path string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "inotify_add_watch", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}

// memoryEvent returns an eventfd(2) that version 1 rings when what the file
// name stands for happens, and when the group is removed.
func memoryEvent(dir, name, argument string) (*os.File, error) {
	file, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer file.Close() // the kernel keeps what it needs
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	line := fmt.Sprintf("%d %d %s", fd, file.Fd(), argument)
	if err := write(filepath.Join(dir, "cgroup.event_control"), line); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "eventfd"), nil
}
