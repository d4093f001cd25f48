package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long Remove waits for killed processes to be gone. The
// kernel frees their memory before, which takes its time for a big one.
const patience = 5 * time.Second

// Remove kills what is left in the group and removes its directories. What is
// gone already is no error, and it may be called again after one. The caller
// must not be in the group.
func (g *Group) Remove() error {
	deadline := time.Now().Add(patience)
	var errs []error
	for _, dir := range g.Dirs {
		if err := removeDir(dir, deadline); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func removeDir(dir string, deadline time.Time) error {
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := removeTree(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("cannot remove control group: %w", err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cannot remove control group %s: processes %v do not end", dir, pidsBelow(dir))
		}
		kill(dir)
		time.Sleep(wait)
	}
}

// removeTree removes an empty group with the groups that the container made
// inside it. (The files in a group are the kernel's and need no removal.)
func removeTree(dir string) error {
	err := unix.Rmdir(dir)
	for err == unix.EINTR {
		err = unix.Rmdir(dir)
	}
	if err == unix.EBUSY || err == unix.ENOTEMPTY {
		for _, sub := range subgroups(dir) {
			if err := removeTree(sub); err != nil {
				return err
			}
		}
		err = unix.Rmdir(dir)
	}
	if err != nil {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

func subgroups(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out
}

// kill sends SIGKILL to everything in dir and below. Kernels before 5.14 and
// version 1 have no call for that: there it takes the caller's repetition to
// get what forks away, and the freezer, where dir has one, to hold it still.
func kill(dir string) {
	if write(filepath.Join(dir, "cgroup.kill"), "1") == nil {
		return
	}
	frozen := write(filepath.Join(dir, "freezer.state"), "FROZEN") == nil
	signalAll(func() []int { return pidsBelow(dir) }, unix.SIGKILL)
	if frozen {
		write(filepath.Join(dir, "freezer.state"), "THAWED")
	}
}

// Procs returns the numbers of the container's processes, sorted, as the
// caller's pid namespace counts them.
func (g *Group) Procs() []int {
	if g.V2 != "" {
		return pidsBelow(g.V2)
	}
	if len(g.Dirs) > 0 {
		return pidsBelow(g.Dirs[0])
	}
	return nil
}

// pidsBelow returns the processes in dir and in the groups inside it.
func pidsBelow(dir string) []int {
	out := pidsIn(dir)
	for _, sub := range subgroups(dir) {
		out = append(out, pidsBelow(sub)...)
	}
	slices.Sort(out)
	return out
}

// pidsIn returns the processes in dir alone. One of a foreign pid namespace
// shows as 0, which would mean ourselves to kill(2): it is left out.
func pidsIn(dir string) []int {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var out []int
	for _, f := range bytes.Fields(b) {
		if pid, err := strconv.Atoi(string(f)); err == nil && pid > 0 {
			out = append(out, pid)
		}
	}
	return out
}

// sweepAge keeps Sweep away from groups that another berth, perhaps with
// another data root, has just made and not yet filled.
const sweepAge = time.Minute

// Sweep removes empty groups that berth made, left over from a crash, for
// which live knows no container. It returns how many there were. Groups below
// another --cgroup-parent are only removed through their own [Group].
func Sweep(f Facts, live func(id string) bool) int {
	n := 0
	for id, g := range f.groups() {
		if !live(id) && g.abandoned() {
			n++
			for _, dir := range g.Dirs {
				removeTree(dir)
			}
		}
	}
	return n
}

// Find returns the group of a container whose maker was killed before it could
// keep what [Prepare] returned. It may be empty; only its directories are
// known.
func Find(id string, f Facts) *Group {
	if g := f.groups()[id]; g != nil {
		return g
	}
	return &Group{}
}

// groups finds the groups that berth made in the usual places.
func (f Facts) groups() map[string]*Group {
	trees := []tree{f.v2}
	for c := range f.own {
		if t, ok := f.v1(c); ok && !slices.Contains(trees, t) {
			trees = append(trees, t)
		}
	}
	groups := map[string]*Group{}
	for _, t := range trees {
		if t.mount == "" {
			continue
		}
		for _, base := range f.bases(t, t == f.v2, "") {
			for _, dir := range subgroups(base) {
				id := filepath.Base(dir)
				if groups[id] == nil {
					groups[id] = &Group{}
				}
				groups[id].Dirs = append(groups[id].Dirs, dir)
			}
		}
	}
	return groups
}

// abandoned reports whether the group is empty and old in every tree. One that
// is being joined is empty in some.
func (g *Group) abandoned() bool {
	for _, dir := range g.Dirs {
		st, err := os.Stat(dir)
		if err != nil || time.Since(st.ModTime()) < sweepAge || len(pidsBelow(dir)) > 0 {
			return false
		}
	}
	return true
}
