package engine

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/logs"
	"berth/internal/logs/logopt"
	"berth/internal/network"
	"berth/internal/spec"
	"berth/internal/state"
)

// etcFiles writes /etc/hosts, /etc/resolv.conf and /etc/hostname of a container
// anew at every start. A container that shares another's network shares its
// files as well.
func (e *Engine) etcFiles(r *record, _ *network.Settings) (spec.Files, error) {
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
	hosts, err := spec.Hosts(r.Config, r.HostConfig, ours)
	if err != nil {
		return f, &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	if err := state.WriteVolatile(f.Hosts, hosts, 0o644); err != nil {
		return f, err
	}
	ours, _ = os.ReadFile("/etc/resolv.conf")
	return f, state.WriteVolatile(f.ResolvConf, spec.ResolvConf(r.HostConfig, ours), 0o644)
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
