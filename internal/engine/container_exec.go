package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/events"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/internal/nsinit"
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
	switch st.Phase {
	case shim.Running:
	case shim.Paused:
		return "", nil, &Error{Kind: ErrConflict, Text: "Container " + id + " is paused, unpause the container before exec"}
	case shim.Restarting:
		return "", nil, restarting(id)
	default:
		return "", nil, notRunning(id)
	}
	req, err := e.execRequest(r, opt)
	if err != nil {
		return "", nil, err
	}
	req.ExecID = roster.NewID()
	c, err := e.dial(id)
	if err != nil {
		return "", nil, err
	}
	// Before it runs, as its end is noted by another.
	command := strings.Join(opt.Cmd, " ")
	e.noteContainer(r, events.ActionExecCreate+": "+events.Action(command), "execID", req.ExecID)
	e.noteContainer(r, events.ActionExecStart+": "+events.Action(command), "execID", req.ExecID)
	if _, err := c.Ask(ctx, req); err != nil {
		c.Close()
		if err == shim.ErrGone {
			err = notRunning(id)
		}
		return "", nil, startError(err, opt.Cmd)
	}
	if opt.Detach {
		c.Close()
		return req.ExecID, nil, nil
	}
	return req.ExecID, &session{conn: c, stdin: opt.Stdin}, nil
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
	in := spec.Input{ID: r.ID, Name: r.Name, Config: r.Config, HostConfig: e.settledHost(r), Host: e.specHost(), Users: view, Files: spec.Files{Apt: e.aptFileOf(r)}}
	in.Host.IDs = b.IDs
	prog, err := e.execProgram(r, b, in, opt)
	if err != nil {
		return nil, err
	}
	return &shim.Request{Kind: "exec", Program: prog, Tty: opt.Tty, Stdin: opt.Stdin, Detach: opt.Detach}, nil
}

// execProgram compiles a program that joins a container which was started as b
// tells.
func (e *Engine) execProgram(r *record, b *bundle, in spec.Input, opt ExecOptions) (*nsinit.Program, error) {
	p, err := spec.BuildProcess(in, spec.ExecRequest{
		Args: opt.Cmd, Env: opt.Env, User: opt.User, Cwd: opt.WorkingDir, Tty: opt.Tty,
		Privileged: opt.Privileged, ConsoleSize: opt.ConsoleSize,
	})
	if err != nil {
		return nil, &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	if b.Other != nil {
		return otherExec(b, p)
	}
	// A privileged one has more capabilities, but the filter that the container
	// has, as in Docker.
	confined := *p
	if opt.Privileged {
		caps, err := spec.Capabilities(in.HostConfig, in.Host)
		if err != nil {
			return nil, &Error{Kind: ErrInvalid, Text: err.Error()}
		}
		confined.Capabilities = &specs.LinuxCapabilities{Bounding: caps}
	}
	filters, err := e.filters(r, &confined, in.Host)
	if err != nil {
		return nil, err
	}
	var dirs []string
	if b.Group != nil {
		dirs = b.Group.Dirs
	}
	return crt.CompileExec(crt.ExecConfig{
		Process: p, Namespaces: b.Namespaces, Cgroups: dirs, Filters: filters, Stdin: opt.Stdin,
		UserNS: b.IDs.Some(), InnerNS: b.IDs.Nested(), KeepGroups: in.Host.KeepGroups(p),
	})
}

// ContainerAttach connects to a running container's first process.
func (e *Engine) ContainerAttach(ctx context.Context, ref string, opt AttachOptions) (Session, error) {
	id, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	r, st, err := e.load(id)
	if err != nil {
		return nil, err
	}
	switch st.Phase {
	case shim.Running:
	case shim.Paused:
		return nil, &Error{Kind: ErrConflict, Text: "You cannot attach to a paused container, unpause it first"}
	case shim.Restarting:
		return nil, &Error{Kind: ErrConflict, Text: "You cannot attach to a restarting container, wait until it is running"}
	default:
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
	e.noteContainer(r, events.ActionAttach)
	return &session{conn: c, dir: e.containerDir(id), stdin: opt.Stdin}, nil
}
