package engine

import (
	"os"
	"strconv"
	"strings"

	units "github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"berth/internal/shim"
	"berth/internal/spec"
	"berth/internal/state"
)

// etcFiles writes /etc/hosts, /etc/resolv.conf and /etc/hostname of a container
// anew at every start. A container that shares another's network shares its
// files as well.
func (e *Engine) etcFiles(r *record) (spec.Files, error) {
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
func logOptions(r *record) shim.LogOptions {
	c := r.HostConfig.LogConfig
	o := shim.LogOptions{Off: c.Type == "none"}
	if size, err := units.RAMInBytes(c.Config["max-size"]); err == nil && size > 0 {
		o.MaxSize = size
	}
	if n, err := strconv.Atoi(c.Config["max-file"]); err == nil {
		o.MaxFiles = n
	}
	return o
}
