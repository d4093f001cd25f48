package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"berth/internal/cgroup"
	"berth/internal/resources"
	"berth/internal/shim"
	"berth/internal/spec"
	"berth/internal/state"
)

// UpdateOptions is what changes. With StrictLimits nothing does if a limit cannot
// be had, else that is a warning.
type UpdateOptions struct {
	container.UpdateConfig
	StrictLimits bool
}

// ContainerUpdate changes what a container may use and when it is started
// again, at once if it runs. What is zero in u stays as it is. It returns
// warnings about limits that cannot be had.
func (e *Engine) ContainerUpdate(ctx context.Context, ref string, opt UpdateOptions) ([]string, error) {
	u := opt.UpdateConfig
	id, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	tx, err := e.lock(id)
	if err != nil {
		return nil, err
	}
	defer tx.Unlock()
	r, st, err := e.load(id)
	if err != nil {
		return nil, err
	}
	hc := *r.HostConfig
	if err := resources.Update(&hc, u); err != nil {
		return nil, &Error{Kind: ErrConflict, Text: "Cannot update container " + id + ": " + err.Error()}
	}
	if err := spec.Validate(nil, &hc); err != nil {
		return nil, &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	var warnings []string
	if active(st) {
		if warnings, err = e.updateRunning(ctx, tx, r, &hc, opt); err != nil {
			return nil, fmt.Errorf("Cannot update container %s: %w", id, err)
		}
	}
	r.HostConfig = &hc
	if err := e.roster.Write(e.containerDir(id), r); err != nil {
		return warnings, err
	}
	e.noteContainer(r, events.ActionUpdate)
	return warnings, nil
}

// updateRunning writes the limits that change and tells the shim.
func (e *Engine) updateRunning(ctx context.Context, _ *state.Tx, r *record, hc *container.HostConfig, opt UpdateOptions) ([]string, error) {
	b, err := e.bundle(r.ID)
	if err != nil {
		return nil, fmt.Errorf("cannot tell how it was started: %w", err)
	}
	facts, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	if b.Group == nil {
		b.Group = &cgroup.Group{}
	}
	facts.Refuse = opt.StrictLimits || r.StrictLimits || e.config.StrictLimits
	limits, err := resources.Changed(hc, opt.UpdateConfig)
	if err != nil {
		return nil, err
	}
	warnings, err := b.Group.Update(limits, facts)
	if err != nil {
		return nil, err
	}
	// The group may have got more folders, which must go with it.
	if err := writeBundle(e.containerDir(r.ID, bundleFile), b); err != nil {
		return nil, err
	}
	req := &shim.Request{Kind: "update", Cgroup: b.Group}
	if opt.RestartPolicy.Name != "" {
		req.Restart = restartPolicy(hc)
	}
	c, err := e.dial(r.ID)
	if err == nil {
		defer c.Close()
		_, err = c.Ask(ctx, req)
	}
	if errors.Is(err, ErrNotRunning) || errors.Is(err, shim.ErrGone) {
		err = nil // it has just ended; its next start goes by the record
	}
	return warnings, err
}
