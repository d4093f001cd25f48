package oci

import (
	"encoding/json"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// document is a configuration without the sections for other systems, and with
// those that few containers have left as they are until they are found to be
// there. What is decoded once in the life of a process costs what encoding/json
// prepares for every type that could occur: for all of them that took longer
// than all system calls of an exec.
type document struct {
	Version     string                `json:"ociVersion"`
	Process     *specs.Process        `json:"process"`
	Root        *specs.Root           `json:"root"`
	Hostname    string                `json:"hostname"`
	Domainname  string                `json:"domainname"`
	Mounts      []specs.Mount         `json:"mounts"`
	Hooks       section[*specs.Hooks] `json:"hooks"`
	Annotations map[string]string     `json:"annotations"`
	Linux       *linuxDocument        `json:"linux"`
}

// linuxDocument is the section "linux".
type linuxDocument struct {
	UIDMappings       []specs.LinuxIDMapping                    `json:"uidMappings"`
	GIDMappings       []specs.LinuxIDMapping                    `json:"gidMappings"`
	Sysctl            map[string]string                         `json:"sysctl"`
	Resources         *resourcesDocument                        `json:"resources"`
	CgroupsPath       string                                    `json:"cgroupsPath"`
	Namespaces        []specs.LinuxNamespace                    `json:"namespaces"`
	Devices           section[[]specs.LinuxDevice]              `json:"devices"`
	NetDevices        section[map[string]specs.LinuxNetDevice]  `json:"netDevices"`
	Seccomp           section[*specs.LinuxSeccomp]              `json:"seccomp"`
	RootfsPropagation string                                    `json:"rootfsPropagation"`
	MaskedPaths       []string                                  `json:"maskedPaths"`
	ReadonlyPaths     []string                                  `json:"readonlyPaths"`
	MountLabel        string                                    `json:"mountLabel"`
	IntelRdt          section[*specs.LinuxIntelRdt]             `json:"intelRdt"`
	MemoryPolicy      section[*specs.LinuxMemoryPolicy]         `json:"memoryPolicy"`
	Personality       section[*specs.LinuxPersonality]          `json:"personality"`
	TimeOffsets       section[map[string]specs.LinuxTimeOffset] `json:"timeOffsets"`
}

// resourcesDocument is the section "resources" in it: a third of all types.
type resourcesDocument struct {
	Devices        []specs.LinuxDeviceCgroup           `json:"devices"`
	Memory         section[*specs.LinuxMemory]         `json:"memory"`
	CPU            section[*specs.LinuxCPU]            `json:"cpu"`
	Pids           section[*specs.LinuxPids]           `json:"pids"`
	BlockIO        section[*specs.LinuxBlockIO]        `json:"blockIO"`
	HugepageLimits section[[]specs.LinuxHugepageLimit] `json:"hugepageLimits"`
	Network        section[*specs.LinuxNetwork]        `json:"network"`
	Rdma           section[map[string]specs.LinuxRdma] `json:"rdma"`
	Unified        section[map[string]string]          `json:"unified"`
}

// section is one that few containers have: encoding/json prepares for its type
// when it is found to be there.
type section[T any] struct{ value T }

func (s *section[T]) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &s.value) }

// parseSpec decodes a config.json.
func parseSpec(data []byte) (*specs.Spec, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, err
	}
	return &specs.Spec{
		Version: d.Version, Process: d.Process, Root: d.Root, Hostname: d.Hostname, Domainname: d.Domainname,
		Mounts: d.Mounts, Hooks: d.Hooks.value, Annotations: d.Annotations, Linux: d.Linux.spec(),
	}, nil
}

func (d *linuxDocument) spec() *specs.Linux {
	if d == nil {
		return nil
	}
	return &specs.Linux{
		UIDMappings: d.UIDMappings, GIDMappings: d.GIDMappings, Sysctl: d.Sysctl, Resources: d.Resources.spec(),
		CgroupsPath: d.CgroupsPath, Namespaces: d.Namespaces, Devices: d.Devices.value, NetDevices: d.NetDevices.value,
		Seccomp: d.Seccomp.value, RootfsPropagation: d.RootfsPropagation, MaskedPaths: d.MaskedPaths,
		ReadonlyPaths: d.ReadonlyPaths, MountLabel: d.MountLabel, IntelRdt: d.IntelRdt.value,
		MemoryPolicy: d.MemoryPolicy.value, Personality: d.Personality.value, TimeOffsets: d.TimeOffsets.value,
	}
}

func (d *resourcesDocument) spec() *specs.LinuxResources {
	if d == nil {
		return nil
	}
	return &specs.LinuxResources{
		Devices: d.Devices, Memory: d.Memory.value, CPU: d.CPU.value, Pids: d.Pids.value, BlockIO: d.BlockIO.value,
		HugepageLimits: d.HugepageLimits.value, Network: d.Network.value, Rdma: d.Rdma.value, Unified: d.Unified.value,
	}
}
