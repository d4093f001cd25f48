package cgroup

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Rare is the part of [Limits] that only OCI configurations ask for. A nil or
// zero field asks for nothing.
type Rare struct {
	// PlainSwap leaves swap alone when MemorySwap is zero.
	PlainSwap bool
	// CheckBeforeUpdate refuses a memory limit below what is in use, which
	// version 2 would answer by killing processes. Version 1 refuses it by
	// itself.
	CheckBeforeUpdate bool
	Kernel            int64 // bytes of kernel memory; Linux has given this limit up in 5.16
	KernelTCP         int64 // bytes of TCP buffers; version 1 only

	CPUIdle  *int64  // 1: only time that nobody else wants
	CPUBurst *uint64 // µs that unused quota may add to a later period

	BlkioLeafWeight       uint16 // against the groups inside; version 1 only
	BlkioLeafWeightDevice []Throttle

	Hugepages     []Hugepage
	RDMA          map[string]RDMA // by the name of the device
	NetClass      *uint32         // class of the packets, for the traffic shaper; version 1 only
	NetPriorities []NetPriority   // version 1 only

	// Unified holds files of version 2 with what to write into them, such as
	// memory.high. They are written last.
	Unified map[string]string
}

// Hugepage limits the pages of one size, such as "2MB", to so many bytes.
type Hugepage struct {
	Size  string
	Limit uint64
}

// RDMA limits what may be opened of an InfiniBand device.
type RDMA struct{ Handles, Objects *uint32 }

// NetPriority is the priority of packets that leave by an interface.
type NetPriority struct {
	Name     string
	Priority uint32
}

// core stands for the files "cgroup.*" of version 2, which belong to no
// controller.
const core = "cgroup"

// Check refuses names that could lead to other files than a limit's.
func (r Rare) Check() error {
	for _, key := range slices.Sorted(maps.Keys(r.Unified)) {
		controller, file, ok := strings.Cut(key, ".")
		switch {
		case strings.ContainsAny(key, "/\x00"):
			return fmt.Errorf("unified resource %q must be a file name (no slashes)", key)
		case !ok || controller == "" || file == "":
			return fmt.Errorf("unified resource %q must be in the form CONTROLLER.PARAMETER", key)
		case key == "cgroup.procs", key == "cgroup.threads", key == "cgroup.kill", key == "cgroup.subtree_control":
			return fmt.Errorf("unified resource %q is not a limit", key)
		}
	}
	for _, h := range r.Hugepages {
		number := strings.TrimRight(h.Size, "KMGB")
		if _, err := strconv.ParseUint(number, 10, 64); err != nil || number == h.Size {
			return fmt.Errorf("invalid size of huge pages %q: it is written as 64KB, 2MB or 1GB", h.Size)
		}
	}
	for name := range r.RDMA {
		if name == "" || strings.ContainsAny(name, " \n\x00") {
			return fmt.Errorf("invalid name of an RDMA device: %q", name)
		}
	}
	for _, p := range r.NetPriorities {
		if p.Name == "" || strings.ContainsAny(p.Name, " \n\x00") {
			return fmt.Errorf("invalid name of an interface: %q", p.Name)
		}
	}
	return nil
}

func (r Rare) settings(v2 func(controller string) bool) []setting {
	var out []setting
	add := func(controller, option, v1File, v2File, value string) {
		file := v1File
		if v2(controller) {
			file = v2File
		}
		out = append(out, set(controller, option, file, value))
	}
	if r.Kernel != 0 {
		add(memory, "kernel memory", "memory.kmem.limit_in_bytes", "", itoa(r.Kernel))
	}
	if r.KernelTCP != 0 {
		add(memory, "kernel TCP memory", "memory.kmem.tcp.limit_in_bytes", "", itoa(r.KernelTCP))
	}
	if r.CPUIdle != nil {
		add(cpu, "idle cpu", "cpu.idle", "cpu.idle", itoa(*r.CPUIdle))
	}
	if r.CPUBurst != nil {
		add(cpu, "cpu burst", "cpu.cfs_burst_us", "cpu.max.burst", strconv.FormatUint(*r.CPUBurst, 10))
	}
	if r.BlkioLeafWeight != 0 {
		add(blkio, "blkio leaf weight", "blkio.leaf_weight", "", itoa(int64(r.BlkioLeafWeight)))
	}
	for _, d := range r.BlkioLeafWeightDevice {
		add(blkio, "blkio leaf weight", "blkio.leaf_weight_device", "", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate))
	}
	for _, h := range r.Hugepages {
		value := strconv.FormatUint(h.Limit, 10)
		name := "hugetlb." + h.Size
		add(hugetlb, "huge pages of "+h.Size, name+".limit_in_bytes", name+".max", value)
		// Reservations (mmap) are counted apart, since 5.7.
		add(hugetlb, "reserved huge pages", name+".rsvd.limit_in_bytes", name+".rsvd.max", value)
		out[len(out)-1].implied = true
	}
	for _, name := range slices.Sorted(maps.Keys(r.RDMA)) {
		value := name
		for _, n := range []struct {
			key   string
			limit *uint32
		}{{"hca_handle", r.RDMA[name].Handles}, {"hca_object", r.RDMA[name].Objects}} {
			if n.limit != nil {
				value += fmt.Sprintf(" %s=%d", n.key, *n.limit)
			}
		}
		add(rdma, "RDMA", "rdma.max", "rdma.max", value)
	}
	if r.NetClass != nil {
		add(netCls, "network class", "net_cls.classid", "", strconv.FormatUint(uint64(*r.NetClass), 10))
	}
	for _, p := range r.NetPriorities {
		add(netPrio, "network priorities", "net_prio.ifpriomap", "", fmt.Sprintf("%s %d", p.Name, p.Priority))
	}
	return append(out, r.unified()...)
}

// unified lists the files of version 2. One line is one write: the kernel reads
// no further in most of them.
func (r Rare) unified() []setting {
	var out []setting
	for _, key := range slices.Sorted(maps.Keys(r.Unified)) {
		controller, _, _ := strings.Cut(key, ".")
		if controller == v2Name(blkio) {
			controller = blkio
		}
		for line := range strings.Lines(r.Unified[key]) {
			s := set(controller, key, key, strings.TrimSuffix(line, "\n"))
			s.unified = true
			out = append(out, s)
		}
	}
	return out
}
