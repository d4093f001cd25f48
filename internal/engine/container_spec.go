package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/internal/cgroup"
	"berth/internal/host"
	"berth/internal/layer"
	"berth/internal/logind"
	"berth/internal/network/client"
	"berth/internal/resources"
	"berth/internal/spec"
	"berth/internal/state"
)

// specInput is what a specification is built from, with what must be closed.
type specInput struct {
	spec.Input
	view  *layer.View
	lease *client.Lease // nil without networks
}

func (in *specInput) close() {
	if in.view != nil {
		in.view.Close()
	}
}

// node returns the host path of a device in the container.
func (in *specInput) node(p string) string {
	for _, d := range in.Devices {
		if d.Path == p {
			return d.Source
		}
	}
	return p
}

func (in *specInput) groupDirs(g *cgroup.Group) {
	if g != nil && !in.Host.CgroupV2 {
		in.CgroupDirs = g.ByTree()
	}
}

// specInput gathers the facts for a container that is about to start.
func (e *Engine) specInput(r *record, lease *client.Lease) (*specInput, error) {
	in := &specInput{lease: lease, Input: spec.Input{
		ID: r.ID, Name: r.Name, Config: r.Config, HostConfig: e.settledHost(r),
		Rootfs: e.containerDir(r.ID, rootfsDir), Host: e.specHost(), Mounts: e.specMounts(r),
	}}
	var err error
	if r.HostConfig.CpusetCpus+r.HostConfig.CpusetMems != "" {
		in.Host.CPUs, in.Host.Mems = e.host.Online("cpu"), e.host.Online("node")
	}
	if in.Join, err = e.joins(in.HostConfig); err != nil {
		return nil, err
	}
	if in.Files, err = e.etcFiles(r, lease.Got()); err != nil {
		return nil, err
	}
	if id, ok := strings.CutPrefix(string(in.HostConfig.IpcMode), "container:"); ok {
		st, err := e.status(id)
		if err != nil {
			return nil, err
		}
		in.Files.Shm = fmt.Sprintf("/proc/%d/root/dev/shm", st.Init.Pid)
	} else if in.HostConfig.IpcMode == "host" {
		in.Files.Shm = "/dev/shm"
	}
	for _, d := range r.HostConfig.Devices {
		more, err := resolveDevice(d)
		if err != nil {
			return nil, err
		}
		in.Devices = append(in.Devices, more...)
	}
	if r.HostConfig.Privileged {
		if in.HostDevices, err = hostDevices(); err != nil {
			return nil, err
		}
	}
	if in.view, err = e.containerView(r); err != nil {
		return nil, err
	}
	in.Users = in.view
	if in.Files.Apt, err = e.writeAptFile(r, in.view); err != nil {
		in.close()
		return nil, err
	}
	if err := e.labelFiles(r, &in.Input); err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

// settledHost is the host configuration with modes put as they turn out: the
// default network is the host's, and who joins a container that is in one of
// the host's namespaces is in the host's too.
func (e *Engine) settledHost(r *record) *container.HostConfig {
	hc := *r.HostConfig
	for range 10 { // a chain of containers may end with one that is gone
		other := e.joined(string(hc.NetworkMode))
		if other == nil {
			break
		}
		if m := other.NetworkMode; m == "none" {
			break
		} else if hc.NetworkMode = m; m == "host" || m == "default" {
			break
		}
	}
	if hc.NetworkMode == "default" {
		hc.NetworkMode = "host"
	}
	if other := e.joined(string(hc.PidMode)); other != nil && other.PidMode == "host" {
		hc.PidMode = "host"
	}
	if other := e.joined(string(hc.IpcMode)); other != nil && other.IpcMode == "host" {
		hc.IpcMode = "host"
	}
	e.shareLabel(&hc)
	return &hc
}

// joined returns the configuration of the container that a mode names.
func (e *Engine) joined(mode string) *container.HostConfig {
	id, ok := strings.CutPrefix(mode, "container:")
	if !ok {
		return nil
	}
	r, _, err := e.load(id)
	if err != nil {
		return nil
	}
	return r.HostConfig
}

// specHost is what package spec has to know of the machine.
func (e *Engine) specHost() spec.Host {
	h := spec.Host{
		Rootless: e.host.Rootless, UID: e.host.UID, GID: e.host.GID, Arch: runtime.GOARCH,
		CgroupV2: e.host.CgroupV2(), NoSeccomp: !e.host.Seccomp(),
	}
	fmt.Sscanf(e.host.KernelVersion(), "%d.%d", &h.Kernel.Major, &h.Kernel.Minor)
	h.LastCap, _ = e.host.LastCap()
	if !e.host.Rootless {
		h.Bounding = e.host.Bounding()
	} else {
		h.ProcCovered, h.SysCovered = e.host.Covered()
	}
	h.NoFile = e.host.NoFile()
	if _, err := os.Stat("/dev/mqueue"); err != nil {
		h.NoMqueue = true
	}
	protection(&h)
	return h
}

// containerView shows the container's root file system to this process, which
// may not be able to mount it.
func (e *Engine) containerView(r *record) (*layer.View, error) {
	if r.Driver == driverCopy {
		return layer.NewView(e.containerDir(r.ID, rootfsDir), nil)
	}
	trees, err := e.stack(r)
	if err != nil {
		return nil, err
	}
	return layer.NewView(e.containerDir(r.ID, upperDir), trees)
}

// resolveDevice finds the devices that one --device means: a node, or all
// nodes below a folder.
func resolveDevice(d container.DeviceMapping) ([]spec.Device, error) {
	src, dest := d.PathOnHost, d.PathInContainer
	if dest == "" {
		dest = src
	}
	bad := func(why string) error {
		return &Error{Kind: ErrInvalid, Text: fmt.Sprintf("error gathering device information while adding custom device %q: %s", src, why)}
	}
	resolved, err := filepath.EvalSymlinks(src)
	if err != nil {
		return nil, bad("no such file or directory")
	}
	nodes, err := host.Nodes(resolved)
	if err == nil && len(nodes) == 0 {
		err = bad("not a device node")
	}
	var out []spec.Device
	for _, n := range nodes {
		dev := linuxDevice(n)
		dev.Path = dest + strings.TrimPrefix(n.Path, resolved)
		out = append(out, spec.Device{Source: n.Path, LinuxDevice: dev, Permissions: d.CgroupPermissions})
	}
	return out, err
}

func linuxDevice(n host.Node) specs.LinuxDevice {
	return specs.LinuxDevice{Path: n.Path, Type: n.Type, Major: n.Major, Minor: n.Minor}
}

// hostDevices are the machine's device nodes, for privileged containers.
func hostDevices() ([]specs.LinuxDevice, error) {
	nodes, err := host.AllNodes()
	var out []specs.LinuxDevice
	for _, n := range nodes {
		out = append(out, linuxDevice(n))
	}
	return out, err
}

// prepareGroup makes the container's cgroup and writes its limits. Who starts a
// container that is to stay hears if it will not outlive the logind.
func (e *Engine) prepareGroup(r *record, shim int, stays bool) (*cgroup.Group, []string, error) {
	limits, err := resources.Limits(r.HostConfig)
	if err != nil {
		return nil, nil, &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	g, in, warnings, err := logind.Place(logind.Request{
		ID: r.ID, Parent: r.HostConfig.CgroupParent, Limits: limits, Refuse: r.StrictLimits || e.config.StrictLimits, Shim: shim,
	})
	if err != nil {
		return nil, nil, err
	}
	if stays {
		if w := logind.Once(e.dir, in.Ends()); w != "" {
			warnings = append(warnings, w)
		}
	}
	return g, append(warnings, resources.OOMScore(r.HostConfig)...), nil
}

// guardDevices confines a container that could lift nodev by mounting anew
// (CAP_SYS_ADMIN) to its devices by the device cgroup. Only root can have that;
// another account's container cannot make device nodes in the first place.
func (e *Engine) guardDevices(r *record, s *specs.Spec, g *cgroup.Group) ([]string, error) {
	caps := s.Process.Capabilities
	if e.host.Rootless || r.HostConfig.Privileged || caps == nil || !slices.Contains(caps.Bounding, "CAP_SYS_ADMIN") {
		return nil, nil
	}
	facts, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	var l cgroup.Limits
	number := func(n *int64) int64 {
		if n == nil {
			return -1
		}
		return *n
	}
	for _, d := range s.Linux.Resources.Devices {
		rule := cgroup.Device{Allow: d.Allow, Type: 'a', Major: number(d.Major), Minor: number(d.Minor), Access: d.Access}
		if d.Type != "" {
			rule.Type = d.Type[0]
		}
		l.Devices = append(l.Devices, rule)
	}
	return g.Update(l, facts)
}

func writeBundle(path string, b *bundle) error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return state.WriteVolatile(path, append(data, '\n'), 0o600)
}
