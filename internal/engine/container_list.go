package engine

import (
	"context"
	"slices"

	"github.com/moby/moby/api/types/container"

	"berth/internal/roster"
	"berth/internal/store"
)

// ContainerList lists containers, the newest first.
func (e *Engine) ContainerList(ctx context.Context, opt ListOptions) ([]container.Summary, error) {
	entries, left, err := e.roster.Entries()
	if err != nil {
		return nil, err
	}
	for _, id := range left {
		e.sweepContainer(id)
	}
	match, err := e.roster.Filter(opt.Filters, entries, e.ancestor)
	if err != nil {
		return nil, err
	}
	all := opt.All || opt.Last > 0 || len(opt.Filters["status"])+len(opt.Filters["exited"]) > 0
	var out []container.Summary
	for _, en := range entries {
		if !all && !active(en.Status) || !match(en) {
			continue
		}
		out = append(out, e.summary(en, opt.Size))
		if opt.Last > 0 && len(out) == opt.Last {
			break
		}
	}
	return out, nil
}

// ancestor is for the filter of that name.
func (e *Engine) ancestor(name string) (id string, layers []string, ok bool) {
	img, err := e.store.Find(name)
	return img.ID, img.Layers, err == nil
}

func (e *Engine) summary(en roster.Entry, size bool) container.Summary {
	s := container.Summary{
		ID: en.ID, Names: []string{"/" + en.Name}, Image: en.Image, ImageID: en.ImageID,
		Command: roster.CommandText(slices.Concat(en.Config.Entrypoint, en.Config.Cmd)), Created: en.Created.Unix(), Labels: en.Config.Labels,
		State: container.ContainerState(en.Status.Phase), Status: roster.StatusText(en.Status),
		Health: healthSummary(en.Status), Mounts: en.Mounts, Ports: roster.Ports(en, e.roster.NetworkSettings(en.ID, en.Status)),
	}
	s.HostConfig.NetworkMode = string(en.HostConfig.NetworkMode)
	s.NetworkSettings = &container.NetworkSettingsSummary{Networks: roster.Networks(en.Record)}
	if size {
		s.SizeRw = e.sizeRw(en.Record)
		s.SizeRootFs = s.SizeRw + e.store.LayerSize(store.Image{Layers: en.Layers})
	}
	return s
}

func (e *Engine) sizeRw(r *record) int64 {
	if r.Driver == driverCopy {
		return e.dir.Size(e.containerDir(r.ID, rootfsDir))
	}
	return e.dir.Size(e.containerDir(r.ID, upperDir))
}
