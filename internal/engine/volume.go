package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	api "github.com/moby/moby/api/types/volume"

	"berth/internal/roster"
	"berth/internal/state"
	"berth/internal/volume"
)

// VolumeCreateOptions asks for a volume. Without a name it is anonymous.
type VolumeCreateOptions = volume.Request

// volumes opens the set of volumes, which asks the containers what is in use.
func (e *Engine) volumes() *volume.Set { return volume.Open(e.dir, e.volumeUsers) }

// VolumeCreate makes a volume. One that is there already is returned as it is,
// whatever else was asked.
func (e *Engine) VolumeCreate(ctx context.Context, opt VolumeCreateOptions) (api.Volume, error) {
	v, err := e.volumes().Create(ctx, opt)
	if err != nil {
		return v, err
	}
	e.noteVolume(events.ActionCreate, v.Name)
	return v, nil
}

// VolumeInspect returns one volume.
func (e *Engine) VolumeInspect(ctx context.Context, name string) (api.Volume, error) {
	v, err := e.volumes().Inspect(ctx, name)
	return v, err
}

// VolumeList lists volumes by name. Damaged ones are named by a warning.
// Filters: dangling, driver, label, name.
func (e *Engine) VolumeList(ctx context.Context, filters map[string][]string) (api.ListResponse, error) {
	list, err := e.volumes().List(ctx, filters)
	return list, err
}

// VolumeRemove removes a volume that no container uses. With force a missing
// one is no error.
func (e *Engine) VolumeRemove(ctx context.Context, name string, force bool) error {
	if err := e.volumes().Remove(ctx, name, force); err != nil {
		return err
	}
	e.noteVolume(events.ActionDestroy, name)
	return nil
}

// VolumePrune removes volumes that no container uses: the anonymous ones, or
// all. Filters: label, label!, all.
func (e *Engine) VolumePrune(ctx context.Context, all bool, filters map[string][]string) (api.PruneReport, error) {
	rep, err := e.volumes().Prune(ctx, all, filters)
	for _, name := range rep.VolumesDeleted {
		e.noteVolume(events.ActionDestroy, name)
	}
	if err == nil {
		e.notePrune(events.VolumeEventType, rep.SpaceReclaimed)
	}
	return rep, err
}

func (e *Engine) noteVolume(action events.Action, name string) {
	e.note(events.VolumeEventType, action, name, map[string]string{"driver": volume.Driver})
}

// volumeUsers tells for every volume in use the IDs of its containers.
func (e *Engine) volumeUsers() (map[string][]string, error) {
	ids, err := e.roster.IDs()
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	users := map[string][]string{}
	uses := func(r *record) {
		for _, m := range r.Mounts {
			if m.Type == mount.TypeVolume && m.Name != "" && !slices.Contains(users[m.Name], r.ID) {
				users[m.Name] = append(users[m.Name], r.ID)
			}
		}
	}
	for _, id := range ids {
		var r record
		err := state.ReadJSON(e.containerDir(id, roster.RecordFile), &r)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			// Its volumes are unknown, so none may go.
			return nil, fmt.Errorf("cannot tell which volumes are in use: %w", err)
		}
		uses(&r)
	}
	others, err := e.roster.Elsewhere()
	for _, r := range others {
		uses(r)
	}
	return users, err
}
