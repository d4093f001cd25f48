package cgroup

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Limits is what a container may use, in Docker's units. A zero field asks for
// nothing; -1 lifts a limit that is there (see [Group.Update]).
type Limits struct {
	Memory            int64 // bytes
	MemorySwap        int64 // bytes of memory and swap together; 0: twice the memory, or nothing (PlainSwap)
	MemoryReservation int64 // bytes left alone when memory is short
	MemorySwappiness  *int64
	OOMKillDisable    bool

	NanoCPUs           int64 // processors times 10^9
	CPUPeriod          int64 // µs
	CPUQuota           int64 // µs of processor time in a period
	CPUShares          int64 // weight against others, 1024 is usual
	CPURealtimePeriod  int64 // µs
	CPURealtimeRuntime int64 // µs
	CpusetCpus         string
	CpusetMems         string

	PidsLimit int64

	BlkioWeight       uint16 // 10 to 1000
	BlkioWeightDevice []Throttle
	ReadBps           []Throttle
	WriteBps          []Throttle
	ReadIOps          []Throttle
	WriteIOps         []Throttle

	Rare // what OCI runtimes are asked for and Docker's command line is not

	// Devices are the device nodes the container may use. Without any
	// rule all are allowed, with one every other is refused. Only root can
	// ask for this; the devices of another account are guarded by their
	// permissions alone, as it cannot make nodes.
	Devices []Device
}

// Throttle is a rate or a weight for one block device.
type Throttle struct {
	Major, Minor uint32
	Rate         uint64
}

// Device is a rule for device nodes. Later rules win.
type Device struct {
	Allow  bool
	Type   byte   // 'c', 'b', or 'a' for both
	Major  int64  // -1 for all
	Minor  int64  // -1 for all
	Access string // of the letters r, w and m (make a node)
}

// setting is one value to write into one file: the unit of the plan.
type setting struct {
	controller string
	option     string // of the command line, for messages
	file       string // empty: this generation has no such limit
	value      string
	implied    bool // not asked for by name: no warning when impossible
	base       base // what value is completed with when it is written
	unified    bool // a file of version 2, named by the caller
	check      bool // refuse a memory limit below what is in use
}

// base says which value in force a setting builds on: version 2 folds two
// limits of Docker into one file, or parts one into two.
type base int

const (
	nothing   base = iota
	oldQuota       // a period alone: keep the quota before it
	oldMemory      // memory and swap together: take off the memory
)

func set(controller, option, file, value string) setting {
	return setting{controller: controller, option: option, file: file, value: value}
}

// controllers returns those the limits need, in a fixed order.
func (l Limits) controllers() []string {
	var out []string
	for _, s := range l.settings(func(string) bool { return false }) {
		if s.controller != core && !slices.Contains(out, s.controller) {
			out = append(out, s.controller)
		}
	}
	if len(l.Devices) > 0 {
		out = append(out, devices)
	}
	return out
}

// settings turns the limits into values to write, in the order in which the
// kernel takes them. The function v2 tells the generation of a controller.
func (l Limits) settings(v2 func(controller string) bool) []setting {
	var out []setting
	out = append(out, l.memorySettings(v2(memory))...)
	out = append(out, l.cpuSettings(v2(cpu))...)
	out = append(out, l.cpusetSettings()...)
	if l.PidsLimit != 0 {
		out = append(out, set(pids, "--pids-limit", "pids.max", orMax(l.PidsLimit)))
	}
	out = append(out, l.blkioSettings(v2(blkio))...)
	return append(out, l.Rare.settings(v2)...)
}

func (l Limits) memorySettings(v2 bool) []setting {
	var out []setting
	add := func(option, v1File, v1Value, v2File, v2Value string) {
		s := setting{controller: memory, option: option, file: v1File, value: v1Value}
		if v2 {
			s.file, s.value = v2File, v2Value
		}
		out = append(out, s)
	}
	if l.Memory != 0 {
		add("--memory", "memory.limit_in_bytes", itoa(l.Memory), "memory.max", orMax(l.Memory))
		out[0].check = v2 && l.CheckBeforeUpdate && l.Memory > 0
	}
	swap, implied := l.MemorySwap, false
	if swap == 0 && !l.PlainSwap && l.Memory > 0 && l.Memory <= math.MaxInt64/2 {
		swap, implied = 2*l.Memory, true
	}
	if swap != 0 {
		// Version 2 counts swap apart from memory.
		v2Value := orMax(swap)
		if swap > 0 && l.Memory > 0 {
			v2Value = itoa(max(0, swap-l.Memory))
		}
		add("--memory-swap", "memory.memsw.limit_in_bytes", itoa(swap), "memory.swap.max", v2Value)
		last := &out[len(out)-1]
		last.implied = implied
		if v2 && swap > 0 && l.Memory <= 0 {
			last.base = oldMemory
		}
	}
	if l.MemoryReservation != 0 {
		low := itoa(l.MemoryReservation)
		if l.MemoryReservation < 0 {
			low = "0"
		}
		add("--memory-reservation", "memory.soft_limit_in_bytes", itoa(l.MemoryReservation), "memory.low", low)
	}
	if l.MemorySwappiness != nil && *l.MemorySwappiness >= 0 {
		add("--memory-swappiness", "memory.swappiness", itoa(*l.MemorySwappiness), "", "")
	}
	if l.OOMKillDisable {
		add("--oom-kill-disable", "memory.oom_control", "1", "", "")
	}
	return out
}

// usualPeriod is the period of the kernel and of Docker, in µs.
const usualPeriod = 100000

func (l Limits) cpuSettings(v2 bool) []setting {
	var out []setting
	quota, period, option := l.CPUQuota, l.CPUPeriod, "--cpu-quota"
	if l.NanoCPUs > 0 {
		period, option = usualPeriod, "--cpus"
		quota = l.NanoCPUs / (1e9 / usualPeriod)
	} else if quota == 0 {
		option = "--cpu-period"
	}
	switch {
	case v2 && quota != 0 && period != 0:
		out = append(out, set(cpu, option, "cpu.max", orMax(quota)+" "+itoa(period)))
	case v2 && quota != 0:
		out = append(out, set(cpu, option, "cpu.max", orMax(quota)))
	case v2 && period != 0:
		out = append(out, set(cpu, option, "cpu.max", itoa(period)))
		out[0].base = oldQuota
	default:
		if period != 0 {
			out = append(out, set(cpu, option, "cpu.cfs_period_us", itoa(period)))
		}
		if quota != 0 {
			out = append(out, set(cpu, option, "cpu.cfs_quota_us", itoa(quota)))
		}
	}
	if l.CPUShares > 0 {
		if v2 {
			out = append(out, set(cpu, "--cpu-shares", "cpu.weight", itoa(WeightOfShares(l.CPUShares))))
		} else {
			out = append(out, set(cpu, "--cpu-shares", "cpu.shares", itoa(l.CPUShares)))
		}
	}
	for _, rt := range []struct {
		option, file string
		value        int64
	}{
		{"--cpu-rt-period", "cpu.rt_period_us", l.CPURealtimePeriod},
		{"--cpu-rt-runtime", "cpu.rt_runtime_us", l.CPURealtimeRuntime},
	} {
		if rt.value != 0 {
			if v2 {
				rt.file = ""
			}
			out = append(out, set(cpu, rt.option, rt.file, itoa(rt.value)))
		}
	}
	return out
}

func (l Limits) cpusetSettings() []setting {
	var out []setting
	if l.CpusetCpus != "" {
		out = append(out, set(cpuset, "--cpuset-cpus", "cpuset.cpus", l.CpusetCpus))
	}
	if l.CpusetMems != "" {
		out = append(out, set(cpuset, "--cpuset-mems", "cpuset.mems", l.CpusetMems))
	}
	return out
}

func (l Limits) blkioSettings(v2 bool) []setting {
	var out []setting
	if l.BlkioWeight != 0 {
		file, value := "blkio.weight", itoa(int64(l.BlkioWeight))
		if v2 {
			file, value = "io.weight", "default "+itoa(weightOfBlkio(uint64(l.BlkioWeight)))
		}
		out = append(out, set(blkio, "--blkio-weight", file, value))
	}
	for _, d := range l.BlkioWeightDevice {
		file, value := "blkio.weight_device", strconv.FormatUint(d.Rate, 10)
		if v2 {
			file, value = "io.weight", itoa(weightOfBlkio(d.Rate))
		}
		out = append(out, set(blkio, "--blkio-weight-device", file, fmt.Sprintf("%d:%d %s", d.Major, d.Minor, value)))
	}
	for _, k := range []struct {
		option, v1File, v2Key string
		rates                 []Throttle
	}{
		{"--device-read-bps", "blkio.throttle.read_bps_device", "rbps", l.ReadBps},
		{"--device-write-bps", "blkio.throttle.write_bps_device", "wbps", l.WriteBps},
		{"--device-read-iops", "blkio.throttle.read_iops_device", "riops", l.ReadIOps},
		{"--device-write-iops", "blkio.throttle.write_iops_device", "wiops", l.WriteIOps},
	} {
		for _, d := range k.rates {
			file, value := k.v1File, fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate)
			if v2 {
				file, value = "io.max", fmt.Sprintf("%d:%d %s=%d", d.Major, d.Minor, k.v2Key, d.Rate)
			}
			out = append(out, set(blkio, k.option, file, value))
		}
	}
	return out
}

// WeightOfShares turns a weight of version 1 (2 to 262144, usually 1024) into
// one of version 2 (1 to 10000, usually 100). The curve is the one OCI runtimes
// agreed on: it hits both ends and the usual values.
func WeightOfShares(shares int64) int64 {
	if shares <= 2 {
		return 1
	}
	if shares >= 262144 {
		return 10000
	}
	l := math.Log2(float64(shares))
	return int64(math.Ceil(math.Pow(10, (l*l+125*l)/612.0-7.0/34.0)))
}

// weightOfBlkio stretches 10 to 1000 over 1 to 10000.
func weightOfBlkio(w uint64) int64 {
	w = min(max(w, 10), 1000)
	return 1 + int64(w-10)*9999/990
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// orMax writes a limit the way version 2 (and pids in both) spells it.
func orMax(n int64) string {
	if n <= 0 {
		return "max"
	}
	return itoa(n)
}
