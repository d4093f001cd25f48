package runtime

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// ExecConfig is what one more process in a running container is compiled from.
type ExecConfig struct {
	Process *specs.Process
	// UserNS, InnerNS and KeepGroups are as in Config. Without UserNS a user
	// namespace among the Namespaces has one id.
	UserNS, InnerNS, KeepGroups bool
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

// joining is the compiling of one more process.
type joining struct {
	*builder
	proc               nsinit.Arg
	rootless, terminal bool
}

// CompileExec turns a process into a program that runs it beside the
// container's first process.
//
// The namespaces are entered one by one, and all is prepared while nothing in
// the container can see us. The process that it can see is made by a second
// clone inside the pid namespace.
func CompileExec(c ExecConfig) (*nsinit.Program, error) {
	x := &joining{builder: newBuilder(), terminal: c.Process.Terminal}
	single := c.Namespaces&unix.CLONE_NEWUSER != 0 && !c.UserNS
	x.openProc()
	x.joinCgroups(c.Cgroups)
	x.enterContainer(c.Namespaces)
	uid, gid := int(c.Process.User.UID), int(c.Process.User.GID)
	if single && (uid != 0 || gid != 0) {
		x.nestUser(x.proc, uid, gid)
	}
	(&start{builder: x.builder}).keyring()
	if c.Process.Terminal {
		x.terminalOf("/dev/pts/ptmx", c.Process, false)
	} else {
		x.stdio()
	}
	if c.InnerNS {
		x.enterInner()
	}
	x.owners(c.Process, c.Stdin)
	x.process(launch{
		Process: c.Process, proc: x.proc, single: single, filters: c.Filters, tied: true, clone: x.clone, exec: true,
		ranges: c.UserNS, inner: c.InnerNS, keepGroups: c.KeepGroups,
	})
	return &nsinit.Program{Ops: x.ops}, x.err
}

func (x *joining) openProc() { x.proc = x.builder.openProc() }

// clone makes the process, which leads a session of its own.
func (x *joining) clone() {
	x.do("make a process (does the seccomp profile allow clone?)", nsinit.CallClone, zero)
	x.do("start a session", "setsid")
	if x.terminal {
		x.takeTerminal()
	}
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
