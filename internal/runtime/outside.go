package runtime

import (
	"fmt"
	"os"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
	"berth/internal/sys"
)

// What a start needs of its maker and the host: mounts that only the maker may
// open, nodes, cgroups.

// outerMount is a mount that the process's maker opens for it: one whose owners
// are to be mapped, which takes rights over the mounted file system; and all,
// where the root of a user namespace may not reach the source.
type outerMount struct {
	reg        nsinit.Reg
	source     string
	options    options
	uids, gids []specs.LinuxIDMapping
}

func (st *start) outerSource(m specs.Mount, p string, o options) nsinit.Reg {
	st.top--
	r := st.top
	om := outerMount{reg: r, source: p, options: o, uids: m.UIDMappings, gids: m.GIDMappings}
	if o.idmap && len(om.uids)+len(om.gids) == 0 {
		om.uids, om.gids = st.Spec.Linux.UIDMappings, st.Spec.Linux.GIDMappings
	}
	if o.idmap && (len(om.uids) == 0 || len(om.gids) == 0) {
		st.fail("mount %s: idmap needs uidMappings and gidMappings", m.Destination)
	}
	st.outer = append(st.outer, om)
	return r
}

// openOuter opens the mounts and puts them into registers. The caller closes
// the descriptors.
func (c *Compiled) openOuter(regs map[nsinit.Reg]int) (fds []int, err error) {
	for _, m := range c.outer {
		fd, err := m.open()
		if err != nil {
			return fds, fmt.Errorf("cannot mount %s: %w", m.source, err)
		}
		fds = append(fds, fd)
		regs[m.reg] = fd
	}
	return fds, nil
}

func (m *outerMount) open() (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.source, uint(m.options.openTree()))
	if err != nil {
		return -1, os.NewSyscallError("open_tree", err)
	}
	if m.options.idmap {
		err = m.mapOwners(fd)
	}
	for _, a := range m.options.changes() {
		if err != nil {
			break
		}
		attr := a.kernel()
		err = os.NewSyscallError("mount_setattr", unix.MountSetattr(fd, "", uint(a.flags), &attr))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// mapOwners shows the owners of a detached mount through the maps of a user
// namespace (mount_setattr(2), MOUNT_ATTR_IDMAP).
func (m *outerMount) mapOwners(fd int) error {
	user, err := userNamespace(m.uids, m.gids)
	if err != nil {
		return err
	}
	defer user.Close()
	flags := uint(unix.AT_EMPTY_PATH)
	if m.options.idmapAll {
		flags |= unix.AT_RECURSIVE
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(user.Fd())}
	if err := unix.MountSetattr(fd, "", flags, &attr); err != nil {
		return fmt.Errorf("map owners (does its file system support that?): %w", err)
	}
	return nil
}

// userNamespace makes a namespace that exists only for its maps: the process
// that makes it is ended at its first pause.
func userNamespace(uids, gids []specs.LinuxIDMapping) (user *os.File, err error) {
	p := &nsinit.Program{Flags: unix.CLONE_NEWUSER, Ops: []nsinit.Op{{
		Call: nsinit.CallPause, Args: []nsinit.Arg{nsinit.Int(int(StageMap))}, What: "map ids",
	}}}
	_, spawned := nsinit.SpawnPausing(p, nil, func(_, pid int) error {
		if err = WriteMaps(pid, uids, gids); err == nil {
			user, err = os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
		}
		return os.ErrProcessDone
	})
	if user == nil && err == nil {
		err = spawned
	}
	return user, err
}

// WriteMaps gives the new user namespace of a process its id maps, as root may.
func WriteMaps(pid int, uids, gids []specs.LinuxIDMapping) error {
	for name, maps := range map[string][]specs.LinuxIDMapping{"uid_map": uids, "gid_map": gids} {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, name), []byte(idMap(maps)), 0); err != nil {
			return fmt.Errorf("cannot map ids: %w", err)
		}
	}
	return nil
}

// permitted reports whether this process has a capability.
func permitted(capability int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[capability/32].Permitted&(1<<(capability%32)) != 0
}

// confined reports whether the process has no rights over the whole machine: it
// is, or will be, in a user namespace below the first, which has this number
// (PROC_USER_INIT_INO in linux/proc_ns.h).
func (st *start) confined() bool {
	if st.ns.rootless() || st.bundle == nil {
		return st.ns.rootless()
	}
	return nested()
}

func nested() bool {
	link, err := os.Readlink("/proc/self/ns/user")
	return err == nil && link != "user:[4026531837]"
}

// raise lifts the hard limits that the process is to have above its caller's
// while it may still do that: not any more in a user namespace.
func (b *builder) raise(p *specs.Process) {
	for _, l := range p.Rlimits {
		var now unix.Rlimit
		if n, ok := rlimit(l.Type); ok && unix.Getrlimit(n, &now) == nil && l.Hard > now.Max {
			b.try("prlimit64", zero, nsinit.Int(n), structBytes(unix.Rlimit{Cur: now.Cur, Max: l.Hard}), zero)
		}
	}
}

// makesNodes reports whether devices are made: by those who may, in a /dev of
// the container's own. Else the host's are bound, which needs no right, and
// where a node is that is not ours to change.
func (st *start) makesNodes() bool {
	return st.bundle != nil && st.ownDev() && !st.confined() && permitted(unix.CAP_MKNOD)
}

func (st *start) makeNodes() {
	for _, d := range st.nodes() {
		mode := uint32(0o666)
		if d.FileMode != nil {
			mode = uint32(*d.FileMode) & 0o7777
		}
		switch d.Type {
		case "b":
			mode |= unix.S_IFBLK
		case "p":
			mode |= unix.S_IFIFO
		case "c", "u", "":
			mode |= unix.S_IFCHR
		default:
			st.fail("device %s: type %q is none of c, u, b and p", d.Path, d.Type)
		}
		at, name := cwd, nsinit.Str(d.Path)
		elsewhere := path.Dir(d.Path) != "/dev"
		if elsewhere {
			at, name = nsinit.Ref(st.folder(path.Dir(d.Path), followLinks)), nsinit.Str(path.Base(d.Path))
		}
		number := unix.Mkdev(uint32(d.Major), uint32(d.Minor))
		st.do("make the device "+d.Path, "mknodat", at, name, nsinit.Flags(uint64(mode)), nsinit.Flags(number))
		st.allow(0, unix.EEXIST)
		if uid, gid := idOr0(d.UID), idOr0(d.GID); uid != 0 || gid != 0 {
			st.do("give away the device "+d.Path, "fchownat", at, name, nsinit.Int(uid), nsinit.Int(gid), nsinit.Int(unix.AT_SYMLINK_NOFOLLOW))
		}
		if elsewhere {
			st.try("close", at)
			st.next--
		}
	}
}

func idOr0(id *uint32) int {
	if id == nil {
		return 0
	}
	return int(*id)
}

const cgroupRoot = "/sys/fs/cgroup"

// cgroupMounts shows the container its cgroups, and no others. With version 1
// there is a folder for each hierarchy, and links by the names of controllers
// where a hierarchy has several.
func (st *start) cgroupMounts(m specs.Mount, o options) {
	put := func(r nsinit.Reg, dest string) {
		place := m
		place.Destination = dest
		st.mounts = append(st.mounts, sourced{reg: r, mount: place, dir: true})
	}
	bind := o
	bind.all.propagation = unix.MS_SLAVE
	bind.data = nil
	dirs := st.Cgroups
	if unified(dirs) {
		switch {
		case st.ns.own(unix.CLONE_NEWCGROUP):
			o.data = nil
			put(st.fileSystem("cgroup2", m, o), m.Destination)
		case len(dirs) == 1:
			put(st.bindSource(dirs[0], bind), m.Destination)
		default:
			put(st.bindSource(cgroupRoot, bind), m.Destination)
		}
		return
	}
	if len(dirs) == 0 {
		bind.rec = true
		bind.all.set |= unix.MOUNT_ATTR_RDONLY
		put(st.bindSource(cgroupRoot, bind), m.Destination)
		return
	}
	o.data = []string{"mode=755"}
	tmpfs := m
	tmpfs.Source = "tmpfs"
	put(st.fileSystem("tmpfs", tmpfs, o), m.Destination)
	for _, dir := range dirs {
		name, _, _ := strings.Cut(strings.TrimPrefix(dir, cgroupRoot+"/"), "/")
		put(st.bindSource(dir, bind), path.Join(m.Destination, name))
		if names := strings.Split(name, ","); len(names) > 1 {
			for _, n := range names {
				st.links = append(st.links, [2]string{name, path.Join(m.Destination, n)})
			}
		}
	}
}

// unified reports whether cgroups are version 2 only.
func unified(dirs []string) bool {
	at := cgroupRoot
	if len(dirs) > 0 {
		at = dirs[0]
	}
	var fs unix.Statfs_t
	return len(dirs) <= 1 && unix.Statfs(at, &fs) == nil && int64(fs.Type) == unix.CGROUP2_SUPER_MAGIC
}

// mountLabel is the SELinux context of new file systems. A bundle may have one
// without there being SELinux.
func (st *start) mountLabel() string {
	if st.Spec.Linux.MountLabel == "" || st.bundle != nil && !hasSELinux() {
		return ""
	}
	return st.Spec.Linux.MountLabel
}

func hasSELinux() bool {
	_, err := os.Stat("/sys/fs/selinux/enforce")
	return err == nil
}

// streams are those of the standard streams that are to belong to the user: not
// the null device, which is everybody's, nor what is the user's already.
func streams(uid uint32) (fds []int) {
	for fd := range 3 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Uid != uid && st.Rdev != unix.Mkdev(1, 3) {
			fds = append(fds, fd)
		}
	}
	return fds
}

// capabilityBits turns names into a set, leaving out what this kernel or
// process cannot have.
func capabilityBits(names []string, have func(n int) bool) (set [2]uint32) {
	for n, name := range sys.Capabilities() {
		for _, want := range names {
			if want == name && have(n) {
				set[n/32] |= 1 << (n % 32)
			}
		}
	}
	return set
}
