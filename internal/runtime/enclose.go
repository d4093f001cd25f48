package runtime

import (
	"fmt"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// CompileEnclosure makes a program that mounts a root file system where only
// the process it becomes, and who joins its namespaces, sees it. It is for
// another runtime, which wants to find the tree at a path. The namespaces are
// passed to the shim in the order of nsinit.Namespaces; user is nil for root. A
// user namespace that is there already is in RegUserNS (given). The caller
// appends the execve.
func CompileEnclosure(root Rootfs, user *specs.Linux, given bool) (*nsinit.Program, error) {
	s := &specs.Spec{Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}}}}
	if user != nil {
		s.Linux.UIDMappings, s.Linux.GIDMappings = user.UIDMappings, user.GIDMappings
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	}
	st := &start{builder: newBuilder(), Config: Config{Spec: s, Root: root}, ns: namespacesOf(s).given(given)}
	p := &nsinit.Program{Flags: st.enter()}
	st.passNamespaces()
	// What the host mounts later is seen here, and nothing the other way.
	st.do("make mounts private", "mount", none, nsinit.Str("/"), none, nsinit.Flags(unix.MS_REC|unix.MS_SLAVE), zero)
	st.mountRoot()
	p.Ops = st.ops
	return p, st.err
}

// CompileVisit makes a program that enters the namespaces of an enclosure,
// whose registers the shim presets. The caller appends the execve.
func CompileVisit(namespaces uint64) (*nsinit.Program, error) {
	b := newBuilder()
	b.enterContainer(namespaces)
	return &nsinit.Program{Ops: b.ops}, b.err
}

// CompileGuest is a whole program: it enters an enclosure and runs a program of
// the host's there, on the standard streams of p or at a terminal of the host's.
func CompileGuest(namespaces uint64, p *specs.Process, argv, env []string) (*nsinit.Program, error) {
	b := newBuilder()
	b.enterContainer(namespaces)
	b.do("start a session", "setsid")
	if p.Terminal {
		ptmx, err := filepath.EvalSymlinks("/dev/ptmx")
		if err != nil {
			return nil, fmt.Errorf("cannot open a terminal: %w", err)
		}
		b.terminalOf(ptmx, p, false)
		b.takeTerminal()
	} else {
		b.stdio()
	}
	b.do("close descriptors", nsinit.CallClose, zero)
	b.deathSignal()
	b.do("run "+argv[0], "execve", nsinit.Str(argv[0]), nsinit.Vec(argv), nsinit.Vec(env))
	return &nsinit.Program{Ops: b.ops}, b.err
}

// EnclosureNamespaces are those an enclosure has, as CLONE_NEW* flags.
func EnclosureNamespaces(user bool) uint64 {
	if user {
		return unix.CLONE_NEWNS | unix.CLONE_NEWUSER
	}
	return unix.CLONE_NEWNS
}
