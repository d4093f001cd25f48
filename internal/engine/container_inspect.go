package engine

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/storage"

	"berth/internal/roster"
	"berth/internal/shim"
)

// ContainerInspect tells all about a container.
func (e *Engine) ContainerInspect(ctx context.Context, ref string) (container.InspectResponse, error) {
	id, err := e.find(ref)
	if err != nil {
		return container.InspectResponse{}, err
	}
	r, st, err := e.load(id)
	if err != nil {
		return container.InspectResponse{}, err
	}
	args := slices.Concat(r.Config.Entrypoint, r.Config.Cmd)
	out := container.InspectResponse{
		ID: id, Created: r.Created.Format(time.RFC3339Nano), Args: []string{}, State: stateOf(st),
		Image: r.ImageID, Name: "/" + r.Name, RestartCount: st.RestartCount, Driver: r.Driver,
		Platform:       strings.Split(r.Platform, "/")[0],
		ResolvConfPath: e.containerDir(id, resolvFile), HostsPath: e.containerDir(id, hostsFile),
		HostnamePath: e.containerDir(id, hostnameFile), LogPath: e.logPath(r),
		HostConfig: r.HostConfig, Config: r.Config, Mounts: r.Mounts,
		GraphDriver: e.graphDriver(r),
	}
	if len(args) > 0 {
		out.Path, out.Args = args[0], args[1:]
	}
	if out.Mounts == nil {
		out.Mounts = []container.MountPoint{}
	}
	out.AppArmorProfile, out.ProcessLabel, out.MountLabel = e.protection(r)
	out.NetworkSettings = &container.NetworkSettings{
		Ports:    roster.PortMap(roster.Entry{Record: r, Status: st}, e.roster.NetworkSettings(id, st)),
		Networks: e.Networks().Places(r, lives(st)),
	}
	return out, nil
}

func stateOf(st shim.Status) *container.State {
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return "0001-01-01T00:00:00Z"
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	s := &container.State{
		Status: container.ContainerState(st.Phase), Running: active(st), Paused: st.Phase == shim.Paused, Restarting: st.Phase == shim.Restarting,
		OOMKilled: st.OOMKilled, ExitCode: st.ExitCode, Error: st.Error,
		StartedAt: stamp(st.StartedAt), FinishedAt: stamp(st.FinishedAt),
	}
	s.Health = healthOf(st)
	if lives(st) {
		s.Pid = st.Init.Pid
	}
	return s
}

func (e *Engine) graphDriver(r *record) *storage.DriverData {
	d := &storage.DriverData{Name: r.Driver, Data: map[string]string{}}
	if r.Driver == driverOverlay {
		if lower, err := e.stack(r); err == nil {
			d.Data["LowerDir"] = strings.Join(lower, ":")
		}
		d.Data["UpperDir"] = e.containerDir(r.ID, upperDir)
		d.Data["WorkDir"] = e.containerDir(r.ID, workDir)
	}
	return d
}
