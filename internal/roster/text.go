package roster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/network"

	"berth/internal/health"
	"berth/internal/shim"
)

// CommandText joins a command for people, with Docker's quotes around arguments
// that hold spaces.
func CommandText(args []string) string {
	out := slices.Clone(args)
	for i, a := range out {
		if i > 0 && strings.Contains(a, " ") {
			out[i] = "'" + a + "'"
		}
	}
	return strings.Join(out, " ")
}

// StatusText is the STATUS column of `ps`.
func StatusText(st shim.Status) string {
	ago := func(t time.Time) string { return units.HumanDuration(time.Since(t)) + " ago" }
	switch st.Phase {
	case shim.Running:
		up := "Up " + units.HumanDuration(time.Since(st.StartedAt))
		switch h := st.Health; {
		case h == nil:
			return up
		case h.Status == health.Starting:
			return up + " (health: starting)"
		default:
			return up + " (" + h.Status + ")"
		}
	case shim.Paused:
		return "Up " + units.HumanDuration(time.Since(st.StartedAt)) + " (Paused)"
	case shim.Restarting:
		return fmt.Sprintf("Restarting (%d) %s", st.ExitCode, ago(st.FinishedAt))
	case shim.Exited:
		return fmt.Sprintf("Exited (%d) %s", st.ExitCode, ago(st.FinishedAt))
	}
	return "Created"
}

// Networks are the networks that a container asks to be in, by their names.
func Networks(r *Record) map[string]*network.EndpointSettings {
	out := map[string]*network.EndpointSettings{}
	for name, ep := range r.Networks {
		out[name] = ep.Copy()
	}
	switch m := r.HostConfig.NetworkMode; {
	case m.IsContainer() || r.Networks != nil:
	case m == "" || m.IsDefault():
		out["host"] = &network.EndpointSettings{} // until the default is a bridge
	default:
		out[string(m)] = &network.EndpointSettings{}
	}
	return out
}
