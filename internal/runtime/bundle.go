package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// Bundle is any valid OCI specification, and what else decides how its process
// starts.
type Bundle struct {
	Spec        *specs.Spec
	Path        string   // absolute: a relative root.path is below it
	Cgroups     []string // folders to join
	Filters     [][]byte // compiled seccomp programs, in this order
	FilterFlags uint64   // SECCOMP_FILTER_FLAG_* of the specification
	Listener    bool     // the last filter notifies; its descriptor is handed over
	Wait        bool     // stand still before the user's program until Start
	Hooks       bool     // pause at StageRuntime and StageStart
	PreserveFDs int      // descriptors from 3 on that the program keeps
	NoPivot     bool     // the root cannot be pivoted (a ramfs): move and chroot
	// NoNewKeyring leaves the process the session keyring of its maker.
	NoNewKeyring bool
	// UIDGIDMapsByParent pauses at StageMap for the maps; else the process
	// writes them itself, which works for a single id only.
	UIDGIDMapsByParent bool
	Trampoline         bool // see [CanJump]
}

// Stage is a point at which a starting process waits for its maker.
type Stage int

const (
	// StageMap: the user namespace is there and has no maps yet.
	StageMap Stage = iota + 1
	// StageRuntime: namespaces and mounts are there, the root file system is
	// not entered: for the hooks prestart, createRuntime and createContainer.
	StageRuntime
	// StageStart: Start was called: for the startContainer hooks.
	StageStart
)

// Compiled is what a Bundle or a BundleExec has become.
type Compiled struct {
	Program    *nsinit.Program
	Namespaces uint64 // those of its own, or joined, as CLONE_NEW* flags
	// Rest is what the operations after the wait are for, which [Start]
	// needs to say what went wrong.
	Rest []string

	wait, console, listener bool
	pid                     int // whose namespaces an exec joins
	outer                   []outerMount
}

// CompileBundle turns a bundle into a program for its first process. Unlike
// [Compile] it looks at the host, to see what the specification's paths are.
func CompileBundle(b Bundle) (*Compiled, error) {
	s := b.Spec
	switch {
	case s.Process == nil || len(s.Process.Args) == 0:
		return nil, errors.New("config.json names no process to run: set process.args")
	case s.Root == nil || s.Root.Path == "":
		return nil, errors.New("config.json names no root file system: set root.path")
	case s.Linux == nil || ExecNamespaces(s)&unix.CLONE_NEWNS == 0:
		return nil, errors.New("the container has no mount namespace, so that its mounts would be the host's: add one to linux.namespaces")
	}
	st := &start{builder: newBuilder(), ns: namespacesOf(s), bundle: &b, Config: Config{
		Spec: s, Root: Rootfs{Base: b.Path, Target: s.Root.Path}, Cgroups: b.Cgroups, Filters: b.Filters,
		IsDir: isDir, Node: func(d specs.LinuxDevice) string { return d.Path },
	}}
	c := &Compiled{
		Namespaces: ExecNamespaces(s), wait: b.Wait, console: s.Process.Terminal, listener: b.Listener,
		Program: &nsinit.Program{},
	}
	st.do("set the file mode mask", "umask", zero)
	c.Program.Flags = st.enter()
	st.do("start a session", "setsid")
	st.keyring()
	st.sources()
	st.rootfs()
	if s.Process.Terminal {
		st.terminal("/dev/pts/ptmx", s.Process, true)
	}
	st.late()
	st.personality()
	st.memoryPolicy()
	l := st.launch()
	l.seen = l.seen || !st.confined()
	l.oci, l.flags, l.listener, l.keep = true, b.FilterFlags, b.Listener, b.PreserveFDs
	l.jump = b.Trampoline
	l.before = func() {
		if b.Wait {
			st.do("wait to be started", nsinit.CallWait)
			c.Rest = []string{}
		}
		if b.Hooks {
			st.pause(StageStart)
		}
	}
	st.process(l)
	return c.finish(st.builder, st.outer)
}

// finish completes a program.
func (c *Compiled) finish(b *builder, outer []outerMount) (*Compiled, error) {
	c.Program.Ops, c.outer = b.ops, outer
	for i, op := range b.ops {
		if op.Call == nsinit.CallWait {
			for _, op := range b.ops[i+1:] {
				c.Rest = append(c.Rest, op.What)
			}
		}
	}
	return c, b.err
}

func isDir(p string) bool {
	fi, err := os.Stat(p)
	return err == nil && fi.IsDir()
}

// pause has the process's maker do something. In a user namespace, where the
// maker may be an ordinary account, the process is dumpable meanwhile, or its
// part of /proc belonged to root; nothing foreign can see it, unless its pid
// namespace is another's.
func (st *start) pause(s Stage) {
	dumpable := func(n int) {
		if st.ns.rootless() && st.ns.join[specs.PIDNamespace] == "" {
			st.do("set dumpable", "prctl", nsinit.Int(unix.PR_SET_DUMPABLE), nsinit.Int(n), zero, zero, zero)
		}
	}
	dumpable(1)
	st.do([]string{"", "map ids", "run the runtime's hooks", "run the start hooks"}[s], nsinit.CallPause, nsinit.Int(int(s)))
	dumpable(0)
}

// keyring gives the process a session keyring of its own. EPERM: a filter
// around us forbids keyrings at all.
func (st *start) keyring() {
	if st.bundle != nil && st.bundle.NoNewKeyring {
		return
	}
	st.do("make a session keyring", "keyctl", nsinit.Int(unix.KEYCTL_JOIN_SESSION_KEYRING), zero)
	st.allow(0, unix.ENOSYS, unix.EPERM)
}

// BundleExec is one more process in a container.
type BundleExec struct {
	Pid          int // of its first process
	Spec         *specs.Spec
	Process      *specs.Process
	Namespaces   uint64 // Compiled.Namespaces of the container
	Cgroups      []string
	Filters      [][]byte
	FilterFlags  uint64
	Listener     bool
	PreserveFDs  int
	NoNewKeyring bool
	Trampoline   bool // see [CanJump]
}

// maxKept is how many descriptors can lie below the status socket, whose
// number a trampoline gets as one byte.
const maxKept = 250

// CanJump reports whether a process can execute its program by way of a
// trampoline, so that a container which looks for the file of our process, or
// has its program interpreted by /proc/self/exe, does not find it. A security
// label would go to the trampoline, which it may not fit.
func CanJump(p *specs.Process, keep int) bool {
	return p.ApparmorProfile == "" && p.SelinuxLabel == "" && keep <= maxKept && nsinit.TrampolinePossible()
}

// CompileBundleExec turns one more process into a program.
func CompileBundleExec(e BundleExec) (*Compiled, error) {
	if e.Process == nil || len(e.Process.Args) == 0 {
		return nil, errors.New("no program to run: set args of the process")
	}
	c := &Compiled{Program: &nsinit.Program{}, Namespaces: e.Namespaces, pid: e.Pid, console: e.Process.Terminal, listener: e.Listener}
	if same, err := sameUserNS(e.Pid); err != nil {
		return nil, err
	} else if same {
		c.Namespaces &^= unix.CLONE_NEWUSER
	}
	x := &joining{builder: newBuilder(), rootless: c.Namespaces&unix.CLONE_NEWUSER != 0, terminal: e.Process.Terminal}
	x.openProc()
	x.joinCgroups(e.Cgroups)
	x.raise(e.Process)
	if c.Namespaces != 0 {
		x.do("join the container's namespaces", "setns", nsinit.Ref(nsinit.RegPidfd), nsinit.Flags(c.Namespaces))
	}
	if x.rootless {
		x.becomeRoot()
	}
	if !e.NoNewKeyring {
		(&start{builder: x.builder}).keyring()
	}
	if e.Process.Terminal {
		x.terminalOf("/dev/pts/ptmx", e.Process, false)
	}
	x.process(launch{
		Process: e.Process, proc: x.proc, denied: x.rootless || nested(), oci: true, filters: e.Filters, flags: e.FilterFlags,
		listener: e.Listener, keep: e.PreserveFDs, clone: x.clone, exec: true, jump: e.Trampoline,
		seen: !x.rootless || c.Namespaces&unix.CLONE_NEWPID == 0,
	})
	return c.finish(x.builder, nil)
}

// sameUserNS reports whether a process shares our user namespace, which cannot
// be joined then.
func sameUserNS(pid int) (bool, error) {
	ours, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return false, err
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return false, fmt.Errorf("cannot find the namespaces of process %d: %w", pid, err)
	}
	return ours == theirs, nil
}

// rootPath is where the root file system is on the host.
func (b *Bundle) rootPath() string {
	if filepath.IsAbs(b.Spec.Root.Path) {
		return filepath.Clean(b.Spec.Root.Path)
	}
	return filepath.Join(b.Path, b.Spec.Root.Path)
}
