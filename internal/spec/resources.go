package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// resources translates the limits, which the cgroup enforces. Those of single
// block devices need numbers that only the machine knows: they are the engine's.
func (b *builder) resources() error {
	r := b.in.HostConfig.Resources
	if err := checkAvailable("CPUs", "cpuset cpus", r.CpusetCpus, b.in.Host.CPUs); err != nil {
		return err
	}
	if err := checkAvailable("memory nodes", "cpuset mems", r.CpusetMems, b.in.Host.Mems); err != nil {
		return err
	}
	out := b.spec.Linux.Resources
	out.Memory = memoryLimits(r)
	out.CPU = cpuLimits(r)
	if r.PidsLimit != nil {
		limit := *r.PidsLimit
		if limit <= 0 {
			limit = -1
		}
		out.Pids = &specs.LinuxPids{Limit: &limit}
	}
	if r.BlkioWeight != 0 {
		out.BlockIO = &specs.LinuxBlockIO{Weight: &r.BlkioWeight}
	}
	return nil
}

// memoryLimits translates the memory limits. Memory with swap is twice the
// memory unless something else is said.
func memoryLimits(r container.Resources) *specs.LinuxMemory {
	var m specs.LinuxMemory
	if r.Memory > 0 {
		m.Limit = &r.Memory
	}
	if r.MemoryReservation > 0 {
		m.Reservation = &r.MemoryReservation
	}
	switch {
	case r.MemorySwap != 0:
		m.Swap = &r.MemorySwap
	case r.Memory > 0:
		swap := 2 * r.Memory
		m.Swap = &swap
	}
	if r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 {
		swappiness := uint64(*r.MemorySwappiness)
		m.Swappiness = &swappiness
	}
	if r.OomKillDisable != nil && *r.OomKillDisable {
		m.DisableOOMKiller = r.OomKillDisable
	}
	if m == (specs.LinuxMemory{}) {
		return nil
	}
	return &m
}

func cpuLimits(r container.Resources) *specs.LinuxCPU {
	cpu := specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
	if r.CPUShares > 0 {
		shares := uint64(r.CPUShares)
		cpu.Shares = &shares
	}
	if r.NanoCPUs > 0 {
		period := uint64(100_000)    // microseconds
		quota := r.NanoCPUs / 10_000 // of them in a period
		cpu.Period, cpu.Quota = &period, &quota
	}
	if r.CPUPeriod != 0 {
		period := uint64(r.CPUPeriod)
		cpu.Period = &period
	}
	if r.CPUQuota != 0 {
		cpu.Quota = &r.CPUQuota
	}
	if r.CPURealtimePeriod != 0 {
		period := uint64(r.CPURealtimePeriod)
		cpu.RealtimePeriod = &period
	}
	if r.CPURealtimeRuntime != 0 {
		cpu.RealtimeRuntime = &r.CPURealtimeRuntime
	}
	if cpu == (specs.LinuxCPU{}) {
		return nil
	}
	return &cpu
}

// sysctls are kernel settings inside the container's namespaces. A network of
// its own lets every user listen on low ports, and ping; not where the /proc that
// would set it is that of a container around berth, in which it is read-only.
func (b *builder) sysctls() error {
	out := make(map[string]string)
	if b.own[specs.NetworkNamespace] && !(b.in.Host.Rootless && b.in.Host.ProcCovered) {
		if b.in.Host.Kernel.AtLeast(4, 11) {
			out["net.ipv4.ip_unprivileged_port_start"] = "0"
		}
		switch host := b.in.Host; { // the range of groups has to be mapped
		case host.IDs.Some():
			out["net.ipv4.ping_group_range"] = fmt.Sprintf("0 %d", last(host.IDs.GIDs))
		case !host.Rootless:
			out["net.ipv4.ping_group_range"] = "0 2147483647"
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b.in.HostConfig.Sysctls)) {
		val := b.in.HostConfig.Sysctls[key]
		name, err := checkSysctl(key, val)
		if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(name, "net."):
			if !b.separate(specs.NetworkNamespace) {
				return fmt.Errorf("sysctl %q not allowed in host network namespace", name)
			}
		case name == "kernel.domainname":
			if !b.separate(specs.UTSNamespace) {
				return fmt.Errorf("sysctl %q is not in a separate kernel namespace", name)
			}
		case !b.separate(specs.IPCNamespace):
			return fmt.Errorf("sysctl %q is not allowed in the hosts ipc namespace", name)
		}
		out[name] = val
	}
	if len(out) > 0 {
		b.spec.Linux.Sysctl = out
	}
	return nil
}

// checkSysctl refuses settings that would change the host, and returns the
// name in its form with dots. The name becomes a path below /proc/sys, so what
// could lead out of there is refused as well.
func checkSysctl(key, val string) (string, error) {
	name := dottedSysctl(key)
	allowed := false
	switch name {
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
		"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
		"kernel.domainname":
		allowed = true
	default:
		allowed = strings.HasPrefix(name, "net.") || strings.HasPrefix(name, "fs.mqueue.")
	}
	if !allowed || !plainSysctl(name) || strings.ContainsAny(val, "\n\x00") {
		return "", fmt.Errorf("sysctl '%s=%s' is not allowed", key, val)
	}
	return name, nil
}

// dottedSysctl translates the form with slashes, in which a dot stands for
// itself, as in net/ipv4/conf/eth0.100/forwarding.
func dottedSysctl(key string) string {
	i := strings.IndexAny(key, "./")
	if i < 0 || key[i] == '.' {
		return key
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, key)
}

// plainSysctl reports whether a dotted name consists of ordinary, non-empty
// parts. A slash in it stands for a dot in the name of an interface.
func plainSysctl(name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if part == "" || strings.Trim(part, "/") == "" {
			return false
		}
		for _, c := range part {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			case strings.ContainsRune("_-/@:", c):
			default:
				return false
			}
		}
	}
	return true
}
