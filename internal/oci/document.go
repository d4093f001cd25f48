package oci

import (
	"encoding/json"
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// document is a configuration without the sections for other systems, and with
// those that few containers have left as they are until they are found to be
// there. What is decoded once in the life of a process costs what encoding/json
// prepares for every type that could occur: for all of them that took longer
// than all system calls of an exec.
type document struct {
	Version     string            `json:"ociVersion"`
	Process     *specs.Process    `json:"process"`
	Root        *specs.Root       `json:"root"`
	Hostname    string            `json:"hostname"`
	Domainname  string            `json:"domainname"`
	Mounts      []specs.Mount     `json:"mounts"`
	Hooks       json.RawMessage   `json:"hooks"`
	Annotations map[string]string `json:"annotations"`
	Linux       *linuxDocument    `json:"linux"`
}

// linuxDocument is the section "linux".
type linuxDocument struct {
	UIDMappings       []specs.LinuxIDMapping `json:"uidMappings"`
	GIDMappings       []specs.LinuxIDMapping `json:"gidMappings"`
	Sysctl            map[string]string      `json:"sysctl"`
	Resources         *resourcesDocument     `json:"resources"`
	CgroupsPath       string                 `json:"cgroupsPath"`
	Namespaces        []specs.LinuxNamespace `json:"namespaces"`
	Devices           json.RawMessage        `json:"devices"`
	NetDevices        json.RawMessage        `json:"netDevices"`
	Seccomp           json.RawMessage        `json:"seccomp"`
	RootfsPropagation string                 `json:"rootfsPropagation"`
	MaskedPaths       []string               `json:"maskedPaths"`
	ReadonlyPaths     []string               `json:"readonlyPaths"`
	MountLabel        string                 `json:"mountLabel"`
	IntelRdt          json.RawMessage        `json:"intelRdt"`
	MemoryPolicy      json.RawMessage        `json:"memoryPolicy"`
	Personality       json.RawMessage        `json:"personality"`
	TimeOffsets       json.RawMessage        `json:"timeOffsets"`
}

// resourcesDocument is the section "resources" in it: a third of all types.
type resourcesDocument struct {
	Devices        []specs.LinuxDeviceCgroup `json:"devices"`
	Memory         json.RawMessage           `json:"memory"`
	CPU            json.RawMessage           `json:"cpu"`
	Pids           json.RawMessage           `json:"pids"`
	BlockIO        json.RawMessage           `json:"blockIO"`
	HugepageLimits json.RawMessage           `json:"hugepageLimits"`
	Network        json.RawMessage           `json:"network"`
	Rdma           json.RawMessage           `json:"rdma"`
	Unified        json.RawMessage           `json:"unified"`
}

// parseSpec decodes a config.json.
func parseSpec(data []byte) (*specs.Spec, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, err
	}
	s := &specs.Spec{
		Version: d.Version, Process: d.Process, Root: d.Root, Hostname: d.Hostname, Domainname: d.Domainname,
		Mounts: d.Mounts, Annotations: d.Annotations,
	}
	var err error
	if s.Linux, err = d.Linux.parse(); err != nil {
		return nil, err
	}
	return s, section(d.Hooks, &s.Hooks)
}

// section decodes what was left as it was, if it is there.
func section[T any](raw json.RawMessage, into *T) error {
	if len(raw) == 0 {
		return nil
	}
	return json.Unmarshal(raw, into)
}

func (d *linuxDocument) parse() (*specs.Linux, error) {
	if d == nil {
		return nil, nil
	}
	l := &specs.Linux{
		UIDMappings: d.UIDMappings, GIDMappings: d.GIDMappings, Sysctl: d.Sysctl, CgroupsPath: d.CgroupsPath,
		Namespaces: d.Namespaces, RootfsPropagation: d.RootfsPropagation,
		MaskedPaths: d.MaskedPaths, ReadonlyPaths: d.ReadonlyPaths, MountLabel: d.MountLabel,
	}
	var err error
	if l.Resources, err = d.Resources.parse(); err != nil {
		return nil, err
	}
	return l, errors.Join(
		section(d.Devices, &l.Devices),
		section(d.NetDevices, &l.NetDevices),
		section(d.Seccomp, &l.Seccomp),
		section(d.IntelRdt, &l.IntelRdt),
		section(d.MemoryPolicy, &l.MemoryPolicy),
		section(d.Personality, &l.Personality),
		section(d.TimeOffsets, &l.TimeOffsets))
}

func (d *resourcesDocument) parse() (*specs.LinuxResources, error) {
	if d == nil {
		return nil, nil
	}
	r := &specs.LinuxResources{Devices: d.Devices}
	return r, errors.Join(
		section(d.Memory, &r.Memory),
		section(d.CPU, &r.CPU),
		section(d.Pids, &r.Pids),
		section(d.BlockIO, &r.BlockIO),
		section(d.HugepageLimits, &r.HugepageLimits),
		section(d.Network, &r.Network),
		section(d.Rdma, &r.Rdma),
		section(d.Unified, &r.Unified))
}
