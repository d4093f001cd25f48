package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrNoFreezer says that a group cannot be frozen.
var ErrNoFreezer = errors.New("the container has no control group that can be frozen")

// Freezable reports whether there is a file that freezes the group.
func (g *Group) Freezable() bool {
	file, _, _ := g.freezer()
	return file != ""
}

// Freeze holds all processes of the container still, and returns when they
// are. Whoever freezes must see to it that [Group.Thaw] is called, whatever
// happens.
func (g *Group) Freeze() error {
	file, value, frozen := g.freezer()
	if file == "" {
		return ErrNoFreezer
	}
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		// Version 1 goes on only as often as it is asked.
		if err := write(file, value); err != nil {
			return fmt.Errorf("cannot freeze the container: %w", err)
		}
		if frozen() {
			return nil
		}
		if time.Since(start) > patience {
			g.Thaw()
			return errors.New("cannot freeze the container: its processes do not stand still")
		}
	}
}

// freezer returns the file that freezes, what to write, and how to see that it
// has been done. The file is empty when there is none.
func (g *Group) freezer() (file, value string, frozen func() bool) {
	if g.V2 != "" {
		return filepath.Join(g.V2, "cgroup.freeze"), "1", func() bool {
			w := words(filepath.Join(g.V2, "cgroup.events"))
			i := slices.Index(w, "frozen")
			return i >= 0 && i+1 < len(w) && w[i+1] == "1"
		}
	}
	dir, ok := g.Control[freezer]
	if !ok {
		return "", "", nil
	}
	file = filepath.Join(dir, "freezer.state")
	return file, "FROZEN", func() bool { return strings.Join(words(file), "") == "FROZEN" }
}

// Thaw lets the container's processes go on.
func (g *Group) Thaw() error {
	file, _, _ := g.freezer()
	if file == "" {
		return ErrNoFreezer
	}
	value := "THAWED"
	if g.V2 != "" {
		value = "0"
	}
	return write(file, value)
}
