package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"berth/internal/shim"
	"berth/internal/sys"
)

// entry is a container with its state, as listings sort and filter it.
type entry struct {
	*record
	st shim.Status
}

// ContainerList lists containers, the newest first.
func (e *Engine) ContainerList(ctx context.Context, opt ListOptions) ([]container.Summary, error) {
	entries, err := e.entries()
	if err != nil {
		return nil, err
	}
	match, err := e.containerFilter(opt.Filters, entries)
	if err != nil {
		return nil, err
	}
	all := opt.All || opt.Last > 0 || len(opt.Filters["status"])+len(opt.Filters["exited"]) > 0
	var out []container.Summary
	for _, en := range entries {
		if !all && !active(en.st) || !match(en) {
			continue
		}
		out = append(out, e.summary(en, opt.Size))
		if opt.Last > 0 && len(out) == opt.Last {
			break
		}
	}
	return out, nil
}

// entries reads all containers. One that vanishes while we read is left out;
// one that was run with --rm and whose shim was killed is as good as gone.
func (e *Engine) entries() ([]entry, error) {
	ids, err := e.containerIDs()
	if err != nil {
		return nil, err
	}
	var out []entry
	for _, id := range ids {
		r, st, err := e.load(id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if r.HostConfig.AutoRemove && st.Phase == shim.Exited {
			e.sweepContainer(id)
			continue
		}
		out = append(out, entry{r, st})
	}
	slices.SortFunc(out, func(a, b entry) int { return b.Created.Compare(a.Created) })
	return out, nil
}

func (e *Engine) summary(en entry, size bool) container.Summary {
	s := container.Summary{
		ID: en.ID, Names: []string{"/" + en.Name}, Image: en.Image, ImageID: en.ImageID,
		Command: commandText(slices.Concat(en.Config.Entrypoint, en.Config.Cmd)), Created: en.Created.Unix(), Labels: en.Config.Labels,
		State: container.ContainerState(en.st.Phase), Status: statusText(en.st),
		Mounts: en.Mounts, Ports: portSummaries(en),
	}
	s.HostConfig.NetworkMode = string(en.HostConfig.NetworkMode)
	s.NetworkSettings = &container.NetworkSettingsSummary{Networks: networksOf(en.record)}
	if size {
		s.SizeRw = e.sizeRw(en.record)
		s.SizeRootFs = s.SizeRw + e.layersSize(en.Layers)
	}
	return s
}

// commandText joins a command for people, with Docker's quotes around arguments
// that hold spaces.
func commandText(args []string) string {
	out := slices.Clone(args)
	for i, a := range out {
		if i > 0 && strings.Contains(a, " ") {
			out[i] = "'" + a + "'"
		}
	}
	return strings.Join(out, " ")
}

func (e *Engine) sizeRw(r *record) int64 {
	if r.Driver == driverCopy {
		return sys.TreeSize(e.containerDir(r.ID, rootfsDir))
	}
	return sys.TreeSize(e.containerDir(r.ID, upperDir))
}

// statusText is the STATUS column of `ps`.
func statusText(st shim.Status) string {
	ago := func(t time.Time) string { return units.HumanDuration(time.Since(t)) + " ago" }
	switch st.Phase {
	case shim.Running:
		return "Up " + units.HumanDuration(time.Since(st.StartedAt))
	case shim.Restarting:
		return fmt.Sprintf("Restarting (%d) %s", st.ExitCode, ago(st.FinishedAt))
	case shim.Exited:
		return fmt.Sprintf("Exited (%d) %s", st.ExitCode, ago(st.FinishedAt))
	}
	return "Created"
}

func portSummaries(en entry) []container.PortSummary {
	var out []container.PortSummary
	if en.HostConfig.NetworkMode == "host" {
		return nil
	}
	seen := map[network.Port]bool{}
	for p, bindings := range en.HostConfig.PortBindings {
		if !active(en.st) {
			continue
		}
		seen[p] = true
		for range bindings {
			out = append(out, container.PortSummary{IP: netip.IPv4Unspecified(), PrivatePort: p.Num(), PublicPort: p.Num(), Type: string(p.Proto())})
		}
	}
	for p := range en.Config.ExposedPorts {
		if active(en.st) && !seen[p] {
			out = append(out, container.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
		}
	}
	slices.SortFunc(out, func(a, b container.PortSummary) int { return int(a.PrivatePort) - int(b.PrivatePort) })
	return out
}

func networksOf(r *record) map[string]*network.EndpointSettings {
	switch m := string(r.HostConfig.NetworkMode); {
	case strings.HasPrefix(m, "container:"):
		return map[string]*network.EndpointSettings{}
	case m == "none":
		return map[string]*network.EndpointSettings{"none": {}}
	}
	return map[string]*network.EndpointSettings{"host": {}}
}
