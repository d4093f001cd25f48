package cgroup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Group is the set of directories that stand for one container: plain data, to
// be kept with the container's state. The zero Group is that of a container
// without any.
type Group struct {
	// Dirs must be joined by the container's first process before it runs
	// foreign code, by writing "0" to cgroup.procs in each.
	Dirs []string `json:"dirs,omitempty"`
	// V2 is the one of Dirs that lies in the version 2 tree, if any. A
	// process can be born into it with clone3(CLONE_INTO_CGROUP).
	V2 string `json:"v2,omitempty"`
	// Control tells which of Dirs holds a controller.
	Control map[string]string `json:"control,omitempty"`
}

// parentGroup stands among the controllers that were refused for the group that
// was to be the container's parent.
const parentGroup = "parent"

// Prepare makes the groups of the container id and writes its limits. The
// parent is Docker's --cgroup-parent. Limits that cannot be had come back as
// warnings; a value that the kernel refuses is an error, and then nothing is
// left behind.
func Prepare(id, parent string, l Limits, f Facts) (*Group, []string, error) {
	g := &Group{Control: map[string]string{}}
	refused := map[string]string{}
	places := f.places(l.controllers(), true, refused)
	if parent != "" && len(places) == 0 {
		refused[parentGroup] = "no control groups are mounted at " + mountPoint
	}
	for _, p := range places {
		dir, err := f.makeGroup(p, parent, id)
		if err != nil {
			if parent != "" {
				refused[parentGroup] = f.refusal(p, err)
			}
			for _, c := range p.controllers {
				refused[c] = f.refusal(p, err)
			}
			continue
		}
		g.Dirs = append(g.Dirs, dir)
		f.adopt(g, p, dir, []string{memory, pids}, refused)
	}
	warnings, err := g.limit(l, f, refused)
	if err != nil {
		return nil, nil, errors.Join(err, g.Remove())
	}
	return g, warnings, nil
}

// adopt notes which controllers a new directory holds, after what they need to
// work there. In version 2 those in welcome are switched on as well: nobody
// asked for them by a limit, but they count what is used.
func (f Facts) adopt(g *Group, p place, dir string, welcome []string, refused map[string]string) {
	have := p.controllers
	if p.v2 {
		g.V2 = dir
		want := slices.DeleteFunc(slices.Clone(p.controllers), func(c string) bool { return c == devices })
		for _, c := range welcome {
			if c == v2Name(blkio) {
				c = blkio
			}
			if slices.Contains(f.inHere, v2Name(c)) && !slices.Contains(want, c) {
				want = append(want, c)
			}
		}
		have = f.enable(p, filepath.Dir(dir), want, refused)
		if slices.Contains(p.controllers, devices) {
			have = append(have, devices)
		}
	}
	for _, c := range have {
		g.Control[c] = dir
		if c == cpuset && !p.v2 {
			if err := fillCpuset(p.mount, dir); err != nil {
				delete(g.Control, c)
				refused[c] = err.Error()
			}
		}
	}
}

// isV2 reports whether the group has the controller in the version 2 tree.
func (g *Group) isV2(controller string) bool {
	dir, ok := g.Control[controller]
	return ok && dir == g.V2
}

// DevicesGuarded reports whether the kernel confines the container to the
// device nodes it was given. Where it does not, the container must not be able
// to make nodes.
func (g *Group) DevicesGuarded() bool { return g.Control[devices] != "" }

// limit writes the limits into the files, and where that is impossible returns
// warnings.
func (g *Group) limit(l Limits, f Facts, refused map[string]string) ([]string, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	var lost losses
	lost.add(setting{option: "--cgroup-parent"}, refused[parentGroup])
	todo := l.settings(g.isV2)
	if f.Refuse { // before anything is written
		for _, s := range todo {
			lost.add(s, g.obstacle(s, refused))
		}
		if err := lost.refusal(); err != nil {
			return nil, err
		}
	}
	for retry := false; len(todo) > 0; retry = true {
		var later []setting // invalid until another value has changed
		for _, s := range todo {
			why, err := g.set(s, refused)
			switch {
			case errors.Is(err, unix.EINVAL) && !retry:
				later = append(later, s)
			case err != nil:
				return nil, err
			case why != "" && f.Strict && s.file != "" && !s.implied:
				return nil, fmt.Errorf("cannot set %s to %s: %s", s.file, s.value, why)
			case why != "":
				lost.add(s, why)
			}
		}
		todo = later
	}
	if err := lost.refusal(); f.Refuse && err != nil {
		return nil, err
	}
	warnings := lost.warnings()
	if len(l.Devices) > 0 {
		err := g.guardDevices(l.Devices)
		if err != nil {
			delete(g.Control, devices)
			refused[devices] = err.Error()
		}
		if !g.DevicesGuarded() && f.Strict && f.UID == 0 {
			return nil, fmt.Errorf("cannot confine the container to its device nodes: %s", refused[devices])
		} else if !g.DevicesGuarded() && !f.Strict {
			warnings = append(warnings, "device nodes are not guarded: "+refused[devices])
		}
	}
	return warnings, nil
}

// set writes one setting. It returns why there is no such thing here, or an
// error where the kernel refuses the value.
func (g *Group) set(s setting, refused map[string]string) (why string, err error) {
	if why := g.missing(s, refused); why != "" {
		return why, nil
	}
	dir := g.dirOf(s)
	err = s.write(dir)
	switch {
	case err == nil:
		return "", nil
	case errors.Is(err, fs.ErrNotExist):
		return noFile(s), nil
	case errors.Is(err, unix.ENOTSUP):
		return "this kernel has given up that limit", nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
		return "this account may not write " + filepath.Join(dir, s.file), nil
	}
	return "", s.failed(dir, err)
}

// missing says why there is no place for a setting, as far as looking at the
// group tells.
func (g *Group) missing(s setting, refused map[string]string) string {
	dir := g.dirOf(s)
	switch {
	case s.unified && dir != g.V2:
		return "it is a file of cgroup version 2, which has no " + v2Name(s.controller) + " controller here"
	case dir == "" && (refused[s.controller] != "" || s.controller == core):
		return cmp.Or(refused[s.controller], "there is no cgroup version 2 here")
	case s.file == "":
		return "cgroup version 2 has no such limit"
	}
	return ""
}

// obstacle is what would be in the way of a setting, without writing it.
func (g *Group) obstacle(s setting, refused map[string]string) string {
	if why := g.missing(s, refused); why != "" {
		return why
	}
	path := filepath.Join(g.dirOf(s), s.file)
	switch err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS); err {
	case unix.EACCES, unix.EPERM, unix.EROFS:
		return "this account may not write " + path
	}
	return "" // a file that is not there can have another name: writing shows it
}

func (g *Group) dirOf(s setting) string {
	if s.controller == core {
		return g.V2
	}
	return g.Control[s.controller]
}

func noFile(s setting) string {
	if s.option == "--memory-swap" {
		return "this kernel does not count swap; start the machine with swapaccount=1"
	}
	return "this kernel has no " + s.file
}

func (s setting) failed(dir string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if s.controller == memory && errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("cannot set %s to %s: more is in use and cannot be freed", s.option, s.value)
	}
	return fmt.Errorf("cannot set %s to %s (%s): %w", s.option, s.value, filepath.Join(dir, s.file), err)
}

// write puts the value into its file below dir.
func (s setting) write(dir string) error {
	if s.check {
		want, err := strconv.ParseUint(s.value, 10, 64)
		if used, ok := readUint(filepath.Join(dir, "memory.current")); ok && err == nil && used > want {
			return fmt.Errorf("rejecting memory limit %d < usage %d", want, used)
		}
	}
	if s.controller == cpuset {
		if err := checkCpuset(s, filepath.Dir(dir)); err != nil {
			return err
		}
	}
	value := s.value
	switch s.base {
	case oldQuota:
		quota := "max"
		if w := words(filepath.Join(dir, "cpu.max")); len(w) > 0 {
			quota = w[0]
		}
		value = quota + " " + value
	case oldMemory:
		limit, ok := readUint(filepath.Join(dir, "memory.max"))
		if !ok {
			return errors.New("--memory-swap needs --memory")
		}
		total, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return err
		}
		value = itoa(max(0, total-int64(limit)))
	}
	err := write(filepath.Join(dir, s.file), value)
	if errors.Is(err, fs.ErrNotExist) {
		// The scheduler for block devices decides under which name.
		name, rest, _ := strings.Cut(s.file, ".")
		if strings.HasPrefix(rest, "weight") {
			if e := write(filepath.Join(dir, name+".bfq."+rest), value); !errors.Is(e, fs.ErrNotExist) {
				return e
			}
		}
	}
	return err
}

// Update changes limits of a container that may be running: fields that are
// zero stay as they are. It may add directories to the group, so keep the
// group again afterwards.
func (g *Group) Update(l Limits, f Facts) ([]string, error) {
	if g.Control == nil { // read back from JSON, where an empty one is not written
		g.Control = map[string]string{}
	}
	if len(g.Dirs) == 0 {
		refused := map[string]string{}
		for _, c := range l.controllers() {
			refused[c] = "the container has no control group: " + f.NoGroup()
		}
		return g.limit(l, f, refused)
	}
	refused := map[string]string{}
	want := slices.DeleteFunc(l.controllers(), func(c string) bool { return g.Control[c] != "" })
	for _, p := range f.places(want, false, refused) {
		dir, err := g.add(p, f)
		if err != nil {
			for _, c := range p.controllers {
				refused[c] = f.refusal(p, err)
			}
			continue
		}
		f.adopt(g, p, dir, []string{memory, pids}, refused)
	}
	return g.limit(l, f, refused)
}

// add gives the group a directory in one more tree and moves its processes
// there.
func (g *Group) add(p place, f Facts) (string, error) {
	if p.v2 && g.V2 != "" {
		return g.V2, nil
	}
	rel, ok := f.relative(g.Dirs[0])
	if !ok {
		return "", fs.ErrNotExist
	}
	dir := filepath.Join(p.mount, rel)
	if err := mkAll(dir); err != nil {
		return "", err
	}
	if slices.Contains(p.controllers, cpuset) {
		if err := fillCpuset(p.mount, dir); err != nil {
			return "", err
		}
	}
	g.Dirs = append(g.Dirs, dir)
	// A process that forks while we move it leaves a child behind.
	for range 100 {
		moved := false
		there := pidsIn(dir)
		for _, pid := range pidsIn(g.Dirs[0]) {
			if !slices.Contains(there, pid) && write(filepath.Join(dir, "cgroup.procs"), itoa(int64(pid))) == nil {
				moved = true
			}
		}
		if !moved {
			break
		}
	}
	return dir, nil
}

// relative returns the path of a group's directory from its mount on.
func (f Facts) relative(dir string) (string, bool) {
	mounts := []string{f.v2.mount}
	for c := range f.own {
		if t, ok := f.v1(c); ok {
			mounts = append(mounts, t.mount)
		}
	}
	for _, m := range mounts {
		if m != "" && strings.HasPrefix(dir, m+"/") {
			return dir[len(m):], true
		}
	}
	return "", false
}

// ByTree returns the directories under the name of their tree: what stands
// after /sys/fs/cgroup in version 1, such as "memory" or "cpu,cpuacct", and
// "unified" for version 2 beside it.
func (g *Group) ByTree() map[string]string {
	m := map[string]string{}
	for _, dir := range g.Dirs {
		if rest, ok := strings.CutPrefix(dir, mountPoint+"/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			m[name] = dir
		}
	}
	return m
}

// Below returns the path of a group's directory from its mount on, as another
// runtime wants to have it, or nothing.
func (f Facts) Below(dir string) string {
	rel, _ := f.relative(dir)
	return rel
}
