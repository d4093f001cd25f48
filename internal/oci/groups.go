package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// subgroups are the control groups that an exec joins: the container's, or
// such inside of them as --cgroup names, PATH for all trees or
// CONTROLLER[,CONTROLLER]:PATH for some of version 1.
func (c *container) subgroups(options []string) ([]string, error) {
	if c.Group == nil {
		if len(options) > 0 {
			return nil, fmt.Errorf("the container has no control group to have others inside")
		}
		return nil, nil
	}
	dirs := append([]string{}, c.Group.Dirs...)
	for _, opt := range options {
		controllers, sub, some := strings.Cut(opt, ":")
		if !some {
			controllers, sub = "", opt
		}
		wanted := map[string]bool{}
		for name := range strings.SplitSeq(controllers, ",") {
			if dir, ok := c.Group.Control[name]; ok {
				wanted[dir] = true
			} else if some {
				return nil, fmt.Errorf("--cgroup: the container has no control group for %q", name)
			}
		}
		for i, dir := range c.Group.Dirs {
			if some && !wanted[dir] {
				continue
			}
			dirs[i] = filepath.Join(dir, filepath.Clean("/"+sub))
			if _, err := os.Stat(dirs[i]); err != nil {
				return nil, fmt.Errorf("--cgroup: %w", err)
			}
		}
	}
	return dirs, nil
}
