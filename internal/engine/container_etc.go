package engine

import (
	"io"
	"os"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"berth/internal/listeners"
	"berth/internal/logs"
	"berth/internal/logs/logopt"
	"berth/internal/network"
	"berth/internal/proxies"
	"berth/internal/spec"
	"berth/internal/state"
)

// etcFiles writes /etc/hosts, /etc/resolv.conf and /etc/hostname of a container
// anew at every start. net is the container's place in networks, nil for one that
// is in none or in the host's. A container that shares another's network shares
// its files as well.
func (e *Engine) etcFiles(r *record, net *network.Settings) (spec.Files, error) {
	id := r.ID
	if other, ok := strings.CutPrefix(string(r.HostConfig.NetworkMode), "container:"); ok {
		id = other
	}
	f := spec.Files{
		Hosts:      e.containerDir(id, hostsFile),
		ResolvConf: e.containerDir(id, resolvFile),
		Hostname:   e.containerDir(r.ID, hostnameFile),
	}
	if err := state.WriteVolatile(f.Hostname, []byte(r.Config.Hostname+"\n"), 0o644); err != nil {
		return f, err
	}
	if id != r.ID {
		return f, nil
	}
	ours, _ := os.ReadFile("/etc/hosts")
	hosts, err := spec.Hosts(r.Config, r.HostConfig, net, ours)
	if err != nil {
		return f, &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	if err := state.WriteVolatile(f.Hosts, hosts, 0o644); err != nil {
		return f, err
	}
	ours, _ = os.ReadFile("/etc/resolv.conf")
	return f, state.WriteVolatile(f.ResolvConf, spec.ResolvConf(r.HostConfig, net, ours), 0o644)
}

// changeHosts has the /etc/hosts of a running container follow the networks that
// it is in. The file is bound into the container, so it is changed where it lies,
// and what the container has made of it counts.
func (e *Engine) changeHosts(r *record, before, after []network.Settled) error {
	without := func(list, others []network.Settled) []network.Settled {
		return slices.DeleteFunc(slices.Clone(list), func(p network.Settled) bool {
			return slices.ContainsFunc(others, func(o network.Settled) bool { return o.ID == p.ID })
		})
	}
	left, joined := without(before, after), without(after, before)
	f, err := os.OpenFile(e.containerDir(r.ID, hostsFile), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	const most = 1 << 20 // bytes; one that is longer is the container's own affair
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil || len(text) > most {
		return err
	}
	text = spec.ChangeHosts(text, r.Config, left, joined)
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}

// tellProxies gives a container the variables that lead programs to the HTTP
// proxies around here.
func (e *Engine) tellProxies(cfg *container.Config, hc *container.HostConfig, ofDocker map[string]string) (warnings []string) {
	mode := hc.NetworkMode
	from := proxies.Sources{Docker: ofDocker, Berth: e.config.ContainerProxies, Getenv: os.Getenv}
	env, warnings := from.Env(cfg.Env, mode.IsBridge() || mode.IsUserDefined(), listeners.List)
	cfg.Env = slices.Concat(cfg.Env, env)
	return warnings
}

// stopSignal is the container's, SIGTERM by default.
func stopSignal(r *record) int {
	if n, err := spec.ParseSignal(r.Config.StopSignal); err == nil {
		return n
	}
	return int(unix.SIGTERM)
}

// stopTimeout is the container's, 10 s by default.
func stopTimeout(r *record) int {
	if r.Config.StopTimeout != nil {
		return *r.Config.StopTimeout
	}
	return 10
}

// logOptions reads --log-driver and --log-opt.
func logOptions(r *record) (logs.Options, error) {
	c := r.HostConfig.LogConfig
	o, err := logopt.Resolve(c.Type, c.Config, logopt.Source{
		ID: r.ID, Name: r.Name, ImageID: r.ImageID, Image: r.Image,
		Command: slices.Concat(r.Config.Entrypoint, r.Config.Cmd), Labels: r.Config.Labels, Env: r.Config.Env,
	})
	if err != nil {
		return o, &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	return o, nil
}
