package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"

	"berth/internal/cgroup"
	"berth/internal/shim"
	"berth/internal/state"
)

// ContainerRemove takes a container away. One that runs is refused unless
// opt.Force.
func (e *Engine) ContainerRemove(ctx context.Context, ref string, opt RemoveOptions) error {
	id, err := e.find(ref)
	if err != nil {
		return err
	}
	r, st, err := e.load(id)
	if errors.Is(err, ErrNotFound) {
		return err
	}
	if err != nil && !opt.Force {
		return fmt.Errorf("%w: berth rm -f removes it all the same", err)
	}
	if err == nil && active(st) && !opt.Force {
		first := ""
		if st.Phase == shim.Paused {
			first = "unpause and then "
		}
		return &Error{Kind: ErrConflict, Text: fmt.Sprintf("cannot remove container %q: container is %s: %sstop the container before removing or force remove (berth stop %s, or berth rm -f %s)",
			"/"+r.Name, st.Phase, first, r.Name, r.Name)}
	}
	volumes := opt.Volumes || r != nil && r.HostConfig != nil && r.HostConfig.AutoRemove
	// Somebody else may start it between our stop and our lock; with force
	// we win in the end.
	for try := 0; ; try++ {
		if opt.Force {
			if err := e.forceDown(ctx, id); err != nil {
				return err
			}
		}
		done, err := e.removeStopped(id, volumes)
		if done || err != nil {
			return err
		}
		if !opt.Force || try == 20 {
			return &Error{Kind: ErrConflict, Text: fmt.Sprintf("container %s was started again meanwhile", shortID(id))}
		}
	}
}

// removeStopped removes a container unless it runs, which it reports.
func (e *Engine) removeStopped(id string, volumes bool) (done bool, err error) {
	tx, err := e.lock(id)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer tx.Unlock()
	if _, st, err := e.load(id); err == nil && active(st) {
		return false, nil
	}
	return true, e.discard(id, volumes)
}

// forceDown ends a container whatever it does, if it runs.
func (e *Engine) forceDown(ctx context.Context, id string) error {
	r, st, err := e.load(id)
	if err != nil || !active(st) {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	now := 0
	err = e.stop(limited, r, StopOptions{Signal: "KILL", Timeout: &now})
	if err == nil {
		err = e.untilPhase(limited, id, shim.Exited, shim.Created)
	}
	if err == nil || limited.Err() == nil || ctx.Err() != nil {
		return err
	}
	// A shim that does not answer goes, and the kernel ends its container.
	if st, err := e.status(id); err == nil {
		st.Shim.Signal(unix.SIGKILL)
	}
	return e.untilPhase(ctx, id, shim.Exited, shim.Created)
}

// discard removes the container's folder first, which ends its being listed,
// and then what hangs on it. What a kill leaves behind in between is swept.
func (e *Engine) discard(id string, volumes bool) error {
	r, st, err := e.load(id)
	if err == nil {
		st.Init.Signal(unix.SIGKILL)
		var stored shim.Status
		if state.ReadJSON(e.containerDir(id, shim.StatusFile), &stored) == nil {
			e.noteKilled(id, stored, st)
		}
	}
	e.dropGroup(id)
	if err := e.dir.Discard(e.containerDir(id)); err != nil {
		return fmt.Errorf("cannot remove container %s: %w", shortID(id), err)
	}
	if r == nil {
		return nil
	}
	e.noteContainer(r, events.ActionDestroy)
	if volumes {
		if err := e.volumes().DropUnused(r.Anonymous); err != nil {
			return err
		}
	}
	if err := e.roster.Names().Release(r.Name, id); err != nil {
		return err
	}
	return e.images.DropLayers(r.ImageID)
}

// ContainerPrune removes the containers that do not run.
func (e *Engine) ContainerPrune(ctx context.Context, filters map[string][]string) (container.PruneReport, error) {
	var rep container.PruneReport
	list, err := e.ContainerList(ctx, ListOptions{All: true, Filters: filters})
	if err != nil {
		return rep, err
	}
	for _, c := range list {
		if c.State == container.StateRunning || c.State == container.StateRestarting || c.State == container.StatePaused {
			continue
		}
		size := e.dir.Size(e.containerDir(c.ID, upperDir)) + e.dir.Size(e.containerDir(c.ID, rootfsDir))
		err := e.ContainerRemove(ctx, c.ID, RemoveOptions{})
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return rep, err
		}
		rep.ContainersDeleted = append(rep.ContainersDeleted, c.ID)
		rep.SpaceReclaimed += uint64(size)
	}
	e.notePrune(events.ContainerEventType, rep.SpaceReclaimed)
	return rep, nil
}

// Sweep finishes what killed processes have left: half-made folders, names
// without containers, --rm containers whose shim was killed, empty cgroups.
// Faces call it after commands that remove things.
func (e *Engine) Sweep(ctx context.Context) error {
	if _, err := e.dir.Sweep(); err != nil {
		return err
	}
	ids, err := e.roster.IDs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		e.sweepContainer(id)
	}
	e.roster.SweepNames()
	if facts, err := cgroup.Detect(); err == nil {
		cgroup.Sweep(facts, e.containerExists)
	}
	return nil
}

// sweepContainer removes a container that was to go by itself, and settles one
// whose shim was killed.
func (e *Engine) sweepContainer(id string) {
	r, st, err := e.load(id)
	if err != nil || active(st) {
		return
	}
	tx, err := state.TryLock(e.containerDir(id, lockFile))
	if err != nil {
		return
	}
	defer tx.Unlock()
	if st, err = e.status(id); err != nil || active(st) {
		return
	}
	if r.HostConfig.AutoRemove && (st.Phase == shim.Exited || e.abandoned(id)) {
		e.discard(id, true)
		return
	}
	e.settle(tx, id, st)
}

// abandoned reports whether a --rm container was made by a `run` that was
// killed before it could start it: its name's claimer is dead.
func (e *Engine) abandoned(id string) bool {
	r, _, err := e.load(id)
	return err == nil && r.Run && !e.roster.Names().Claimed(r.Name)
}
