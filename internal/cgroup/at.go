package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// PrepareAt makes the groups of a container at the place that its OCI
// configuration names (cgroupsPath) and writes its limits. An absolute path
// counts from the mounts on, another one from the group that the calling
// process is in.
//
// Unlike [Prepare] it makes a group in every tree and switches every controller
// on, because whoever drives an OCI runtime reads statistics there by itself. A
// group that exists is taken over if nothing runs in it. What cannot be had
// comes back as warnings, or as an error with [Facts.Strict].
func PrepareAt(cgroupsPath string, l Limits, f Facts) (*Group, []string, error) {
	g := &Group{Control: map[string]string{}}
	refused := map[string]string{}
	var made []string
	for _, p := range f.every(l, refused) {
		dir := f.at(p, cgroupsPath)
		if dir == "" {
			return nil, nil, errors.Join(fmt.Errorf("invalid cgroups path %q: it names no group of the container's own", cgroupsPath), removeAll(made))
		}
		isNew, err := f.takeOver(p, dir)
		if errors.Is(err, errNotEmpty) {
			return nil, nil, errors.Join(err, removeAll(made))
		}
		if err != nil {
			for _, c := range p.controllers {
				refused[c] = f.refusal(p, err)
			}
			continue
		}
		if isNew {
			made = append(made, dir)
		}
		g.Dirs = append(g.Dirs, dir)
		f.adopt(g, p, dir, f.inHere, refused)
	}
	warnings, err := g.limit(l, f, refused)
	if err != nil {
		return nil, nil, errors.Join(err, removeAll(made))
	}
	return g, warnings, nil
}

func removeAll(dirs []string) error { return (&Group{Dirs: dirs}).Remove() }

// every lists all trees, each with all controllers that it has.
func (f Facts) every(l Limits, refused map[string]string) []place {
	want := l.controllers()
	for c := range f.own {
		if !slices.Contains(want, c) {
			want = append(want, c)
		}
	}
	slices.Sort(want)
	missing := map[string]string{}
	out := f.places(want, true, missing)
	for _, c := range l.controllers() {
		if why := missing[c]; why != "" {
			refused[c] = why
		}
	}
	return out
}

// at returns the directory that a cgroupsPath means in one tree, or nothing
// where that is no group of its own.
func (f Facts) at(p place, cgroupsPath string) string {
	name := path.Clean("/" + cgroupsPath)
	if name == "/" {
		return ""
	}
	if path.IsAbs(cgroupsPath) {
		return filepath.Join(p.mount, name)
	}
	own := path.Clean("/" + p.own)
	if p.v2 {
		// The caller is in its group, and a group with processes can hand
		// no controllers down: the one above can.
		own = path.Dir(own)
	}
	return filepath.Join(p.mount, own, name)
}

var errNotEmpty = errors.New("container's cgroup is not empty")

// takeOver makes a directory, or uses one that is there and in which nothing
// runs.
func (f Facts) takeOver(p place, dir string) (isNew bool, err error) {
	err = mk(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = mkAll(filepath.Dir(dir)); err == nil {
			err = mk(dir)
		}
	}
	if !errors.Is(err, fs.ErrExist) {
		return err == nil, err
	}
	if n := len(pidsBelow(dir)); n > 0 {
		return false, fmt.Errorf("%w: %d process(es) found in %s", errNotEmpty, n, dir)
	}
	// Left frozen by somebody who was killed: the container would not move.
	for file, value := range map[string]string{"cgroup.freeze": "0", "freezer.state": "THAWED"} {
		if err := write(filepath.Join(dir, file), value); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EINVAL) {
			return false, err
		}
	}
	return false, nil
}

// Adopt describes a group that somebody else has made, such as systemd, and
// writes limits into it. The paths are those of /proc/PID/cgroup: the group in
// version 2, and with version 1 the group in the tree of each controller.
func Adopt(cgroupsPath string, l Limits, f Facts) (*Group, []string, error) {
	g := &Group{Control: map[string]string{}}
	refused := map[string]string{}
	for _, p := range f.every(l, refused) {
		dir := filepath.Join(p.mount, path.Clean("/"+cgroupsPath))
		if !exists(dir) {
			if err := mkAll(dir); err != nil {
				for _, c := range p.controllers {
					refused[c] = f.refusal(p, err)
				}
				continue
			}
		}
		g.Dirs = append(g.Dirs, dir)
		f.adopt(g, p, dir, f.inHere, refused)
	}
	warnings, err := g.limit(l, f, refused)
	if err != nil {
		return nil, nil, errors.Join(err, g.Remove())
	}
	return g, warnings, nil
}
