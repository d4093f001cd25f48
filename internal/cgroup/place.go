package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// place is one tree with the controllers wanted from it.
type place struct {
	tree
	v2          bool
	controllers []string
}

// places chooses the tree for every controller. What no tree has goes into
// refused, with the reason.
func (f Facts) places(want []string, handle bool, refused map[string]string) []place {
	var v1 []place
	unified := place{tree: f.v2, v2: true}
	for _, c := range want {
		switch t, ok := f.v1(c); {
		case ok:
			i := slices.IndexFunc(v1, func(p place) bool { return p.tree == t })
			if i < 0 {
				v1 = append(v1, place{tree: t})
				i = len(v1) - 1
			}
			v1[i].controllers = append(v1[i].controllers, c)
		case f.Mode == None:
			refused[c] = "no control groups are mounted at /sys/fs/cgroup"
		case f.v2.mount != "" && (c == devices || f.isDelegated(c)):
			unified.controllers = append(unified.controllers, c)
		default:
			refused[c] = f.missing(c)
		}
	}
	var out []place
	if f.v2.mount != "" && (handle || len(unified.controllers) > 0) {
		out = append(out, unified)
	} else if handle {
		if t, ok := f.v1(freezer); ok {
			out = append(out, place{tree: t, controllers: []string{freezer}})
		}
	}
	return append(out, v1...)
}

// isDelegated reports whether the version 2 tree has the controller at the
// highest group this account works in.
func (f Facts) isDelegated(c string) bool {
	if f.UID == 0 {
		return slices.Contains(f.inHere, v2Name(c))
	}
	top, ok := f.delegated(f.v2)
	if !ok {
		return true // making the group will fail and say why
	}
	return slices.Contains(words(filepath.Join(f.v2.mount, top, "cgroup.controllers")), v2Name(c))
}

func (f Facts) missing(c string) string {
	name := v2Name(c)
	if f.Mode == V2 && f.UID != 0 && slices.Contains(f.inHere, name) {
		return fmt.Sprintf("the %s controller is not delegated to this account; an administrator does it with the line \"Delegate=cpu cpuset io memory pids\" below [Service] in /etc/systemd/system/user@.service.d/delegate.conf", name)
	}
	if c == memory {
		return "this kernel's memory controller is off; start the machine with cgroup_enable=memory"
	}
	return fmt.Sprintf("this kernel offers no %s controller", name)
}

// berth is the group that holds the groups of containers.
const berth = "/berth"

// bases returns where a container's group may go in a tree, best first.
//
// Root uses the top of the tree, so that a container outlives the session it
// was started from, and what it may not use there it tries below its own group.
// For others version 2 asks that a group above both the old and the new one be
// theirs: the highest one that is has the best chance to be free of processes.
func (f Facts) bases(t tree, v2 bool, parent string) []string {
	name := berth
	if parent != "" {
		name = parentPath(parent)
	}
	top, ok := f.delegated(t)
	if f.UID == 0 {
		out := []string{filepath.Join(t.mount, name)}
		if ok && top != "/" {
			out = append(out, filepath.Join(t.mount, top, name))
		}
		return out
	}
	var out []string
	if parent != "" && (!v2 || ok && within(name, top)) {
		out = append(out, filepath.Join(t.mount, name))
	}
	if ok {
		out = append(out, filepath.Join(t.mount, top, name))
	}
	return out
}

// delegated returns the highest group, from the caller's own upwards, that the
// account may write to.
func (f Facts) delegated(t tree) (group string, ok bool) {
	if t.mount == "" {
		return "", false
	}
	for g := path.Clean("/" + t.own); ; g = path.Dir(g) {
		dir := filepath.Join(t.mount, g)
		if writable(dir) && writable(filepath.Join(dir, "cgroup.procs")) {
			group, ok = g, true
		}
		if g == "/" {
			return group, ok
		}
	}
}

func writable(path string) bool {
	return unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS) == nil
}

func within(name, top string) bool {
	return top == "/" || name == top || strings.HasPrefix(name, top+"/")
}

// parentPath turns the value of --cgroup-parent into a path. The name of a
// systemd slice stands for a path: a-b.slice lies in a.slice.
func parentPath(parent string) string {
	p := path.Clean("/" + parent)
	name, ok := strings.CutSuffix(p[1:], ".slice")
	if !ok || strings.Contains(name, "/") || name == "-" || name == "" {
		return p
	}
	var out, prefix string
	for part := range strings.SplitSeq(name, "-") {
		prefix += part
		out += "/" + prefix + ".slice"
		prefix += "-"
	}
	return out
}

// makeGroup makes the directory for a container in one tree. A directory that
// is there already is the rest of an earlier run of the same container.
func (f Facts) makeGroup(p place, parent, id string) (string, error) {
	var first error
	for _, base := range f.bases(p.tree, p.v2, parent) {
		dir := filepath.Join(base, id)
		err := mk(dir)
		if errors.Is(err, fs.ErrNotExist) {
			if err = mkAll(base); err == nil {
				err = mk(dir)
			}
		}
		if errors.Is(err, fs.ErrExist) {
			if err = (&Group{Dirs: []string{dir}}).Remove(); err == nil {
				err = mk(dir)
			}
		}
		if err == nil {
			return dir, nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = fs.ErrPermission
	}
	return "", first
}

func mk(dir string) error { return os.Mkdir(dir, 0o755) }

func mkAll(dir string) error {
	err := mk(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = mkAll(filepath.Dir(dir)); err == nil {
			err = mk(dir)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// refusal says in one clause why no group could be made and what would help.
func (f Facts) refusal(p place, err error) string {
	switch {
	case errors.Is(err, unix.EROFS):
		return "the control groups are read-only here, as in a container; start the outer container with --privileged"
	case f.UID == 0 || !errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("cannot make a control group: %v", err)
	case f.Mode == V2 && f.NoScope != "":
		return f.NoScope
	case f.Mode == V2:
		return "this account has no delegated cgroup in this session; a container that is started with a limit (such as --pids-limit 5000) gets one from the account's systemd, if that runs"
	default:
		return "cgroup version 1 is delegated to nobody but root; start the machine with systemd.unified_cgroup_hierarchy=1"
	}
}

// enable makes the controllers work in the children of base, which needs them
// switched on in every group from the top down. It returns those that do, and
// puts the reasons for the others into refused.
func (f Facts) enable(p place, base string, want []string, refused map[string]string) []string {
	on := words(filepath.Join(base, "cgroup.subtree_control"))
	var lacking []string
	for _, c := range want {
		if !slices.Contains(on, v2Name(c)) {
			lacking = append(lacking, c)
		}
	}
	var got []string
	for _, c := range lacking {
		if err := enableBelow(p.mount, base, v2Name(c)); err != nil {
			refused[c] = f.whyDisabled(c, base, err)
		} else {
			on = append(on, v2Name(c))
		}
	}
	for _, c := range want {
		if slices.Contains(on, v2Name(c)) {
			got = append(got, c)
		}
	}
	return got
}

// enableBelow switches one controller on in dir and, where dir does not have
// it, in the groups above.
func enableBelow(mount, dir, controller string) error {
	if slices.Contains(words(filepath.Join(dir, "cgroup.subtree_control")), controller) {
		return nil
	}
	if !slices.Contains(words(filepath.Join(dir, "cgroup.controllers")), controller) {
		if dir == mount || len(dir) <= len(mount) {
			return fs.ErrNotExist
		}
		if err := enableBelow(mount, filepath.Dir(dir), controller); err != nil {
			return err
		}
	}
	return write(filepath.Join(dir, "cgroup.subtree_control"), "+"+controller)
}

func (f Facts) whyDisabled(c, base string, err error) string {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Sprintf("the %s controller cannot be handed down because the group above holds processes itself; move them into a child of it first", v2Name(c))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission) && f.UID != 0:
		return f.missing(c)
	default:
		return fmt.Sprintf("cannot switch on the %s controller: %v", v2Name(c), err)
	}
}

// write puts a value into a kernel file in one call.
func write(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		_, err = unix.Write(fd, []byte(value))
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}
