package engine

import (
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/internal/seccomp"
	"berth/internal/spec"
)

// filters returns the seccomp programs of a process of this container: the
// profile's, and for an ordinary account the one that lets its single id play
// root.
func (e *Engine) filters(r *record, p *specs.Process, host spec.Host) ([][]byte, error) {
	profile, err := spec.SeccompProfile(r.HostConfig, host)
	if err != nil {
		return nil, &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	var caps []string
	if c := p.Capabilities; c != nil {
		caps = c.Bounding
	}
	var out [][]byte
	if profile != spec.SeccompUnconfined {
		f, err := e.seccompProgram(profile, caps, host.Kernel)
		if err != nil {
			return nil, &Error{Kind: ErrInvalid, Text: err.Error()}
		}
		if len(f) > 0 {
			out = append(out, f)
		}
	}
	if e.host.Rootless && !host.IDs.Some() && !host.NoSeccomp && p.User.UID == 0 {
		out = append(out, seccomp.FakeRoot(runtime.GOARCH))
	}
	return out, nil
}

func (e *Engine) seccompProgram(profile string, caps []string, k spec.Kernel) ([]byte, error) {
	kernel := seccomp.Kernel{Major: k.Major, Minor: k.Minor}
	if profile == spec.SeccompDefault {
		return seccomp.Default(runtime.GOARCH, caps, kernel)
	}
	return seccomp.Cache{Dir: e.dir.Path("seccomp")}.Program(profile, runtime.GOARCH, caps, kernel)
}
