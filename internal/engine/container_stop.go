package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"

	"berth/internal/published"
	"berth/internal/shim"
	"berth/internal/spec"
)

// ContainerStop asks the program to end and ends it when it does not in time.
// A container that does not run is stopped already.
func (e *Engine) ContainerStop(ctx context.Context, ref string, opt StopOptions) error {
	id, err := e.find(ref)
	if err != nil {
		return err
	}
	r, st, err := e.load(id)
	if err != nil || !active(st) {
		return err
	}
	if err := e.stop(ctx, r, opt); err != nil {
		return err
	}
	e.noteContainer(r, events.ActionStop)
	return nil
}

// stop is ContainerStop of a container that runs.
func (e *Engine) stop(ctx context.Context, r *record, opt StopOptions) (err error) {
	sig, timeout := stopSignal(r), stopTimeout(r)
	if opt.Signal != "" {
		if sig, err = spec.ParseSignal(opt.Signal); err != nil {
			return &Error{Kind: ErrInvalid, Text: err.Error()}
		}
	}
	if opt.Timeout != nil {
		timeout = *opt.Timeout
	}
	c, err := e.dial(r.ID)
	if err != nil {
		return ignoreStopped(err)
	}
	defer c.Close()
	// Before it ends, which another notes.
	e.noteContainer(r, events.ActionKill, "signal", strconv.Itoa(sig))
	if _, err := c.Ask(ctx, &shim.Request{Kind: "stop", Signal: sig, Timeout: timeout}); err != nil {
		return ignoreStopped(err)
	}
	_, err = waitFor(ctx, c)
	return ignoreStopped(err)
}

// ignoreStopped takes the end of the shim for what it is.
func ignoreStopped(err error) error {
	if errors.Is(err, shim.ErrGone) || errors.Is(err, ErrNotRunning) {
		return nil
	}
	return err
}

// dial connects to a running container's shim.
func (e *Engine) dial(id string) (*shim.Conn, error) {
	c, err := shim.Dial(e.containerDir(id))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, notRunning(id)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach the shim of container %s: %w", shortID(id), err)
	}
	return c, nil
}

func notRunning(id string) error {
	return &Error{Kind: ErrNotRunning, Text: fmt.Sprintf("container %s is not running", id)}
}

// waitFor reads the exit that a stop or wait request will bring.
func waitFor(ctx context.Context, c *shim.Conn) (shim.Exit, error) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	x, err := c.Pump(nil, nil)
	if ctx.Err() != nil {
		return x, ctx.Err()
	}
	return x, err
}

// ContainerRestart stops a container if it runs, and starts it.
func (e *Engine) ContainerRestart(ctx context.Context, ref string, opt StopOptions) error {
	id, err := e.find(ref)
	if err != nil {
		return err
	}
	r, _, err := e.load(id)
	if err != nil {
		return err
	}
	if r.HostConfig.AutoRemove {
		return &Error{Kind: ErrConflict, Text: fmt.Sprintf("cannot restart container %s: it was started with --rm and goes when it stops", r.Name)}
	}
	if err := e.ContainerStop(ctx, id, opt); err != nil {
		return err
	}
	if err := e.untilPhase(ctx, id, shim.Exited, shim.Created); err != nil {
		return err
	}
	if _, err = e.ContainerStart(ctx, id, StartOptions{}); err != nil {
		return err
	}
	e.noteContainer(r, events.ActionRestart)
	return nil
}

// ContainerKill sends a signal, SIGKILL when none is named.
func (e *Engine) ContainerKill(ctx context.Context, ref, signal string) error {
	id, err := e.find(ref)
	if err != nil {
		return err
	}
	sig := int(unix.SIGKILL)
	if signal != "" {
		if sig, err = spec.ParseSignal(signal); err != nil {
			return &Error{Kind: ErrInvalid, Text: err.Error()}
		}
	}
	r, st, err := e.load(id)
	if err != nil {
		return err
	}
	if !active(st) {
		return &Error{Kind: ErrNotRunning, Text: fmt.Sprintf("cannot kill container: %s: container %s is not running", ref, id)}
	}
	c, err := e.dial(id)
	if err != nil {
		return err
	}
	defer c.Close()
	e.noteContainer(r, events.ActionKill, "signal", strconv.Itoa(sig))
	_, err = c.Ask(ctx, &shim.Request{Kind: "signal", Signal: sig})
	if err == nil && sig == int(unix.SIGKILL) {
		// Docker answers when the container is seen to be dead.
		wait, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		err = e.untilPhase(wait, id, shim.Exited)
	}
	return ignoreStopped(err)
}

// ContainerWait waits until the container does not run and returns its exit
// code.
func (e *Engine) ContainerWait(ctx context.Context, ref string) (int, error) {
	id, err := e.find(ref)
	if err != nil {
		return 0, err
	}
	for {
		st, err := e.status(id)
		if err != nil {
			return 0, err
		}
		if !active(st) {
			return st.ExitCode, nil
		}
		c, err := e.dial(id)
		if errors.Is(err, ErrNotRunning) {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			time.Sleep(5 * time.Millisecond) // it is writing its status
			continue
		}
		if err != nil {
			return 0, err
		}
		_, err = c.Ask(ctx, &shim.Request{Kind: "wait"})
		var x shim.Exit
		if err == nil {
			x, err = waitFor(ctx, c)
		}
		c.Close()
		if err == nil {
			return x.Code, nil
		}
		if !errors.Is(err, shim.ErrGone) {
			return 0, err
		}
		if !e.containerExists(id) {
			return 128 + int(unix.SIGKILL), nil
		}
	}
}

// ContainerRename gives a container another name.
func (e *Engine) ContainerRename(ctx context.Context, ref, name string) error {
	if name == "" {
		return &Error{Kind: ErrInvalid, Text: "Neither old nor new names may be empty"}
	}
	name, err := e.roster.Name(name)
	if err != nil {
		return err
	}
	id, err := e.find(ref)
	if err != nil {
		return err
	}
	tx, err := e.lock(id)
	if err != nil {
		return err
	}
	defer tx.Unlock()
	r, st, err := e.load(id)
	if err != nil {
		return err
	}
	old := r.Name
	if old == name {
		return &Error{Kind: ErrInvalid, Text: "Renaming a container with the same name as its current name"}
	}
	if err := e.roster.Claim(r, name); err != nil {
		return err
	}
	if err := e.roster.Write(e.containerDir(id), r); err != nil {
		e.roster.Names().Release(name, id)
		return err
	}
	// It has its new name from here on, whatever becomes of who should hear of it.
	if active(st) && !e.config.Private {
		err = published.Open().Rename(id, name)
	}
	e.renameInShim(ctx, r, st)
	e.renameInNetworks(r, st)
	e.noteContainer(r, events.ActionRename, "oldName", "/"+old)
	return errors.Join(err, e.roster.Names().Release(old, id))
}

// renameInShim has the events that the shim writes bear the new name. A shim
// that does not answer ends with the old one.
func (e *Engine) renameInShim(ctx context.Context, r *record, st shim.Status) {
	if !active(st) {
		return
	}
	if c, err := e.dial(r.ID); err == nil {
		defer c.Close()
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, _ = c.Ask(limited, &shim.Request{Kind: "update", Attributes: eventAttributes(r)})
	}
}
