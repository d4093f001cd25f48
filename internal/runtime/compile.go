package runtime

import (
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// Config is what a start is compiled from.
type Config struct {
	Spec    *specs.Spec
	Root    Rootfs
	Cgroups []string // directories of cgroups to join
	Init    bool     // run a small init as process 1
	Stdin   bool     // its standard input is a pipe, not the null device
	Filters [][]byte // seccomp programs, installed in this order
	// OwnerUser joins the user namespace that owns the other joined ones
	// instead of the one at its path, whose process may sit in a nested one.
	OwnerUser bool
	// IsDir tells whether a host path is a directory.
	IsDir func(path string) bool
	// Node returns the host path of a device.
	Node func(d specs.LinuxDevice) string
}

// Rootfs is the container's root file system. All paths but Base are relative
// to it, which keeps the mount options short: they share one page.
type Rootfs struct {
	Base      string   // absolute: the data root
	Lower     []string // layers, topmost first
	Upper     string
	Work      string
	Target    string // where it is mounted; without Lower, the tree itself
	UserXattr bool   // marks are in user.overlay.*: mounted in a user namespace
	Volatile  bool   // never synced: the container is removed when it ends
	LowerPlus bool   // the kernel takes layers one by one (Linux 6.5)
	NoDev     bool
}

// Compile turns a specification into a program for the first process.
func Compile(c Config) (*nsinit.Program, error) {
	s := c.Spec
	if s.Process == nil || s.Linux == nil || len(s.Process.Args) == 0 {
		return nil, fmt.Errorf("the specification has no process to run")
	}
	st := &start{builder: newBuilder(), Config: c, ns: namespacesOf(s)}
	p := &nsinit.Program{Flags: st.enter()}
	st.passNamespaces()
	st.do("start a session", "setsid")
	st.sources()
	st.rootfs()
	st.places()
	st.devices()
	st.kernelSettings()
	st.protect()
	if s.Process.Terminal {
		st.terminal("/dev/pts/ptmx", s.Process, true)
	} else {
		st.stdio()
	}
	st.late()
	st.adjust(s.Process, c.Stdin)
	if u := s.Process.User; st.ns.rootless() && (u.UID != 0 || u.GID != 0) {
		st.nestUser(st.proc, int(u.UID), int(u.GID))
	}
	st.process(s.Process, st.ns.rootless(), c.Init, c.Filters)
	p.Ops = st.ops
	return p, st.err
}

// start is a Compile under way.
type start struct {
	*builder
	Config
	ns     namespaces
	proc   nsinit.Arg   // the host's /proc, for writing id maps
	mounts []sourced    // detached mounts, in the order of their places
	devs   []nsinit.Reg // detached device nodes, as in Spec.Linux.Devices
	frozen []string     // made read-only when all is in place
}

// namespaces is what the specification says about them.
type namespaces struct {
	fresh uint64                              // CLONE_NEW* flags
	join  map[specs.LinuxNamespaceType]string // paths to enter
}

func namespacesOf(s *specs.Spec) namespaces {
	n := namespaces{join: map[specs.LinuxNamespaceType]string{}}
	for _, ns := range s.Linux.Namespaces {
		if ns.Path != "" {
			n.join[ns.Type] = ns.Path
		} else {
			n.fresh |= cloneFlag(ns.Type)
		}
	}
	return n
}

func cloneFlag(t specs.LinuxNamespaceType) uint64 {
	switch t {
	case specs.UserNamespace:
		return unix.CLONE_NEWUSER
	case specs.MountNamespace:
		return unix.CLONE_NEWNS
	case specs.PIDNamespace:
		return unix.CLONE_NEWPID
	case specs.NetworkNamespace:
		return unix.CLONE_NEWNET
	case specs.IPCNamespace:
		return unix.CLONE_NEWIPC
	case specs.UTSNamespace:
		return unix.CLONE_NEWUTS
	case specs.CgroupNamespace:
		return unix.CLONE_NEWCGROUP
	}
	return 0
}

func (n namespaces) rootless() bool {
	return n.fresh&unix.CLONE_NEWUSER != 0 || n.join[specs.UserNamespace] != ""
}

// own reports whether the container has a namespace of its own kind.
func (n namespaces) own(flag uint64) bool { return n.fresh&flag != 0 }

// enter gets into the namespaces and cgroups and returns the flags of the
// first clone. The cgroup namespace is made last, because its root is the
// cgroup that its maker is in.
func (st *start) enter() uint64 {
	rest := st.ns.fresh &^ unix.CLONE_NEWCGROUP
	first := rest
	if len(st.ns.join) > 0 {
		first = 0
		st.joinAll()
	}
	st.joinCgroups(st.Cgroups)
	if len(st.ns.join) > 0 {
		st.do("make a process in new namespaces", nsinit.CallClone, nsinit.Flags(rest))
	}
	st.proc = nsinit.Ref(st.get("open /proc", "openat", cwd, nsinit.Str("/proc"), nsinit.Int(unix.O_PATH|unix.O_CLOEXEC), zero))
	if st.ns.own(unix.CLONE_NEWUSER) {
		st.mapIDs(st.proc, st.Spec.Linux.UIDMappings, st.Spec.Linux.GIDMappings)
	}
	if st.ns.own(unix.CLONE_NEWCGROUP) {
		st.do("make a cgroup namespace", "unshare", nsinit.Flags(unix.CLONE_NEWCGROUP))
	}
	return first
}

// passNamespaces gives the shim descriptors of the namespaces for later execs.
// Only the process itself can always open them: it may not be dumpable, which
// closes its part of /proc to the shim of an ordinary account.
func (st *start) passNamespaces() {
	flags := ExecNamespaces(st.Spec)
	for _, ns := range nsinit.Namespaces() {
		if flags&ns.Flag == 0 {
			continue
		}
		what := "open the " + ns.File + " namespace"
		fd := st.get(what, "openat", st.proc, nsinit.Str("self/ns/"+ns.File), nsinit.Int(unix.O_RDONLY|unix.O_CLOEXEC), zero)
		st.do(what, nsinit.CallSend, nsinit.Ref(fd))
		st.closeReg(fd)
	}
}

// joinAll enters existing namespaces, the user's first: it gives the rights
// to enter the others.
func (st *start) joinAll() {
	order := []specs.LinuxNamespaceType{specs.UserNamespace, specs.PIDNamespace, specs.NetworkNamespace,
		specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace, specs.MountNamespace}
	fds := map[specs.LinuxNamespaceType]nsinit.Reg{}
	for _, t := range order {
		if p := st.ns.join[t]; p != "" {
			fds[t] = st.get("open the "+string(t)+" namespace "+p, "openat", cwd, nsinit.Str(p), nsinit.Int(unix.O_RDONLY|unix.O_CLOEXEC), zero)
		}
	}
	for _, t := range order {
		if fd, ok := fds[t]; ok {
			if t == specs.UserNamespace && st.OwnerUser {
				fd = st.get("find the owner of the joined namespaces", "ioctl", nsinit.Ref(fds[st.anyJoined()]), nsinit.Int(unix.NS_GET_USERNS))
			}
			st.do("join the "+string(t)+" namespace "+st.ns.join[t], "setns", nsinit.Ref(fd), nsinit.Flags(cloneFlag(t)))
		}
	}
}

// anyJoined is some joined namespace that is not the user's.
func (st *start) anyJoined() specs.LinuxNamespaceType {
	for _, t := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace} {
		if st.ns.join[t] != "" {
			return t
		}
	}
	return specs.UserNamespace
}

func (b *builder) joinCgroups(dirs []string) {
	for _, dir := range dirs {
		b.writeFile("join cgroup "+dir, cwd, dir+"/cgroup.procs", "0")
	}
}

// mapIDs writes the id maps of a new user namespace from inside. The process
// must be dumpable for that moment, or /proc belongs to root; nothing hostile
// can see it yet.
func (b *builder) mapIDs(proc nsinit.Arg, uids, gids []specs.LinuxIDMapping) {
	dumpable := func(n int) {
		b.do("set dumpable", "prctl", nsinit.Int(unix.PR_SET_DUMPABLE), nsinit.Int(n), zero, zero, zero)
	}
	dumpable(1)
	b.writeFile("deny setgroups", proc, "self/setgroups", "deny")
	b.writeFile("map user ids", proc, "self/uid_map", idMap(uids))
	b.writeFile("map group ids", proc, "self/gid_map", idMap(gids))
	dumpable(0)
}

func idMap(maps []specs.LinuxIDMapping) string {
	s := ""
	for _, m := range maps {
		s += fmt.Sprintf("%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	return s
}

// rootfs mounts the root file system, enters it and lets the old root go.
func (st *start) rootfs() {
	st.mountRoot()
	// pivot_root(2): with "." twice the old root lies over the new one, and
	// unmounting "." uncovers it.
	st.do("enter the root file system", "chdir", nsinit.Str(st.Root.Target))
	st.do("enter the root file system", "pivot_root", nsinit.Str("."), nsinit.Str("."))
	st.do("leave the host's file system", "umount2", nsinit.Str("."), nsinit.Int(unix.MNT_DETACH))
	st.do("enter the root file system", "chdir", nsinit.Str("/"))
}

// mountRoot mounts the root file system at its target, as seen from its base.
func (st *start) mountRoot() {
	r := st.Root
	flags := uint64(0)
	if r.NoDev {
		flags = unix.MS_NODEV
	}
	st.do("enter "+r.Base, "chdir", nsinit.Str(r.Base))
	if len(r.Lower) > 0 {
		st.overlay(flags)
	} else {
		st.do("mount the root file system", "mount", nsinit.Str(r.Target), nsinit.Str(r.Target), none, nsinit.Flags(unix.MS_BIND|unix.MS_REC), zero)
		st.do("mount the root file system", "mount", none, nsinit.Str(r.Target), none, nsinit.Flags(unix.MS_BIND|unix.MS_REMOUNT|flags), zero)
		if st.ns.rootless() {
			// The host may have locked flags that a remount must keep.
			st.ops[len(st.ops)-1].Allow = []int{nsinit.AnyError}
		}
	}
}

// kernelSettings are those of the new namespaces.
func (st *start) kernelSettings() {
	s := st.Spec
	if st.ns.own(unix.CLONE_NEWUTS) || st.ns.join[specs.UTSNamespace] != "" {
		if s.Hostname != "" {
			st.do("set the host name", "sethostname", nsinit.Str(s.Hostname), nsinit.Int(len(s.Hostname)))
		}
		if s.Domainname != "" {
			st.do("set the domain name", "setdomainname", nsinit.Str(s.Domainname), nsinit.Int(len(s.Domainname)))
		}
	}
	if st.ns.own(unix.CLONE_NEWNET) {
		st.loopbackUp()
	}
	keys := make([]string, 0, len(s.Linux.Sysctl))
	for k := range s.Linux.Sysctl {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		st.writeFile("set sysctl "+k+" (does this kernel have it?)", cwd, sysctlPath(k), s.Linux.Sysctl[k])
	}
}

// sysctlPath maps net.ipv4.ip_forward to its file; as in sysctl(8), a name
// with slashes is taken as it is, so that interface names may hold dots.
func sysctlPath(key string) string {
	b := []byte(key)
	if !slices.Contains(b, '/') {
		for i, c := range b {
			if c == '.' {
				b[i] = '/'
			}
		}
	}
	return "/proc/sys/" + string(b)
}

// loopbackUp is `ip link set lo up` (netdevice(7), SIOCSIFFLAGS).
func (st *start) loopbackUp() {
	ifr := make([]byte, 40)
	copy(ifr, "lo")
	ifr[unix.IFNAMSIZ] = unix.IFF_UP
	s := st.get("open a socket", "socket", nsinit.Int(unix.AF_INET), nsinit.Int(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), zero)
	st.do("bring up the loopback interface", "ioctl", nsinit.Ref(s), nsinit.Int(unix.SIOCSIFFLAGS), nsinit.Bytes(ifr))
	st.closeReg(s)
}

// stdio puts the shim's pipes in place.
func (b *builder) stdio() {
	for i, r := range []nsinit.Reg{nsinit.RegStdin, nsinit.RegStdout, nsinit.RegStderr} {
		b.do("set up standard streams", "dup3", nsinit.Ref(r), nsinit.Int(i), zero)
	}
}

// terminal opens a pseudo-terminal of the container's own devpts, passes the
// master to the shim and makes the other end the controlling terminal.
// TIOCGPTPEER opens it without a path that somebody could redirect.
func (b *builder) terminal(ptmx string, p *specs.Process, console bool) {
	const what = "open a terminal"
	args := append([]nsinit.Arg{cwd, nsinit.Str(ptmx)}, openHow(unix.O_RDWR|unix.O_NOCTTY, unix.RESOLVE_NO_SYMLINKS)...)
	master := b.get(what+" in the container", "openat2", args...)
	b.do(what, "ioctl", nsinit.Ref(master), nsinit.Int(unix.TIOCSPTLCK), nsinit.Bytes(make([]byte, 4)))
	if s := p.ConsoleSize; s != nil && s.Height > 0 && s.Width > 0 {
		ws := unix.Winsize{Row: uint16(s.Height), Col: uint16(s.Width)}
		b.do(what, "ioctl", nsinit.Ref(master), nsinit.Int(unix.TIOCSWINSZ), structBytes(ws))
	}
	slave := b.get(what, "ioctl", nsinit.Ref(master), nsinit.Int(unix.TIOCGPTPEER), nsinit.Int(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC))
	b.do(what, nsinit.CallSend, nsinit.Ref(master))
	for fd := range 3 {
		b.do(what, "dup3", nsinit.Ref(slave), nsinit.Int(fd), zero)
	}
	b.do("take the terminal", "ioctl", zero, nsinit.Int(unix.TIOCSCTTY), zero)
	if console {
		// A fresh devpts numbers its terminals from 0.
		b.mknod("/dev/console")
		b.allow(0, unix.EEXIST, unix.EPERM, unix.EACCES, unix.EROFS)
		m := b.get(what, "open_tree", cwd, nsinit.Str("/dev/pts/0"), nsinit.Flags(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
		b.attachExact(m, "/dev/console")
	}
}
