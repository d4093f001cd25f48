package cgroup

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountPoint is where every distribution mounts control groups.
const mountPoint = "/sys/fs/cgroup"

// Mode is how a machine presents control groups.
type Mode int

// The modes. Hybrid is version 1 with an additional version 2 tree.
const (
	None Mode = iota
	V1
	Hybrid
	V2
)

// The controllers berth uses, by their names in version 1. In version 2 blkio
// is called io, the freezer is built in and devices is a BPF program.
const (
	memory  = "memory"
	cpu     = "cpu"
	cpuacct = "cpuacct"
	cpuset  = "cpuset"
	pids    = "pids"
	blkio   = "blkio"
	devices = "devices"
	freezer = "freezer"

	// For OCI runtimes alone.
	hugetlb = "hugetlb"
	rdma    = "rdma"
	netCls  = "net_cls"  // version 1 only
	netPrio = "net_prio" // version 1 only
	// nameSystemd is a tree of version 1 without a controller, with which
	// systemd keeps track of processes.
	nameSystemd = "name=systemd"
)

// Facts is what [Prepare] has to know of the machine and of the groups that the
// calling process is in.
type Facts struct {
	Mode Mode
	UID  int
	// Strict makes a limit that cannot be had an error, as OCI runtimes are
	// expected to, instead of a warning. What this generation of control
	// groups knows no word for stays a warning.
	Strict bool
	// Refuse makes every limit that was asked for and cannot be had an error,
	// if possible before anything is written.
	Refuse bool
	// NoScope says why this account could not be given a group of its own, in
	// place of the general words.
	NoScope string
	v2      tree              // version 2: zero when not mounted
	inHere  []string          // the controllers at the root of the version 2 tree
	own     map[string]string // version 1: the calling process's group by controller
	root    string            // where the trees of version 1 are mounted
	fsType  func(string) int64
}

// tree is one mounted hierarchy.
type tree struct {
	mount string // where it is mounted
	own   string // the calling process's group in it, from the mount on
}

// Detect looks at the mounts and at the calling process. It opens a handful of
// files.
func Detect() (Facts, error) {
	f := Facts{UID: os.Geteuid()}
	b, err := os.ReadFile("/proc/self/cgroup")
	if os.IsNotExist(err) {
		return f, nil // a kernel without control groups
	}
	if err != nil {
		return f, err
	}
	f.find(mountPoint, string(b), fsType)
	return f, nil
}

// fsType returns the type of the file system at path, as the kernel's magic
// number tells it.
func fsType(path string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0
	}
	return int64(st.Type)
}

// find fills in the trees below root, from what /proc/self/cgroup says.
func (f *Facts) find(root, self string, fsType func(string) int64) {
	f.root, f.fsType, f.own = root, fsType, map[string]string{}
	unified := filepath.Join(root, "unified")
	if fsType(root) == unix.CGROUP2_SUPER_MAGIC {
		unified = root
		f.Mode = V2
	} else if fsType(unified) != unix.CGROUP2_SUPER_MAGIC {
		unified = ""
	}
	for line := range strings.Lines(self) {
		// hierarchy number : controllers : path
		part := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(part) != 3 {
			continue
		}
		own := part[2]
		if own == "/.." || strings.HasPrefix(own, "/../") {
			own = "/" // a group outside our view
		}
		if part[0] == "0" {
			if unified != "" {
				f.v2 = tree{mount: unified, own: own}
			}
			continue
		}
		for name := range strings.SplitSeq(part[1], ",") {
			if f.Mode == V2 || name == "" || strings.HasPrefix(name, "name=") && name != nameSystemd {
				continue
			}
			f.own[name] = own
			if f.Mode == None {
				if _, ok := f.v1(name); ok {
					f.Mode = V1
				}
			}
		}
	}
	if f.v2.mount != "" {
		f.inHere = words(filepath.Join(f.v2.mount, "cgroup.controllers"))
		if f.Mode == V1 {
			f.Mode = Hybrid
		}
	}
}

// v1 returns the version 1 tree of a controller.
func (f Facts) v1(controller string) (tree, bool) {
	own, ok := f.own[controller]
	if !ok {
		return tree{}, false
	}
	dir := filepath.Join(f.root, strings.TrimPrefix(controller, "name="))
	if f.fsType(dir) != unix.CGROUP_SUPER_MAGIC {
		return tree{}, false
	}
	// Controllers that share a tree have links to it.
	if target, err := os.Readlink(dir); err == nil {
		dir = filepath.Join(f.root, target)
	}
	return tree{mount: dir, own: own}, true
}

// Version returns Docker's word for the mode: "1", "2", or nothing.
func (f Facts) Version() string {
	switch f.Mode {
	case V1, Hybrid:
		return "1"
	case V2:
		return "2"
	}
	return ""
}

// WhyNot says why this account's containers cannot have the limits of a
// controller (by its name in version 1), in one clause with the remedy. It
// returns nothing where they can, as far as looking tells.
func (f Facts) WhyNot(controller string) string {
	refused := map[string]string{}
	for _, p := range f.places([]string{controller}, false, refused) {
		if _, ok := f.delegated(p.tree); !ok && f.UID == 0 {
			return f.refusal(p, unix.EROFS)
		} else if !ok {
			return f.refusal(p, unix.EACCES)
		}
	}
	return refused[controller]
}

// Delegated reports whether this account may make groups with limits in
// version 2, from where the calling process is.
func (f Facts) Delegated() bool {
	_, ok := f.delegated(f.v2)
	return ok
}

// Controllers names the controllers that limits need.
func (l Limits) Controllers() []string { return l.controllers() }

// NoGroup says why a container of this account has no control group, with the
// remedy.
func (f Facts) NoGroup() string {
	switch {
	case f.Mode == None:
		return "no control groups are mounted at " + f.root
	case f.UID == 0:
		return "none could be made when it started"
	}
	return f.refusal(place{}, unix.EACCES)
}

// WhyNotBelow is WhyNot for groups below one of version 2 that is the account's.
func (f Facts) WhyNotBelow(group, controller string) string {
	if slices.Contains(words(filepath.Join(f.v2.mount, path.Clean("/"+group), "cgroup.controllers")), v2Name(controller)) {
		return ""
	}
	return f.missing(controller)
}

// HasSwap reports whether swap is counted.
func (f Facts) HasSwap() bool {
	if t, ok := f.v1(memory); ok {
		return exists(filepath.Join(t.mount, "memory.memsw.limit_in_bytes"))
	}
	// The root group has no limit files; any other group has.
	return f.v2.mount != "" && slices.Contains(f.inHere, memory) && (f.v2.own == "/" || exists(filepath.Join(f.v2.mount, f.v2.own, "memory.swap.max")))
}

func v2Name(controller string) string {
	if controller == blkio {
		return "io"
	}
	return controller
}

// words reads a file of names separated by blanks.
func words(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
