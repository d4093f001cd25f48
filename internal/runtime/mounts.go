package runtime

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// pageLimit is what mount(2) takes as options: one page with its final NUL.
const pageLimit = 4095

// overlay mounts the layers, by the classic call, which serves every kernel.
// Whoever has more layers than fit into a page gives them short names.
func (st *start) overlay(flags uint64) {
	r := st.Root
	opts := "lowerdir=" + strings.Join(r.Lower, ":") + ",upperdir=" + r.Upper + ",workdir=" + r.Work
	// Redirects would make what a container writes unreadable to all but the
	// kernel. In a user namespace there are none.
	if r.UserXattr {
		opts += ",userxattr"
	} else {
		opts += ",redirect_dir=off,metacopy=off"
	}
	if r.Volatile {
		opts += ",volatile"
	}
	if label := st.mountLabel(); label != "" {
		opts += `,context="` + label + `"` // the categories in it have a comma
	}
	if len(opts) > pageLimit {
		st.fail("the image has %d layers, more than the kernel takes (overlay)", len(r.Lower))
		return
	}
	st.do("mount the image's layers (overlay)", "mount", nsinit.Str("overlay"), nsinit.Str(r.Target), nsinit.Str("overlay"), nsinit.Flags(flags), nsinit.Str(opts))
}

// Steps of the mount API of Linux 5.2: fsopen, fsconfig, fsmount.

func (b *builder) fsopen(what, kind string) nsinit.Reg {
	return b.get(what, "fsopen", nsinit.Str(kind), nsinit.Int(unix.FSOPEN_CLOEXEC))
}

func (b *builder) fsconfig(what string, fs nsinit.Reg, key, value string) {
	b.do(what, "fsconfig", nsinit.Ref(fs), nsinit.Int(unix.FSCONFIG_SET_STRING), nsinit.Str(key), nsinit.Str(value), zero)
}

func (b *builder) fsflag(what string, fs nsinit.Reg, key string) {
	b.do(what, "fsconfig", nsinit.Ref(fs), nsinit.Int(unix.FSCONFIG_SET_FLAG), nsinit.Str(key), zero, zero)
}

func (b *builder) fsmount(what string, fs nsinit.Reg, attr uint64) nsinit.Reg {
	b.do(what, "fsconfig", nsinit.Ref(fs), nsinit.Int(unix.FSCONFIG_CMD_CREATE), zero, zero, zero)
	m := b.get(what, "fsmount", nsinit.Ref(fs), nsinit.Int(unix.FSMOUNT_CLOEXEC), nsinit.Flags(attr))
	b.closeReg(fs)
	return m
}

// sourced is a mount of the specification with its detached source.
type sourced struct {
	reg   nsinit.Reg
	mount specs.Mount
	dir   bool
	// copyUp is a tmpfs that begins with what the image has in its place.
	copyUp bool
}

// sources makes every mount as a detached one, while the host's paths can
// still be reached.
func (st *start) sources() {
	mounts := st.Spec.Mounts
	if st.bundle == nil {
		mounts = ordered(mounts)
	}
	for _, m := range mounts {
		st.source(m)
	}
	for _, d := range st.nodes() {
		if st.makesNodes() {
			break
		}
		// Read-only is the name, not the device: it can be written to as
		// ever, but root in the container cannot give the host's node
		// another owner or mode.
		o := options{top: attrs{set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSUID, propagation: unix.MS_PRIVATE}}
		st.devs = append(st.devs, st.bindSource(st.Node(d), o))
	}
	st.separate()
}

// ordered puts mounts below /proc, /dev and /sys after the rest and keeps the
// order otherwise.
func ordered(ms []specs.Mount) []specs.Mount {
	var first, last []specs.Mount
	for _, m := range ms {
		if kernelPlace(m.Destination) {
			last = append(last, m)
		} else {
			first = append(first, m)
		}
	}
	return append(first, last...)
}

func kernelPlace(p string) bool {
	return below(p, "/proc") || below(p, "/dev") || below(p, "/sys")
}

func (st *start) source(m specs.Mount) {
	o := parseOptions(m)
	put := func(r nsinit.Reg, dir bool) {
		st.mounts = append(st.mounts, sourced{reg: r, mount: m, dir: dir, copyUp: o.tmpcopyup && m.Type == "tmpfs"})
	}
	if st.bundle == nil {
		o.everywhere()
	}
	if ns, inside, ok := foreign(m.Source); ok && o.bind && st.bundle == nil {
		put(st.foreignSource(ns, inside, o), true)
		return
	}
	if o.bind || m.Type == "bind" {
		p := st.onHost(m.Source)
		if st.bundle != nil && o.all.propagation|o.top.propagation == 0 {
			o.all.propagation = unix.MS_SLAVE // as runc does
		}
		if o.idmap || st.bundle != nil && st.ns.own(unix.CLONE_NEWUSER) && os.Geteuid() == 0 {
			put(st.outerSource(m, p, o), st.IsDir(p))
		} else {
			put(st.bindSource(p, o), st.IsDir(p))
		}
		return
	}
	switch {
	case m.Type == "proc" && st.confined() && !st.ns.own(unix.CLONE_NEWPID) && st.ns.join[specs.PIDNamespace] == "":
		// The host's processes: only its own /proc shows them here.
		put(st.bindSource("/proc", options{rec: true, all: attrs{propagation: unix.MS_SLAVE}}), true)
	case m.Type == "sysfs" && st.confined() && !st.ns.own(unix.CLONE_NEWNET) && st.ns.join[specs.NetworkNamespace] == "":
		// The host's network: only its own /sys shows it here.
		put(st.bindSource("/sys", options{rec: true, all: attrs{set: o.top.set, propagation: unix.MS_SLAVE}}), true)
	case m.Type == "cgroup" && st.bundle != nil:
		st.cgroupMounts(m, o)
	case m.Type == "cgroup":
		put(st.fileSystem("cgroup2", m, o), true)
	default:
		put(st.fileSystem(m.Type, m, o), true)
	}
}

// onHost is where a mount's source is: below the bundle, if it is relative.
func (st *start) onHost(p string) string {
	if st.bundle == nil || path.IsAbs(p) {
		return p
	}
	return path.Join(st.bundle.Path, p)
}

// fileSystem makes a new one.
func (st *start) fileSystem(kind string, m specs.Mount, o options) nsinit.Reg {
	what := fmt.Sprintf("make a %s file system for %s", kind, m.Destination)
	fs := st.fsopen(what, kind)
	if m.Source != "" {
		st.fsconfig(what, fs, "source", m.Source)
	}
	for _, d := range o.data {
		key, value, ok := strings.Cut(d, "=")
		if ok {
			st.fsconfig(what, fs, key, value)
		} else {
			st.fsflag(what, fs, d)
		}
	}
	if label := st.mountLabel(); label != "" && (kind == "tmpfs" || kind == "devpts" || kind == "mqueue") {
		st.fsconfig(what, fs, "context", label)
	}
	set := o.top.set | o.all.set
	if kind == "tmpfs" && set&unix.MOUNT_ATTR_RDONLY != 0 {
		// Other mounts may have their places in it.
		r := st.fsmount(what, fs, set&^unix.MOUNT_ATTR_RDONLY)
		st.frozen = append(st.frozen, sourced{reg: r, mount: m, dir: true})
		return r
	}
	r := st.fsmount(what, fs, set)
	if p := o.top.propagation | o.all.propagation; p&^unix.MS_PRIVATE != 0 {
		st.setattr(what, nsinit.Ref(r), none, unix.AT_EMPTY_PATH, unix.MountAttr{Propagation: p})
	}
	return r
}

// nodes are the devices that every container has, and those it asks for.
func (st *start) nodes() []specs.LinuxDevice {
	var out []specs.LinuxDevice
	have := map[string]bool{}
	for _, d := range st.Spec.Linux.Devices {
		have[d.Path] = true
	}
	for _, m := range st.Spec.Mounts {
		if m.Destination != "/dev" {
			have[m.Destination] = true
		}
	}
	for _, d := range []specs.LinuxDevice{
		{Path: "/dev/null", Major: 1, Minor: 3}, {Path: "/dev/zero", Major: 1, Minor: 5}, {Path: "/dev/full", Major: 1, Minor: 7},
		{Path: "/dev/random", Major: 1, Minor: 8}, {Path: "/dev/urandom", Major: 1, Minor: 9}, {Path: "/dev/tty", Major: 5},
	} {
		if !have[d.Path] {
			out = append(out, d)
		}
	}
	return append(out, st.Spec.Linux.Devices...)
}

func (st *start) bindSource(p string, o options) nsinit.Reg {
	what := "mount " + p
	r := st.get(what, "open_tree", cwd, nsinit.Str(p), nsinit.Flags(o.openTree()))
	st.setattrs(what, r, o)
	return r
}

func (o options) openTree() uint64 {
	flags := uint64(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if o.rec {
		flags |= unix.AT_RECURSIVE
	}
	return flags
}

func (st *start) setattrs(what string, r nsinit.Reg, o options) {
	for _, a := range o.changes() {
		st.setattr(what, nsinit.Ref(r), none, a.flags, a.kernel())
	}
}

func (b *builder) setattr(what string, at, p nsinit.Arg, flags uint64, attr unix.MountAttr) {
	b.do(what, "mount_setattr", at, p, nsinit.Flags(flags), structBytes(attr), nsinit.Int(int(unsafe.Sizeof(attr))))
}

// places puts the detached mounts where they belong.
func (st *start) places() {
	for _, s := range st.mounts {
		dest, follow := path.Join("/", s.mount.Destination), followLinks
		if kernelPlace(dest) {
			follow = followNone
		}
		if s.copyUp {
			st.copyUp(s.reg, dest)
		}
		st.attach(s.reg, dest, s.dir, follow)
		if !slices.ContainsFunc(st.frozen, func(f sourced) bool { return f.reg == s.reg }) {
			st.closeReg(s.reg)
		}
	}
}

// devices fills /dev, when it is our own, with nodes and the customary links.
func (st *start) devices() {
	if st.makesNodes() {
		st.makeNodes()
	} else {
		for i, d := range st.nodes() {
			st.attach(st.devs[i], d.Path, false, followNone)
			if d.Path == "/dev/null" {
				st.null = st.devs[i]
			} else {
				st.closeReg(st.devs[i])
			}
		}
	}
	if st.ownDev() {
		st.links = append(st.links, [][2]string{
			{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
			{"/proc/self/fd/2", "/dev/stderr"}, {"/proc/kcore", "/dev/core"}, {"pts/ptmx", "/dev/ptmx"},
		}...)
	}
	if st.null == 0 && len(st.Spec.Linux.MaskedPaths) > 0 {
		st.null = st.find(cwd, "/dev/null", 0, followNone)
	}
	for _, l := range st.links {
		st.do("make "+l[1], "symlinkat", nsinit.Str(l[0]), cwd, nsinit.Str(l[1]))
		st.allow(0, unix.EEXIST)
	}
}

func (st *start) ownDev() bool {
	for _, m := range st.Spec.Mounts {
		if m.Destination == "/dev" {
			return m.Type == "tmpfs"
		}
	}
	return false
}

// protect hides and freezes what the specification names in /proc and /sys.
func (st *start) protect() {
	for _, p := range st.Spec.Linux.MaskedPaths {
		st.mask(p)
	}
	const copied = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH | unix.AT_RECURSIVE
	for _, p := range st.Spec.Linux.ReadonlyPaths {
		what := "protect " + p
		at := st.find(cwd, p, 0, followNone)
		st.saying(what)
		first := len(st.ops) - 1
		r := st.get(what, "open_tree", nsinit.Ref(at), none, nsinit.Flags(copied))
		st.setattr(what, nsinit.Ref(r), none, unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
		st.cover(what, r, at)
		st.closeReg(r)
		st.closeReg(at)
		st.next -= 2
		st.unless(first, unix.ENOENT)
	}
}

// unless leaves out all operations after the one at first when that fails so.
func (b *builder) unless(first int, errnos ...unix.Errno) {
	b.ops[first].Skip = len(b.ops) - 1 - first
	for _, e := range errnos {
		b.ops[first].Allow = append(b.ops[first].Allow, int(e))
	}
}

// mask covers a directory with an empty read-only one, and a file with the
// null device: by a descriptor of ours, not what somebody has put at /dev/null
// (CVE-2025-31133).
func (st *start) mask(p string) {
	what := "mask " + p
	at := st.find(cwd, p, unix.O_DIRECTORY, followNone)
	st.saying(what)
	probe := len(st.ops) - 1
	m := st.fsmount(what, st.fsopen(what, "tmpfs"), unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	st.cover(what, m, at)
	st.closeReg(m)
	st.closeReg(at)
	// Not a directory: the rest is for files. Not there at all: it fails
	// again, and is left out.
	st.unless(probe, unix.ENOENT, unix.ENOTDIR, unix.EACCES)
	last := len(st.ops) - 1
	st.find(cwd, p, 0, followNone)
	st.saying(what)
	st.into(at)
	file := len(st.ops) - 1
	r := st.get(what, "open_tree", nsinit.Ref(st.null), none, nsinit.Flags(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH))
	st.cover(what, r, at)
	st.closeReg(r)
	st.closeReg(at)
	st.unless(file, unix.ENOENT, unix.ENOTDIR, unix.EACCES)
	st.ops[last].Then = len(st.ops) - 1 - last
	st.ops[last].Allow = nil
	st.next -= 4
}

// foreign splits /proc/PID/root/PATH, a place in another process's mounts.
func foreign(p string) (ns, inside string, ok bool) {
	rest, ok := strings.CutPrefix(p, "/proc/")
	if !ok {
		return "", "", false
	}
	pid, inside, ok := strings.Cut(rest, "/root/")
	if !ok || strings.Trim(pid, "0123456789") != "" {
		return "", "", false
	}
	return "/proc/" + pid + "/ns/mnt", "/" + inside, true
}

// foreignSource makes a detached copy of a mount of another container, which
// only a process in that mount namespace may do.
func (st *start) foreignSource(ns, p string, o options) nsinit.Reg {
	what := "share " + p + " of another container"
	open := func(path string) nsinit.Reg {
		return st.get(what, "openat", cwd, nsinit.Str(path), nsinit.Int(unix.O_RDONLY|unix.O_CLOEXEC), zero)
	}
	theirs, ours := open(ns), open("/proc/self/ns/mnt")
	st.do(what, "setns", nsinit.Ref(theirs), nsinit.Flags(unix.CLONE_NEWNS))
	r := st.get(what, "open_tree", cwd, nsinit.Str(p), nsinit.Flags(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
	st.do(what, "setns", nsinit.Ref(ours), nsinit.Flags(unix.CLONE_NEWNS))
	st.setattr(what, nsinit.Ref(r), none, unix.AT_EMPTY_PATH, unix.MountAttr{Attr_set: o.all.set, Propagation: unix.MS_PRIVATE})
	return r
}
