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
	// UserNS says that RegUserNS holds the user namespace to enter, which has
	// more ids than one; InnerNS that RegInnerNS has one inside of it, for the
	// program alone. KeepGroups leaves the program the groups of its maker.
	UserNS, InnerNS, KeepGroups bool
	// HolderNS says that RegHolderNS holds a user namespace of one id, inside
	// which the container's is made.
	HolderNS bool
	// Lease says that the namespaces are shown to whoever is at the other end of
	// RegLease, with the message Ask, and makes the container's network. The
	// program waits for the message Answer.
	Lease       bool
	Ask, Answer []byte
	// IsDir tells whether a host path is a directory.
	IsDir func(path string) bool
	// Node returns the host path of a device.
	Node func(d specs.LinuxDevice) string
}

// WhatNetwork is what the operation is for that waits for the network.
const WhatNetwork = "connect the container to its networks"

// Rootfs is the container's root file system. All paths but Base are relative
// to it, which keeps the mount options short: they share one page.
type Rootfs struct {
	Base      string   // absolute: the container's folder
	Lower     []string // layers, topmost first
	Upper     string
	Work      string
	Target    string // where it is mounted; without Lower, the tree itself
	UserXattr bool   // marks are in user.overlay.*: mounted in a user namespace
	Volatile  bool   // never synced: the container is removed when it ends
	NoDev     bool
}

// Compile turns a specification into a program for the first process.
func Compile(c Config) (*nsinit.Program, error) {
	s := c.Spec
	if s.Process == nil || s.Linux == nil || len(s.Process.Args) == 0 {
		return nil, fmt.Errorf("the specification has no process to run")
	}
	st := &start{builder: newBuilder(), Config: c, ns: namespacesOf(s).given(c.UserNS)}
	p := &nsinit.Program{Flags: st.enter()}
	st.passNamespaces()
	st.do("start a session", "setsid")
	st.keyring()
	st.sources()
	st.rootfs()
	if s.Process.Terminal {
		st.terminal("/dev/pts/ptmx", s.Process, true)
	} else {
		st.stdio()
	}
	st.late()
	if c.InnerNS {
		st.enterInner()
	}
	st.owners(s.Process, c.Stdin)
	single := st.ns.rootless() && !c.UserNS
	if u := s.Process.User; single && (u.UID != 0 || u.GID != 0) {
		st.nestUser(st.proc, int(u.UID), int(u.GID))
	}
	l := st.launch()
	l.single, l.init, l.tied = single, c.Init, true
	l.ranges, l.inner, l.keepGroups = c.UserNS, c.InnerNS, c.KeepGroups
	st.process(l)
	p.Ops = st.ops
	return p, st.err
}

// start is a Compile under way.
type start struct {
	*builder
	Config
	ns     namespaces
	bundle *Bundle      // for OCI, or nil
	proc   nsinit.Arg   // the host's /proc, for what a process sets there of itself
	outer  []outerMount // mounts that its maker opens
	mounts []sourced    // detached mounts, in the order of their places
	devs   []nsinit.Reg // detached device nodes, as in Spec.Linux.Devices
	frozen []sourced    // made read-only when all is in place
	null   nsinit.Reg   // the container's null device
	links  [][2]string  // from the second to the first
}

// namespaces is what the specification says about them.
type namespaces struct {
	fresh  uint64                              // CLONE_NEW* flags
	join   map[specs.LinuxNamespaceType]string // paths to enter
	userNS bool                                // the user's is in RegUserNS
}

// given has the user namespace come from the maker, if yes.
func (n namespaces) given(yes bool) namespaces {
	if yes {
		n.userNS = true
		n.fresh &^= unix.CLONE_NEWUSER
		delete(n.join, specs.UserNamespace)
	}
	return n
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
	case specs.TimeNamespace:
		return unix.CLONE_NEWTIME
	}
	return 0
}

func (n namespaces) rootless() bool {
	return n.userNS || n.fresh&unix.CLONE_NEWUSER != 0 || n.join[specs.UserNamespace] != ""
}

// own reports whether the container has a namespace of its own kind.
func (n namespaces) own(flag uint64) bool { return n.fresh&flag != 0 }

// enter gets into the namespaces and cgroups and returns the flags of the
// first clone. The cgroup namespace is made last, because its root is the
// cgroup that its maker is in.
//
// A second clone is needed to make namespaces out of joined ones; to enter a
// time namespace, which only children do (time_namespaces(7)); and to join
// root's cgroups and raise limits before a user namespace takes the right to.
func (st *start) enter() uint64 {
	rest := st.ns.fresh &^ (unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME)
	user, timed := st.ns.own(unix.CLONE_NEWUSER), st.ns.own(unix.CLONE_NEWTIME)
	twice := len(st.ns.join) > 0 || st.ns.userNS || st.HolderNS || timed || st.bundle != nil && user && len(st.Cgroups)+len(st.Spec.Process.Rlimits) > 0
	first := rest
	st.proc = st.openProc()
	if twice {
		first = 0
		if st.bundle != nil {
			st.raise(st.Spec.Process)
		}
		st.joinAll()
	}
	st.joinCgroups(st.Cgroups)
	if timed {
		if user {
			st.do("make a user namespace", "unshare", nsinit.Flags(unix.CLONE_NEWUSER))
			st.mapped()
			user, rest = false, rest&^unix.CLONE_NEWUSER
		}
		st.timeNamespace()
	}
	if twice {
		st.do("make a process in new namespaces", nsinit.CallClone, nsinit.Flags(rest))
	}
	if user {
		st.mapped()
	}
	if st.ns.own(unix.CLONE_NEWCGROUP) {
		st.do("make a cgroup namespace", "unshare", nsinit.Flags(unix.CLONE_NEWCGROUP))
	}
	return first
}

// mapped gives a new user namespace its id maps.
func (st *start) mapped() {
	if st.bundle == nil || !st.bundle.UIDGIDMapsByParent {
		uids, gids := st.Spec.Linux.UIDMappings, st.Spec.Linux.GIDMappings
		if st.HolderNS { // where the caller is root already
			uids = []specs.LinuxIDMapping{{Size: 1}}
			gids = uids
		}
		st.mapIDs(st.proc, uids, gids)
		return
	}
	st.pause(StageMap)
	st.becomeRoot()
}

// becomeRoot takes the ids of a user namespace's root, where it has one
// (EINVAL); its capabilities are there already. EPERM: groups cannot be set
// when an ordinary account has written the map (user_namespaces(7)).
func (b *builder) becomeRoot() {
	const what = "become root of the user namespace"
	b.do(what, "setresgid", zero, zero, zero)
	b.allow(0, unix.EINVAL)
	b.do(what, "setgroups", zero, nsinit.Bytes(nil))
	b.allow(0, unix.EPERM)
	b.do(what, "setresuid", zero, zero, zero)
	b.allow(0, unix.EINVAL)
}

// timeNamespace makes the namespace of the next child. Offsets are set once,
// before anybody is in it.
func (st *start) timeNamespace() {
	st.do("make a time namespace", "unshare", nsinit.Flags(unix.CLONE_NEWTIME))
	text := ""
	for _, clock := range []string{"monotonic", "boottime"} {
		if o, ok := st.Spec.Linux.TimeOffsets[clock]; ok {
			text += fmt.Sprintf("%s %d %d\n", clock, o.Secs, o.Nanosecs)
		}
	}
	if text == "" {
		return
	}
	st.do("set dumpable", "prctl", nsinit.Int(unix.PR_SET_DUMPABLE), nsinit.Int(1), zero, zero, zero)
	st.writeFile("set the clocks of the time namespace", st.proc, "self/timens_offsets", text, 0)
	st.do("set dumpable", "prctl", nsinit.Int(unix.PR_SET_DUMPABLE), zero, zero, zero, zero)
}

func (b *builder) openProc() nsinit.Arg {
	return nsinit.Ref(b.get("open /proc", "openat", cwd, nsinit.Str("/proc"), nsinit.Int(unix.O_PATH|unix.O_CLOEXEC), zero))
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
		if ns.Flag == unix.CLONE_NEWNET && st.Lease {
			st.do("ask for the container's network", nsinit.CallLend, nsinit.Ref(fd), nsinit.Ref(nsinit.RegLease), nsinit.Bytes(st.Ask), nsinit.Int(len(st.Ask)))
		}
		st.closeReg(fd)
	}
}

// awaitNetwork waits until the network that passNamespaces asked for is there.
func (st *start) awaitNetwork() {
	if st.Lease {
		st.do(WhatNetwork, nsinit.CallHear, nsinit.Ref(nsinit.RegLease), nsinit.Bytes(st.Answer), nsinit.Int(len(st.Answer)), nsinit.Bytes(make([]byte, len(st.Answer)+1)))
	}
}

// joinAll enters existing namespaces, the user's first: it gives the rights
// to enter the others.
func (st *start) joinAll() {
	order := []specs.LinuxNamespaceType{specs.UserNamespace, specs.PIDNamespace, specs.NetworkNamespace,
		specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace, specs.TimeNamespace, specs.MountNamespace}
	fds := map[specs.LinuxNamespaceType]nsinit.Reg{}
	if st.ns.userNS {
		st.do("enter the user namespace", "setns", nsinit.Ref(nsinit.RegUserNS), nsinit.Flags(unix.CLONE_NEWUSER))
	} else if st.HolderNS {
		st.do("enter the user namespace of the networks", "setns", nsinit.Ref(nsinit.RegHolderNS), nsinit.Flags(unix.CLONE_NEWUSER))
	}
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
			if t == specs.UserNamespace && st.bundle != nil {
				st.becomeRoot()
			}
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
		b.writeFile("join cgroup "+dir, cwd, dir+"/cgroup.procs", "0", 0)
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
	b.writeFile("deny setgroups", proc, "self/setgroups", "deny", 0)
	b.writeFile("map user ids", proc, "self/uid_map", idMap(uids), 0)
	b.writeFile("map group ids", proc, "self/gid_map", idMap(gids), 0)
	dumpable(0)
}

func idMap(maps []specs.LinuxIDMapping) string {
	s := ""
	for _, m := range maps {
		s += fmt.Sprintf("%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	return s
}

// unnamed lets a container of an account's go without a name of its own where the
// seccomp filter of a container around berth forbids the call: the namespace is
// its own, so nothing else can.
func (st *start) unnamed() {
	if st.bundle == nil && st.ns.rootless() {
		st.allow(0, unix.EPERM)
	}
}

// kernelSettings are those of the new namespaces.
func (st *start) kernelSettings() {
	s := st.Spec
	if st.ns.own(unix.CLONE_NEWUTS) || st.ns.join[specs.UTSNamespace] != "" {
		if s.Hostname != "" {
			st.do("set the host name", "sethostname", nsinit.Str(s.Hostname), nsinit.Int(len(s.Hostname)))
			st.unnamed()
		}
		if s.Domainname != "" {
			st.do("set the domain name", "setdomainname", nsinit.Str(s.Domainname), nsinit.Int(len(s.Domainname)))
			st.unnamed()
		}
	}
	if st.ns.own(unix.CLONE_NEWNET) {
		st.loopbackUp()
		st.awaitNetwork()
	}
	keys := make([]string, 0, len(s.Linux.Sysctl))
	for k := range s.Linux.Sysctl {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		st.writeFile("set sysctl "+k+" (does this kernel have it?)", cwd, sysctlPath(k), s.Linux.Sysctl[k], followNone)
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

// terminal gives the leader of a session a terminal.
func (b *builder) terminal(ptmx string, p *specs.Process, console bool) {
	b.terminalOf(ptmx, p, console)
	b.takeTerminal()
}

// takeTerminal makes the standard input the controlling terminal.
func (b *builder) takeTerminal() {
	b.do("take the terminal", "ioctl", zero, nsinit.Int(unix.TIOCSCTTY), zero)
}

// terminalOf opens a pseudo-terminal of the container's own devpts, passes the
// master to our maker and makes the other end the standard streams.
// TIOCGPTPEER opens it without a path that somebody could redirect.
func (b *builder) terminalOf(ptmx string, p *specs.Process, console bool) {
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
	if console {
		m := b.get(what, "open_tree", nsinit.Ref(slave), none, nsinit.Flags(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH))
		b.attach(m, "/dev/console", false, followNone)
		b.closeReg(m)
	}
}
