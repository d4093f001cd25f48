package engine

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"berth/internal/shim"
)

func marshalRecord(r *record) ([]byte, error) {
	b, err := json.Marshal(r)
	return append(b, '\n'), err
}

func mergePorts(c *container.Config, exposed map[string]struct{}) {
	for text := range exposed {
		p, err := network.ParsePort(text)
		if err != nil {
			continue // an image's oddity is no reason not to run it
		}
		if c.ExposedPorts == nil {
			c.ExposedPorts = network.PortSet{}
		}
		c.ExposedPorts[p] = struct{}{}
	}
}

// settleNetwork decides the network of a container. There are no bridges yet:
// without --network a container uses the host's network, where a published
// port that keeps its number works by nature and one that changes cannot.
func settleNetwork(cfg *container.Config, hc *container.HostConfig) ([]string, error) {
	mode := string(hc.NetworkMode)
	switch {
	case mode == "host":
		if len(hc.PortBindings) > 0 {
			hc.PortBindings = nil
			return []string{"Published ports are discarded when using host network mode"}, nil
		}
	case mode == "", mode == "default", mode == "bridge":
		hc.NetworkMode = "default"
		for p, bindings := range hc.PortBindings {
			for _, b := range bindings {
				if b.HostPort != "" && b.HostPort != fmt.Sprint(p.Num()) {
					return nil, &Error{Kind: ErrNotSupported, Text: fmt.Sprintf("cannot publish %s as %s: containers share the host's network in this version, so a port keeps its number: use -p %d:%d, or let the program listen on %s",
						p, b.HostPort, p.Num(), p.Num(), b.HostPort)}
				}
			}
		}
		return nil, nil
	case mode == "none", strings.HasPrefix(mode, "container:"):
		if len(hc.PortBindings) > 0 && mode != "none" {
			return nil, &Error{Kind: ErrInvalid, Text: "conflicting options: port publishing and the container type network mode"}
		}
	default:
		return nil, &Error{Kind: ErrNotFound, Text: fmt.Sprintf("network %s not found: this version knows host, none and container:NAME", mode)}
	}
	return nil, nil
}

// settleModes turns the names in container:NAME into IDs and checks that what
// is to be shared can be.
func (e *Engine) settleModes(hc *container.HostConfig) error {
	settle := func(mode string) (string, error) {
		name, ok := strings.CutPrefix(mode, "container:")
		if !ok {
			return mode, nil
		}
		id, err := e.find(name)
		return "container:" + id, err
	}
	net, err := settle(string(hc.NetworkMode))
	if err != nil {
		return err
	}
	pid, err := settle(string(hc.PidMode))
	if err != nil {
		return err
	}
	ipc, err := settle(string(hc.IpcMode))
	if err != nil {
		return err
	}
	hc.NetworkMode, hc.PidMode, hc.IpcMode = container.NetworkMode(net), container.PidMode(pid), container.IpcMode(ipc)
	if hc.IpcMode == "" {
		hc.IpcMode = "private"
	}
	if hc.ShmSize == 0 {
		hc.ShmSize = 64 << 20
	}
	if id, ok := strings.CutPrefix(ipc, "container:"); ok {
		other, _, err := e.load(id)
		if err != nil {
			return err
		}
		if m := other.HostConfig.IpcMode; m != "shareable" && m != "host" {
			return &Error{Kind: ErrConflict, Text: fmt.Sprintf("cannot join IPC of container %s: it was not started with --ipc shareable", shortID(id))}
		}
	}
	return nil
}

// joins finds the namespaces of running containers that this one shares. A
// rootless container enters the other's user namespace too, because that owns
// the rest.
func (e *Engine) joins(hc *container.HostConfig) (map[string]string, error) {
	join := map[string]string{}
	for _, m := range [][2]string{
		{"network", string(hc.NetworkMode)}, {"pid", string(hc.PidMode)}, {"ipc", string(hc.IpcMode)},
	} {
		id, ok := strings.CutPrefix(m[1], "container:")
		if !ok {
			continue
		}
		st, err := e.status(id)
		if err != nil {
			return nil, err
		}
		if st.Phase != shim.Running {
			return nil, &Error{Kind: ErrNotRunning, Text: fmt.Sprintf("cannot join the %s namespace of container %s: it is not running: start it first", m[0], shortID(id))}
		}
		file := m[0]
		if file == "network" {
			file = "net"
		}
		join[m[0]] = fmt.Sprintf("/proc/%d/ns/%s", st.Init.Pid, file)
		if e.host.Rootless {
			user := fmt.Sprintf("/proc/%d/ns/user", st.Init.Pid)
			if other := join["user"]; other != "" && other != user {
				return nil, &Error{Kind: ErrNotSupported, Text: "an ordinary account can join the namespaces of one container only, not of several"}
			}
			join["user"] = user
		}
	}
	return join, nil
}
