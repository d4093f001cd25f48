package engine

import (
	"context"
	"os"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"berth/internal/download"
	"berth/internal/roster"
)

// DiskUsage is the room that the data root takes, in the form of Docker's
// GET /system/df, with what interrupted downloads have left.
type DiskUsage struct {
	system.DiskUsage
	Downloads []download.Left
}

// SystemDF adds up what the data root holds.
func (e *Engine) SystemDF(ctx context.Context) (DiskUsage, error) {
	var out DiskUsage
	var err error
	if out.ImageUsage, err = e.images.Usage(ctx); err != nil {
		return out, err
	}
	if out.ContainerUsage, err = e.containerUsage(ctx); err != nil {
		return out, err
	}
	if out.VolumeUsage, err = e.volumeUsage(ctx); err != nil {
		return out, err
	}
	out.Downloads, err = download.List(e.downloads())
	return out, err
}

// downloads is where parts of blobs lie.
func (e *Engine) downloads() string { return e.dir.Path("downloads") }

func (e *Engine) containerUsage(ctx context.Context) (*container.DiskUsage, error) {
	items, err := e.ContainerList(ctx, ListOptions{All: true, Size: true})
	if err != nil {
		return nil, err
	}
	u := &container.DiskUsage{Items: items, TotalCount: int64(len(items))}
	for _, c := range items {
		u.TotalSize += c.SizeRw
		if c.State == container.StateRunning || c.State == container.StatePaused || c.State == container.StateRestarting {
			u.ActiveCount++
		} else {
			u.Reclaimable += c.SizeRw
		}
	}
	return u, nil
}

func (e *Engine) volumeUsage(ctx context.Context) (*volume.DiskUsage, error) {
	list, err := e.VolumeList(ctx, nil)
	if err != nil {
		return nil, err
	}
	users, err := e.volumeUsers()
	if err != nil {
		return nil, err
	}
	u := &volume.DiskUsage{Items: list.Volumes, TotalCount: int64(len(list.Volumes))}
	for i := range u.Items {
		v := &u.Items[i]
		v.UsageData = &volume.UsageData{RefCount: int64(len(users[v.Name])), Size: e.dir.Size(v.Mountpoint)}
		u.TotalSize += v.UsageData.Size
		if v.UsageData.RefCount > 0 {
			u.ActiveCount++
		} else {
			u.Reclaimable += v.UsageData.Size
		}
	}
	return u, nil
}

// DownloadPrune removes what interrupted downloads have left, and returns the
// digests and the bytes that became free. Filters: until; nothing left of a
// download has a label, so one that asks for a label keeps all.
func (e *Engine) DownloadPrune(ctx context.Context, filters map[string][]string) (gone []string, freed uint64, err error) {
	if len(filters["label"]) > 0 {
		return nil, 0, nil
	}
	var until time.Time
	for _, v := range filters["until"] {
		if until, err = roster.Until(v); err != nil {
			return nil, 0, err
		}
	}
	keep := func(l download.Left) bool { return !until.IsZero() && l.Modified.After(until) }
	before, err := download.List(e.downloads())
	if err != nil {
		return nil, 0, err
	}
	n, err := download.Remove(e.downloads(), keep)
	for _, l := range before {
		if _, e := os.Lstat(l.Path); e != nil && !keep(l) && !l.Busy {
			gone = append(gone, l.Digest)
		}
	}
	return gone, uint64(n), err
}
