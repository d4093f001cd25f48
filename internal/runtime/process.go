package runtime

import (
	"encoding/binary"
	"fmt"
	"path"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
	"berth/internal/sys"
)

// launch is how a program ends: limits, identity, capabilities, filters,
// execve.
type launch struct {
	*specs.Process
	proc   nsinit.Arg // the host's /proc
	single bool       // one id is mapped: the process can become nobody else
	denied bool       // groups may be closed to it (user_namespaces(7))
	ranges bool       // it is in a user namespace with many ids, as its root
	inner  bool       // and in one inside of that, as whoever
	// keepGroups leaves it the groups of its maker, which may be what a
	// folder of the host is open to.
	keepGroups bool
	oci        bool // the streams are its caller's, and messages are runc's
	exec       bool // in a container that runs
	seen       bool // by processes of others, whose pid namespace it is in
	init       bool // a small init is its parent
	tied       bool // it ends with its maker
	keep       int  // descriptors from 3 on that it keeps
	filters    [][]byte
	flags      uint64 // of the last filter
	listener   bool   // the last filter's descriptor is handed over
	jump       bool   // a trampoline executes the program
	clone      func() // makes the process that is to be seen in the container
	before     func() // comes right before execve
}

// launch is for the first process of a container.
func (st *start) launch() launch {
	return launch{
		Process: st.Spec.Process, proc: st.proc, filters: st.Filters,
		denied: st.confined() && !st.UserNS, seen: st.ns.join[specs.PIDNamespace] != "",
	}
}

// process appends the end of a program. Rights go in an order in which each
// step still has those it needs. In a running container the process that can
// be seen there is made last, when it has no right left that it will not end
// with: a program with CAP_SYS_PTRACE could take it over.
//
// What leaves the bounding set is gone for good; nsinit.Spawn has emptied the
// inheritable set.
func (b *builder) process(l launch) {
	b.try("prctl", nsinit.Int(unix.PR_CAP_AMBIENT), nsinit.Int(unix.PR_CAP_AMBIENT_CLEAR_ALL), zero, zero, zero)
	b.dropBounding(l.Capabilities)
	b.itself(l)
	b.scheduling(l)
	if l.oci {
		fds := []int{0} // of a terminal, all three are one
		if !l.Terminal {
			fds = streams(l.User.UID)
		}
		for _, fd := range fds {
			b.try("fchown", nsinit.Int(fd), nsinit.Int(int(l.User.UID)), nsinit.Int(-1))
		}
	}
	if !l.single {
		b.groups(l)
	}
	b.do("set the file mode mask", "umask", nsinit.Int(umaskOf(l.Process)))
	b.do("close descriptors", nsinit.CallClose, nsinit.Int(l.keep))
	b.rlimits(l.Process, l.clone != nil)
	// As root, who may enter folders that the user may not; a root without
	// that power (on NFS) tries again as the user.
	b.chdir(l.Cwd)
	b.do("stay in the working directory "+l.Cwd+" (it must be inside the container)", nsinit.CallInside, nsinit.Bytes(make([]byte, unix.PathMax)))
	if !l.NoNewPrivileges {
		b.seccomp(l)
	}
	b.identity(l)
	if l.oci {
		b.lookUp(l.Process)
	}
	if l.init {
		b.deathSignal()
		b.do("name the init", "prctl", nsinit.Int(unix.PR_SET_NAME), nsinit.Str("berth-init"), zero, zero, zero)
		b.do("start an init", nsinit.CallInit)
	}
	if l.clone != nil {
		l.clone()
		b.processLimit(l.Process)
	}
	if l.tied {
		b.deathSignal()
	}
	if l.NoNewPrivileges {
		b.do("set no_new_privs", "prctl", nsinit.Int(unix.PR_SET_NO_NEW_PRIVS), nsinit.Int(1), zero, zero, zero)
		b.seccomp(l)
	}
	if l.before != nil {
		l.before()
	}
	b.run(l)
}

// identity makes the process its user, with no more capabilities than it is to
// have.
func (b *builder) identity(l launch) {
	uid := int(l.User.UID)
	c := l.Capabilities
	if c == nil {
		c = &specs.LinuxCapabilities{}
	}
	all := func(int) bool { return true }
	have := all
	if !l.single && !l.denied && !l.ranges {
		have = permitted
	}
	inheritable, ambient := capabilityBits(c.Inheritable, have), capabilityBits(c.Ambient, have)
	keep := inheritable != [2]uint32{} || ambient != [2]uint32{}
	if keep && uid != 0 {
		b.do("keep capabilities", "prctl", nsinit.Int(unix.PR_SET_KEEPCAPS), nsinit.Int(1), zero, zero, zero)
	}
	if !l.single && (uid != 0 || l.denied || l.inner) {
		b.do("become user "+strconv.Itoa(uid), "setresuid", nsinit.Int(uid), nsinit.Int(uid), nsinit.Int(uid))
		b.chdir(l.Cwd)
	}
	if keep || uid == 0 || l.single || l.inner {
		b.capabilities(capabilityBits(c.Effective, have), capabilityBits(c.Permitted, have), inheritable)
	}
	for n := range sys.Capabilities() {
		if ambient[n/32]&(1<<(n%32)) != 0 {
			b.do("give an ambient capability", "prctl", nsinit.Int(unix.PR_CAP_AMBIENT), nsinit.Int(unix.PR_CAP_AMBIENT_RAISE), nsinit.Int(n), zero, zero)
			b.allow(0, unix.EPERM, unix.EINVAL)
		}
	}
}

// capabilities sets the three sets of capset(2). EPERM: some of them are not
// ours to give; those that remain are below the bounding set.
func (b *builder) capabilities(effective, permitted, inheritable [2]uint32) {
	var data [2]unix.CapUserData
	for i := range data {
		data[i] = unix.CapUserData{Effective: effective[i] & permitted[i], Permitted: permitted[i], Inheritable: inheritable[i]}
	}
	b.do("set capabilities", "capset", structBytes(unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}), structBytes(data))
	b.allow(0, unix.EPERM)
}

func umaskOf(p *specs.Process) int {
	if p.User.Umask != nil {
		return int(*p.User.Umask)
	}
	return 0o022
}

// deathSignal ends the process when the shim dies: nothing runs unattended.
// The kernel clears it when credentials change, so it comes last.
func (b *builder) deathSignal() {
	b.do("tie the process to its shim", "prctl", nsinit.Int(unix.PR_SET_PDEATHSIG), nsinit.Int(int(unix.SIGKILL)), zero, zero, zero)
	b.do("find the shim alive", nsinit.CallAlive)
}

// nestUser lets the process see itself as another user although only one id is
// mapped: a nested user namespace in which uid is the outer root. Files stay
// the caller's.
func (b *builder) nestUser(proc nsinit.Arg, uid, gid int) {
	b.do("make a user namespace for user "+strconv.Itoa(uid), "unshare", nsinit.Flags(unix.CLONE_NEWUSER))
	one := func(id int) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: uint32(id), HostID: 0, Size: 1}}
	}
	b.mapIDs(proc, one(uid), one(gid))
}

// enterInner goes into the user namespace inside of the container's.
func (b *builder) enterInner() {
	b.do("enter the user namespace of its programs", "setns", nsinit.Ref(nsinit.RegInnerNS), nsinit.Flags(unix.CLONE_NEWUSER))
}

func (b *builder) dropBounding(caps *specs.LinuxCapabilities) {
	keep := map[string]bool{}
	if caps != nil {
		for _, c := range caps.Bounding {
			keep[c] = true
		}
	}
	for n, name := range sys.Capabilities() {
		if !keep[name] {
			// EINVAL: this kernel does not know the capability.
			b.do("drop "+name, "prctl", nsinit.Int(unix.PR_CAPBSET_DROP), nsinit.Int(n), zero, zero, zero)
			b.allow(0, unix.EINVAL)
		}
	}
}

// groups sets the group and the supplementary groups. Setting none matters:
// the caller's own would stay otherwise (CVE-2022-36109).
func (b *builder) groups(l launch) {
	gid, extra := int(l.User.GID), l.User.AdditionalGids
	list := make([]byte, 0, 4*len(extra))
	for _, g := range extra {
		list = binary.NativeEndian.AppendUint32(list, g)
	}
	if !l.keepGroups {
		b.do("set supplementary groups", "setgroups", nsinit.Int(len(extra)), nsinit.Bytes(list))
		if l.denied {
			b.allow(0, unix.EPERM)
		}
	}
	b.do("become group "+strconv.Itoa(gid), "setresgid", nsinit.Int(gid), nsinit.Int(gid), nsinit.Int(gid))
}

// rlimits come when no descriptor is opened any more: a small limit of open
// files is for the program. The limit of processes would count the one that
// makes the program's; for it the way is only made free.
func (b *builder) rlimits(p *specs.Process, clone bool) {
	for _, l := range p.Rlimits {
		n, ok := rlimit(l.Type)
		if !ok {
			b.fail("unknown limit %s", l.Type)
			return
		}
		if n == unix.RLIMIT_NPROC && clone {
			v := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
			b.try("prlimit64", zero, nsinit.Int(n), structBytes(v), zero)
			continue
		}
		b.setLimit(l, n)
	}
}

func (b *builder) processLimit(p *specs.Process) {
	for _, l := range p.Rlimits {
		if l.Type == "RLIMIT_NPROC" {
			b.setLimit(l, unix.RLIMIT_NPROC)
		}
	}
}

func (b *builder) setLimit(l specs.POSIXRlimit, n int) {
	v := unix.Rlimit{Cur: l.Soft, Max: l.Hard}
	b.do("set ulimit "+strings.ToLower(strings.TrimPrefix(l.Type, "RLIMIT_"))+" (it may not exceed the caller's own)",
		"prlimit64", zero, nsinit.Int(n), structBytes(v), zero)
}

// itself sets what a process sets of itself in /proc. That is the host's: what
// a container has in its place cannot redirect it (CVE-2025-52881). In a user
// namespace the process must be dumpable for it to be its own; what is
// in the container cannot see it here.
func (b *builder) itself(l launch) {
	dumpable := func(n int) {
		if (l.oci || !l.exec) && !l.seen {
			b.do("set dumpable", "prctl", nsinit.Int(unix.PR_SET_DUMPABLE), nsinit.Int(n), zero, zero, zero)
		}
	}
	if l.OOMScoreAdj == nil && l.ApparmorProfile == "" && l.SelinuxLabel == "" {
		return
	}
	dumpable(1)
	b.labels(l)
	if l.OOMScoreAdj != nil {
		// EACCES: an ordinary account may not lower its score.
		fd := b.get("", "openat", l.proc, nsinit.Str("self/oom_score_adj"), nsinit.Int(unix.O_WRONLY|unix.O_CLOEXEC), zero)
		b.allow(2, unix.EACCES, unix.ENOENT)
		v := strconv.Itoa(*l.OOMScoreAdj)
		b.try("write", nsinit.Ref(fd), nsinit.Bytes([]byte(v)), nsinit.Int(len(v)))
		b.closeReg(fd)
	}
	dumpable(0)
}

// owners gives the standard streams to another user, so that /dev/stdout can
// be opened again. Without a standard input to keep open, descriptor 0 is the
// host's /dev/null, which must keep its owner.
func (b *builder) owners(p *specs.Process, stdin bool) {
	if p.User.UID == 0 {
		return
	}
	for fd := range 3 {
		if fd == 0 && !stdin && !p.Terminal {
			continue
		}
		b.try("fchown", nsinit.Int(fd), nsinit.Int(int(p.User.UID)), nsinit.Int(-1))
	}
}

// seccomp installs the filters. That of a listener is the last.
func (b *builder) seccomp(l launch) {
	for i, f := range l.filters {
		const what = "install the seccomp filter"
		flags := uint64(unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
		if l.oci {
			flags = l.flags
		}
		if !l.listener || i < len(l.filters)-1 {
			b.do(what, "seccomp", nsinit.Int(unix.SECCOMP_SET_MODE_FILTER), nsinit.Flags(flags), nsinit.Filter(f))
			continue
		}
		fd := b.get(what, "seccomp", nsinit.Int(unix.SECCOMP_SET_MODE_FILTER), nsinit.Flags(flags|unix.SECCOMP_FILTER_FLAG_NEW_LISTENER), nsinit.Filter(f))
		b.do("hand over the seccomp filter's listener", nsinit.CallSend, nsinit.Ref(fd))
		b.closeReg(fd)
	}
}

// lookUp checks that there is a program to run, in the words of runc, while its
// caller still listens. EPERM and ENOSYS are a filter's, which forbids to look.
func (b *builder) lookUp(p *specs.Process) {
	name := p.Args[0]
	what := fmt.Sprintf("exec: %q", name)
	first := len(b.ops)
	if strings.Contains(name, "/") {
		r := b.get(what+": stat "+name, "openat", cwd, nsinit.Str(name), nsinit.Int(unix.O_PATH|unix.O_CLOEXEC), zero)
		b.allow(4, unix.EPERM, unix.ENOSYS)
		b.closeReg(r)
		b.do(what, "faccessat", cwd, nsinit.Str(name), nsinit.Int(unix.X_OK), zero)
		b.allow(2, unix.EPERM, unix.ENOSYS)
		b.get(what, "openat", cwd, nsinit.Str(name), nsinit.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC), zero)
		b.allow(1, unix.ENOTDIR, unix.EPERM, unix.ENOSYS)
		b.do(what, nsinit.CallFail, nsinit.Int(int(unix.EISDIR)))
		return
	}
	for _, dir := range searchPath(p.Env) {
		file := nsinit.Str(path.Join(dir, name))
		b.do(what, "faccessat", cwd, file, nsinit.Int(unix.X_OK), zero)
		b.allow(1, lookOn()...)
		// Found, unless it is a folder.
		b.do(what, "openat", cwd, file, nsinit.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC), zero)
		b.allow(0, unix.ENOTDIR, unix.EPERM, unix.ENOSYS)
	}
	b.do(what+": "+notInPath, nsinit.CallFail, nsinit.Int(int(unix.ENOENT)))
	for i := first + 1; i < len(b.ops); i += 2 {
		b.ops[i].Skip = len(b.ops) - 1 - i
	}
}

// lookOn are the errors after which the next folder of PATH is tried.
func lookOn() []unix.Errno {
	return []unix.Errno{unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP, unix.ENAMETOOLONG}
}

func searchPath(env []string) []string {
	dirs := strings.Split(pathOf(env), ":")
	for i := range dirs {
		if dirs[i] == "" {
			dirs[i] = "."
		}
	}
	return dirs
}

// run looks the program up in PATH as execvp(3) does, and runs it.
func (b *builder) run(l launch) {
	name, what := l.Args[0], "run "
	if l.oci {
		what = "exec "
	}
	if strings.Contains(name, "/") {
		b.execute(l, what+name, name)
		return
	}
	for _, dir := range searchPath(l.Env) {
		if l.jump { // it does not come back
			b.do(what+name, "faccessat", cwd, nsinit.Str(path.Join(dir, name)), nsinit.Int(unix.X_OK), zero)
			b.allow(1, lookOn()...)
		}
		b.execute(l, what+name, path.Join(dir, name))
		b.allow(0, lookOn()...)
	}
	if l.oci {
		b.do(fmt.Sprintf("exec: %q: %s", name, notInPath), nsinit.CallFail, nsinit.Int(int(unix.ENOENT)))
		return
	}
	b.do("find "+name, nsinit.CallFail, nsinit.Int(int(unix.ENOENT)))
}

// execute runs the program at path.
func (b *builder) execute(l launch, what, path string) {
	env := nsinit.Vec(l.Env)
	if l.jump {
		if l.keep > maxKept {
			b.fail("cannot preserve %d descriptors for an exec: %d are possible", l.keep, maxKept)
		}
		status := string([]byte{byte(3 + l.keep)})
		b.do(what, nsinit.CallTrampoline, nsinit.Vec(append([]string{status, path}, l.Args...)), env)
		return
	}
	b.do(what, "execve", nsinit.Str(path), nsinit.Vec(l.Args), env)
}

func pathOf(env []string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], "PATH="); ok {
			return v
		}
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}
