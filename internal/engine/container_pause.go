package engine

import (
	"context"
	"errors"
	"fmt"

	"berth/internal/cgroup"
	"berth/internal/shim"
)

// lives reports whether a container has processes now, be they paused or not.
func lives(st shim.Status) bool { return st.Phase == shim.Running || st.Phase == shim.Paused }

// ContainerPause stops all processes of a container where they are.
func (e *Engine) ContainerPause(ctx context.Context, ref string) error {
	return e.freeze(ctx, ref, "pause", func(id string, st shim.Status) error {
		switch st.Phase {
		case shim.Running:
			return nil
		case shim.Paused:
			return &Error{Kind: ErrConflict, Text: "Container " + id + " is already paused"}
		case shim.Restarting:
			return restarting(id)
		}
		return &Error{Kind: ErrNotRunning, Text: "Container " + id + " is not running"}
	})
}

// ContainerUnpause lets the processes of a paused container go on.
func (e *Engine) ContainerUnpause(ctx context.Context, ref string) error {
	return e.freeze(ctx, ref, "unpause", func(id string, st shim.Status) error {
		if st.Phase != shim.Paused {
			return &Error{Kind: ErrConflict, Text: "Container " + id + " is not paused"}
		}
		return nil
	})
}

// freeze has the shim pause or unpause a container that check has nothing
// against.
func (e *Engine) freeze(ctx context.Context, ref, what string, check func(id string, st shim.Status) error) error {
	id, err := e.find(ref)
	if err != nil {
		return err
	}
	st, err := e.status(id)
	if err != nil {
		return err
	}
	if err := check(id, st); err != nil {
		return err
	}
	if why := e.noFreezer(id); what == "pause" && why != "" {
		return fmt.Errorf("cannot pause container %s: it has no control group that can be frozen: %s", id, why)
	}
	c, err := e.dial(id)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Ask(ctx, &shim.Request{Kind: what}); err != nil {
		if errors.Is(err, shim.ErrGone) {
			return notRunning(id)
		}
		return fmt.Errorf("cannot %s container %s: %w", what, id, err)
	}
	return nil // the shim tells the journal: it may do this by itself, too
}

// noFreezer says why a running container cannot be paused, if so.
func (e *Engine) noFreezer(id string) string {
	b, err := e.bundle(id)
	if err != nil || b.Other != nil || b.Group != nil && b.Group.Freezable() {
		return "" // the shim will say what is wrong
	}
	facts, err := cgroup.Detect()
	if err != nil {
		return err.Error()
	}
	return facts.NoGroup()
}

func restarting(id string) error {
	return &Error{Kind: ErrConflict, Text: "Container " + id + " is restarting, wait until the container is running"}
}
