package engine

import (
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/internal/cgroup"
	"berth/internal/foreign"
	"berth/internal/nsinit"
	crt "berth/internal/runtime"
	"berth/internal/spec"
)

// otherRuntime returns the program that --runtime asks for, or nothing for our
// own.
func (e *Engine) otherRuntime(name string) (path string, args []string, err error) {
	if foreign.Ordinary(name) {
		return "", nil, nil
	}
	named := map[string]foreign.Named{}
	for n, r := range e.config.Runtimes {
		named[n] = foreign.Named{Path: r.Path, Args: r.Args}
	}
	path, args, err = foreign.Find(name, named)
	if err != nil {
		err = &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	return path, args, err
}

// otherPlan prepares a container for another runtime: the specification as that
// wants to find it in its bundle, and the programs that lead there.
func (e *Engine) otherPlan(r *record, in *specInput, b *bundle) error {
	path, args, err := e.otherRuntime(r.HostConfig.Runtime)
	if err != nil {
		return err
	}
	if b.IDs.Nested() {
		return &Error{Kind: ErrNotSupported, Text: "--userns keep-id is not possible with --runtime " + r.HostConfig.Runtime + ": choose --userns single, or another runtime"}
	}
	o := &foreign.Runtime{
		Path: path, Args: args, ID: r.ID, Env: foreign.Environment(os.LookupEnv),
		Bundle: e.containerDir(r.ID, otherDir), State: e.dir.Path("run"),
	}
	s := b.spec
	if b.Group != nil && len(b.Group.Dirs) > 0 {
		facts, err := cgroup.Detect()
		if err != nil {
			return err
		}
		s.Linux.CgroupsPath = facts.Below(b.Group.Dirs[0])
	}
	user := spec.ForOther(s, in.Host)
	root, err := e.rootfs(r)
	if err != nil {
		return err
	}
	if o.Enclose, err = crt.CompileEnclosure(root, user, b.IDs.Some()); err != nil {
		return err
	}
	b.Other, b.Namespaces = o, crt.EnclosureNamespaces(user != nil)
	if o.Visit, err = crt.CompileVisit(b.Namespaces); err != nil {
		return err
	}
	if s.Linux.Seccomp, err = spec.SeccompSection(r.HostConfig, s.Process, in.Host); err != nil {
		return &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	if err := os.MkdirAll(o.State, 0o700); err != nil {
		return err
	}
	return o.WriteConfig(s)
}

// otherExec is a program that has another runtime run one more process.
func otherExec(b *bundle, p *specs.Process) (*nsinit.Program, error) {
	return crt.CompileGuest(b.Namespaces, p, b.Other.ExecCommand(spec.ExecOptions(p), p.Args), b.Other.Env)
}
