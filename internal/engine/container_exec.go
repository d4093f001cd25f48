package engine

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"berth/internal/roster"
	crt "berth/internal/runtime"
	"berth/internal/shim"
	"berth/internal/spec"
)

// ContainerExec runs one more program in a running container. The session is
// nil when opt.Detach.
func (e *Engine) ContainerExec(ctx context.Context, ref string, opt ExecOptions) (string, Session, error) {
	id, err := e.find(ref)
	if err != nil {
		return "", nil, err
	}
	r, st, err := e.load(id)
	if err != nil {
		return "", nil, err
	}
	if st.Phase != shim.Running {
		return "", nil, notRunning(id)
	}
	req, err := e.execRequest(r, opt)
	if err != nil {
		return "", nil, err
	}
	c, err := e.dial(id)
	if err != nil {
		return "", nil, err
	}
	if _, err := c.Ask(ctx, req); err != nil {
		c.Close()
		if err == shim.ErrGone {
			err = notRunning(id)
		}
		return "", nil, startError(err, opt.Cmd)
	}
	execID := roster.NewID()
	if opt.Detach {
		c.Close()
		return execID, nil, nil
	}
	return execID, &session{conn: c, stdin: opt.Stdin}, nil
}

// execRequest compiles the program. It has the container's protection, unless
// it is to be privileged.
func (e *Engine) execRequest(r *record, opt ExecOptions) (*shim.Request, error) {
	b, err := e.bundle(r.ID)
	if err != nil {
		return nil, fmt.Errorf("cannot tell how container %s was started: %w", r.Name, err)
	}
	view, err := e.containerView(r)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	in := spec.Input{ID: r.ID, Name: r.Name, Config: r.Config, HostConfig: e.settledHost(r), Host: e.specHost(), Users: view}
	p, err := spec.BuildProcess(in, spec.ExecRequest{
		Args: opt.Cmd, Env: opt.Env, User: opt.User, Cwd: opt.WorkingDir, Tty: opt.Tty,
		Privileged: opt.Privileged, ConsoleSize: opt.ConsoleSize,
	})
	if err != nil {
		return nil, &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	filters := [][]byte(nil)
	if !opt.Privileged {
		if filters, err = e.filters(r, p, in.Host); err != nil {
			return nil, err
		}
	}
	var dirs []string
	if b.Group != nil {
		dirs = b.Group.Dirs
	}
	ns := b.Namespaces
	prog, err := crt.CompileExec(crt.ExecConfig{
		Process: p, Rootless: ns&unix.CLONE_NEWUSER != 0, Namespaces: ns, Cgroups: dirs, Filters: filters, Stdin: opt.Stdin,
	})
	if err != nil {
		return nil, err
	}
	return &shim.Request{Kind: "exec", Program: prog, Tty: opt.Tty, Stdin: opt.Stdin, Detach: opt.Detach}, nil
}

// ContainerAttach connects to a running container's first process.
func (e *Engine) ContainerAttach(ctx context.Context, ref string, opt AttachOptions) (Session, error) {
	id, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	st, err := e.status(id)
	if err != nil {
		return nil, err
	}
	if st.Phase != shim.Running {
		return nil, &Error{Kind: ErrNotRunning, Text: "You cannot attach to a stopped container, start it first"}
	}
	c, err := e.dial(id)
	if err != nil {
		return nil, err
	}
	if _, err := c.Ask(ctx, &shim.Request{Kind: "attach", Stdin: opt.Stdin, Replay: opt.Logs}); err != nil {
		c.Close()
		return nil, err
	}
	return &session{conn: c, dir: e.containerDir(id), stdin: opt.Stdin}, nil
}
