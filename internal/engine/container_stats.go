package engine

import (
	"context"
	"maps"
	"slices"

	"github.com/moby/moby/api/types/container"

	"berth/internal/resources"
)

// ContainerStats measures what a container uses at this moment. Of one that
// does not run, all is zero.
func (e *Engine) ContainerStats(ctx context.Context, ref string) (container.StatsResponse, error) {
	id, err := e.find(ref)
	if err != nil {
		return container.StatsResponse{}, err
	}
	r, st, err := e.load(id)
	if err != nil {
		return container.StatsResponse{}, err
	}
	out := container.StatsResponse{OSType: "linux"}
	if lives(st) {
		s := resources.Subject{
			Pids: slices.Collect(maps.Keys(e.processes(id, st.Init.Pid))), First: st.Init.Pid,
			OwnNetwork: e.settledHost(r).NetworkMode != "host", HostMemory: e.host.MemTotal(),
		}
		if b, err := e.bundle(id); err == nil {
			s.Group = b.Group
		}
		out = s.Use()
	}
	out.ID, out.Name = id, "/"+r.Name
	return out, nil
}
