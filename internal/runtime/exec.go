package runtime

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// ExecConfig is what one more process in a running container is compiled from.
type ExecConfig struct {
	Process  *specs.Process
	Rootless bool
	// Namespaces are those that differ from the shim's, as CLONE_NEW*
	// flags. The shim presets their registers.
	Namespaces uint64
	Cgroups    []string
	Filters    [][]byte
	Stdin      bool // its standard input is a pipe, not the null device
}

// ExecNamespaces returns the namespaces that processes of a container do not
// share with the host, and that an exec therefore joins.
func ExecNamespaces(s *specs.Spec) uint64 {
	n := namespacesOf(s)
	flags := n.fresh
	for t := range n.join {
		flags |= cloneFlag(t)
	}
	return flags
}

// CompileExec turns a process into a program that runs it beside the
// container's first process.
//
// The namespaces are entered one by one. The process is made by a second clone
// inside the pid namespace; another user's id map is written before that, while
// nothing in the container can see us.
func CompileExec(c ExecConfig) (*nsinit.Program, error) {
	b := newBuilder()
	b.joinCgroups(c.Cgroups)
	proc := nsinit.Ref(b.get("open /proc", "openat", cwd, nsinit.Str("/proc"), nsinit.Int(unix.O_PATH|unix.O_CLOEXEC), zero))
	b.enterContainer(c.Namespaces)
	uid, gid := int(c.Process.User.UID), int(c.Process.User.GID)
	if c.Rootless && (uid != 0 || gid != 0) {
		b.nestUser(proc, uid, gid)
	}
	b.do("make a process", nsinit.CallClone, zero)
	b.do("start a session", "setsid")
	if c.Process.Terminal {
		b.terminal("/dev/pts/ptmx", c.Process, false)
	} else {
		b.stdio()
	}
	b.adjust(c.Process, c.Stdin)
	b.process(c.Process, c.Rootless, false, c.Filters)
	return &nsinit.Program{Ops: b.ops}, b.err
}

func (b *builder) enterContainer(flags uint64) {
	for _, ns := range []struct {
		flag uint64
		reg  nsinit.Reg
		name string
	}{
		{unix.CLONE_NEWUSER, nsinit.RegUserNS, "user"},
		{unix.CLONE_NEWPID, nsinit.RegPidNS, "pid"},
		{unix.CLONE_NEWNET, nsinit.RegNetNS, "network"},
		{unix.CLONE_NEWIPC, nsinit.RegIPCNS, "ipc"},
		{unix.CLONE_NEWUTS, nsinit.RegUTSNS, "uts"},
		{unix.CLONE_NEWCGROUP, nsinit.RegCgroupNS, "cgroup"},
		{unix.CLONE_NEWNS, nsinit.RegMountNS, "mount"},
	} {
		if flags&ns.flag != 0 {
			b.do("join the "+ns.name+" namespace of the container", "setns", nsinit.Ref(ns.reg), nsinit.Flags(ns.flag))
		}
	}
}
