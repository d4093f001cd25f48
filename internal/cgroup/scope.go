package cgroup

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
)

// Names of the two groups inside a scope: a group that hands controllers down
// may hold no processes itself.
const (
	scopeKeeper    = "shim"
	scopeContainer = "container"
)

// PrepareIn makes the group of a container in a scope: a version 2 group that
// was made for it alone and is this account's, with the process pid in it that
// looks after the container. That process is put aside, so that the limits are
// not its own. It stays in the scope, which goes when it has ended.
//
// The scope's path is that of /proc/PID/cgroup. The rest is as with [Prepare].
func PrepareIn(scope string, pid int, l Limits, f Facts) (*Group, []string, error) {
	top := filepath.Join(f.v2.mount, path.Clean("/"+scope))
	keeper, dir := filepath.Join(top, scopeKeeper), filepath.Join(top, scopeContainer)
	for _, d := range []string{keeper, dir} {
		if err := mkAll(d); err != nil {
			return nil, nil, fmt.Errorf("cannot make a group in the scope %s: %w", scope, err)
		}
	}
	if err := write(filepath.Join(keeper, "cgroup.procs"), itoa(int64(pid))); err != nil {
		return nil, nil, fmt.Errorf("cannot use the scope %s: %w", scope, err)
	}
	refused := map[string]string{}
	p := place{tree: f.v2, v2: true}
	have := words(filepath.Join(top, "cgroup.controllers"))
	for _, c := range l.controllers() {
		if c == devices || slices.Contains(have, v2Name(c)) {
			p.controllers = append(p.controllers, c)
		} else {
			refused[c] = f.missing(c)
		}
	}
	g := &Group{Dirs: []string{dir}, Control: map[string]string{}}
	f.adopt(g, p, dir, []string{memory, pids}, refused)
	warnings, err := g.limit(l, f, refused)
	if err != nil {
		return nil, nil, err // the scope goes with the process in it
	}
	return g, warnings, nil
}
