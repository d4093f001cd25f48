package runtime

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// CompileEnclosure makes a program that mounts a root file system where only
// the process it becomes, and who joins its namespaces, sees it. It is for
// another runtime, which wants to find the tree at a path. The namespaces are
// passed to the shim in the order of nsinit.Namespaces; user is nil for root.
// The caller appends the execve.
func CompileEnclosure(root Rootfs, user *specs.Linux) (*nsinit.Program, error) {
	s := &specs.Spec{Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}}}}
	if user != nil {
		s.Linux.UIDMappings, s.Linux.GIDMappings = user.UIDMappings, user.GIDMappings
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	}
	st := &start{builder: newBuilder(), Config: Config{Spec: s, Root: root}, ns: namespacesOf(s)}
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
