package engine

import (
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/container"
)

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
		if !lives(st) {
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
