package spec

import (
	"errors"
	"fmt"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// namespaces decides for each kind whether the container gets one of its own,
// enters another's or stays in the host's.
func (b *builder) namespaces() error {
	hc := b.in.HostConfig
	if err := b.checkModes(); err != nil {
		return err
	}
	if b.in.Host.Rootless {
		b.userNamespace()
	}
	b.add(specs.MountNamespace, "mount", false)
	b.add(specs.NetworkNamespace, "network", hc.NetworkMode.IsHost() && !b.in.Config.NetworkDisabled)
	b.add(specs.UTSNamespace, "uts", hc.UTSMode.IsHost())
	b.add(specs.PIDNamespace, "pid", hc.PidMode.IsHost())
	b.add(specs.IPCNamespace, "ipc", hc.IpcMode.IsHost())
	b.add(specs.CgroupNamespace, "cgroup", !b.ownCgroupNamespace())
	if b.own[specs.UTSNamespace] {
		b.spec.Hostname = b.hostname()
		b.spec.Domainname = b.in.Config.Domainname
	}
	return nil
}

// add gives the container a namespace of a kind, unless it stays in the host's.
func (b *builder) add(kind specs.LinuxNamespaceType, join string, host bool) {
	if host {
		return
	}
	path := b.in.Join[join]
	b.own[kind] = path == ""
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: kind, Path: path})
}

// separate reports whether the container is out of the host's namespace of
// this kind.
func (b *builder) separate(kind specs.LinuxNamespaceType) bool {
	_, ok := b.own[kind]
	return ok
}

// userNamespace makes root of the container out of the caller, the only id an
// account may map without anybody's leave; others come after it.
func (b *builder) userNamespace() {
	b.add(specs.UserNamespace, "user", false)
	if ids := b.in.Host.IDs; ids.Some() {
		b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = ids.UIDs, ids.GIDs
	} else if b.own[specs.UserNamespace] {
		b.spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(b.in.Host.UID), Size: 1}}
		b.spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(b.in.Host.GID), Size: 1}}
	}
}

func (b *builder) checkModes() error {
	hc := b.in.HostConfig
	if err := validateModes(hc); err != nil {
		return err
	}
	net := hc.NetworkMode
	joins := []struct {
		wanted     bool
		kind, name string
	}{
		{net.IsContainer(), "network", net.ConnectedContainer()},
		{hc.PidMode.IsContainer(), "pid", hc.PidMode.Container()},
		{hc.IpcMode.IsContainer(), "ipc", hc.IpcMode.Container()},
	}
	for _, j := range joins {
		if j.wanted && b.in.Join[j.kind] == "" {
			return fmt.Errorf("cannot join the %s namespace of container %s: it is not running", j.kind, j.name)
		}
		if j.wanted && b.in.Host.Rootless && b.in.Join["user"] == "" {
			// The kernel lets only the owner of a namespace enter it.
			return fmt.Errorf("cannot join the %s namespace of container %s without its user namespace", j.kind, j.name)
		}
	}
	return nil
}

// ownCgroupNamespace reports whether the container sees its own cgroup as the
// root of the hierarchy. Without root that is not for the user to choose: in
// the host's namespace the container could write to the caller's other cgroups.
func (b *builder) ownCgroupNamespace() bool {
	mode, host := b.in.HostConfig.CgroupnsMode, b.in.Host
	if host.Rootless {
		if mode.IsHost() {
			b.warn("Without root a container always has its own cgroup namespace. Cgroup namespace mode host discarded.")
		}
		return true
	}
	if mode.IsEmpty() {
		return host.CgroupV2
	}
	return mode.IsPrivate()
}

func (b *builder) hostname() string {
	if b.in.Config.Hostname != "" {
		return b.in.Config.Hostname
	}
	return b.in.ID[:min(len(b.in.ID), 12)]
}

// validateModes checks how the request names namespaces.
func validateModes(hc *container.HostConfig) error {
	switch {
	case !hc.IpcMode.Valid():
		return fmt.Errorf("invalid IPC mode: %v", hc.IpcMode)
	case !hc.PidMode.Valid():
		return fmt.Errorf("invalid PID mode: %v", hc.PidMode)
	case !hc.UTSMode.Valid():
		return fmt.Errorf("invalid UTS mode: %v", hc.UTSMode)
	case !hc.CgroupnsMode.Valid():
		return fmt.Errorf("invalid cgroup namespace mode: %v", hc.CgroupnsMode)
	case hc.NetworkMode.IsContainer() && hc.NetworkMode.ConnectedContainer() == "":
		return errors.New("invalid container format container:<name|id>")
	case hc.IpcMode.IsContainer() && hc.IpcMode.Container() == "":
		return fmt.Errorf("invalid IPC mode: %v", hc.IpcMode)
	}
	_, err := ParseUserns(hc.UsernsMode)
	return err
}
