package runtime

import (
	"encoding/binary"
	"path"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
	"berth/internal/sys"
)

// process ends a program: limits, identity, capabilities, filters, execve.
//
// Capabilities need no capset(2): execve(2) computes them anew from the user
// and the bounding set, since nsinit.Spawn has emptied the inheritable set. What
// leaves the bounding set is gone for good.
func (b *builder) process(p *specs.Process, rootless, withInit bool, filters [][]byte) {
	uid, gid := int(p.User.UID), int(p.User.GID)
	b.try("prctl", nsinit.Int(unix.PR_CAP_AMBIENT), nsinit.Int(unix.PR_CAP_AMBIENT_CLEAR_ALL), zero, zero, zero)
	b.dropBounding(p.Capabilities)
	if !rootless {
		b.groups(gid, p.User.AdditionalGids)
	}
	b.do("set the file mode mask", "umask", nsinit.Int(umaskOf(p)))
	b.do("close descriptors", nsinit.CallClose)
	b.rlimits(p)
	// As root, who may enter folders that the user may not; a root without
	// that power (on NFS) tries again as the user.
	b.chdir(p.Cwd)
	b.allow(0, unix.EACCES)
	if !p.NoNewPrivileges {
		b.seccomp(filters)
	}
	if !rootless && uid != 0 {
		b.do("become user "+strconv.Itoa(uid), "setresuid", nsinit.Int(uid), nsinit.Int(uid), nsinit.Int(uid))
		b.chdir(p.Cwd)
		b.allow(0, unix.EACCES)
	}
	if withInit {
		b.deathSignal()
		b.do("name the init", "prctl", nsinit.Int(unix.PR_SET_NAME), nsinit.Str("berth-init"), zero, zero, zero)
		b.do("start an init", nsinit.CallInit)
	}
	b.deathSignal()
	if p.NoNewPrivileges {
		b.do("set no_new_privs", "prctl", nsinit.Int(unix.PR_SET_NO_NEW_PRIVS), nsinit.Int(1), zero, zero, zero)
		b.seccomp(filters)
	}
	b.exec(p)
}

func umaskOf(p *specs.Process) int {
	if p.User.Umask != nil {
		return int(*p.User.Umask)
	}
	return 0o022
}

func (b *builder) chdir(dir string) {
	if dir == "" {
		dir = "/"
	}
	b.do("enter the working directory "+dir, "chdir", nsinit.Str(dir))
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
func (b *builder) groups(gid int, extra []uint32) {
	list := make([]byte, 0, 4*len(extra))
	for _, g := range extra {
		list = binary.NativeEndian.AppendUint32(list, g)
	}
	b.do("set supplementary groups", "setgroups", nsinit.Int(len(extra)), nsinit.Bytes(list))
	b.do("become group "+strconv.Itoa(gid), "setresgid", nsinit.Int(gid), nsinit.Int(gid), nsinit.Int(gid))
}

// rlimits come when no descriptor is opened any more: a small limit of open
// files is for the program.
func (b *builder) rlimits(p *specs.Process) {
	for _, l := range p.Rlimits {
		n, ok := rlimit(l.Type)
		if !ok {
			b.fail("unknown limit %s", l.Type)
			return
		}
		v := unix.Rlimit{Cur: l.Soft, Max: l.Hard}
		b.do("set ulimit "+strings.ToLower(strings.TrimPrefix(l.Type, "RLIMIT_"))+" (it may not exceed the caller's own)",
			"prlimit64", zero, nsinit.Int(n), structBytes(v), zero)
	}
}

// adjust sets the OOM score and, for other users, the owner of the standard
// streams, so that /dev/stdout can be opened again.
// Without a standard input to keep open, descriptor 0 is the host's /dev/null,
// which must keep its owner.
func (b *builder) adjust(p *specs.Process, stdin bool) {
	if p.OOMScoreAdj != nil {
		const f = "/proc/self/oom_score_adj"
		fd := b.get("", "openat", cwd, nsinit.Str(f), nsinit.Int(unix.O_WRONLY|unix.O_CLOEXEC), zero)
		b.allow(2, unix.EACCES, unix.ENOENT)
		v := strconv.Itoa(*p.OOMScoreAdj)
		b.try("write", nsinit.Ref(fd), nsinit.Bytes([]byte(v)), nsinit.Int(len(v)))
		b.closeReg(fd)
	}
	if p.User.UID != 0 {
		for fd := range 3 {
			if fd == 0 && !stdin && !p.Terminal {
				continue
			}
			b.try("fchown", nsinit.Int(fd), nsinit.Int(int(p.User.UID)), nsinit.Int(-1))
		}
	}
}

func (b *builder) seccomp(filters [][]byte) {
	for _, f := range filters {
		b.do("install the seccomp filter", "seccomp", nsinit.Int(unix.SECCOMP_SET_MODE_FILTER),
			nsinit.Int(unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW), nsinit.Filter(f))
	}
}

// exec looks the program up in PATH as execvp(3) does, and runs it.
func (b *builder) exec(p *specs.Process) {
	argv, env := nsinit.Vec(p.Args), nsinit.Vec(p.Env)
	name := p.Args[0]
	if strings.Contains(name, "/") {
		b.do("run "+name, "execve", nsinit.Str(name), argv, env)
		return
	}
	for _, dir := range strings.Split(pathOf(p.Env), ":") {
		if dir == "" {
			dir = "."
		}
		b.do("run "+name, "execve", nsinit.Str(path.Join(dir, name)), argv, env)
		b.allow(0, unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ELOOP, unix.ENAMETOOLONG)
	}
	b.do("find "+name, nsinit.CallFail, nsinit.Int(int(unix.ENOENT)))
}

func pathOf(env []string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], "PATH="); ok {
			return v
		}
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}
