package spec

import (
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ForOther changes a specification to what another runtime shall read. Others
// make the nodes in /dev where ours binds the host's, so they must count there.
// For an ordinary account the runtime is started in a user namespace, as its
// root: the maps of that are returned.
func ForOther(s *specs.Spec, host Host) (user *specs.Linux) {
	for i := range s.Mounts {
		if m := &s.Mounts[i]; m.Destination == "/dev" {
			m.Options = slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "nodev" })
		}
	}
	if !host.Rootless {
		return nil
	}
	user = &specs.Linux{UIDMappings: s.Linux.UIDMappings, GIDMappings: s.Linux.GIDMappings}
	s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
	if host.oneID() {
		s.Process.User.AdditionalGids = nil
	}
	s.Linux.CgroupsPath = ""
	return user
}

// ExecOptions are those of `runc exec`, which other runtimes share, for a
// process.
func ExecOptions(p *specs.Process) []string {
	out := []string{"--cwd", p.Cwd, "--user", fmt.Sprintf("%d:%d", p.User.UID, p.User.GID)}
	if p.Terminal {
		out = append(out, "--tty")
	}
	if p.NoNewPrivileges {
		out = append(out, "--no-new-privs")
	}
	for _, kv := range p.Env {
		out = append(out, "--env", kv)
	}
	if p.Capabilities != nil {
		for _, c := range p.Capabilities.Bounding {
			out = append(out, "--cap", c)
		}
	}
	return out
}
