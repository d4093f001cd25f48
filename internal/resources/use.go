package resources

import (
	"bytes"
	"maps"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"berth/internal/cgroup"
)

// perTick is one unit of the times in /proc in ns: USER_HZ is 100 on all of
// Linux.
const perTick = 1e9 / 100

// Subject is a running container.
type Subject struct {
	Group      *cgroup.Group // nil without any
	Pids       []int         // of its processes, for what no control group counts
	First      int           // the process whose network it has
	OwnNetwork bool          // else the counters are the host's, and of no use
	HostMemory int64         // bytes, for a container without a limit
}

// Use measures what a container uses at this moment. What a group does not
// count is added up from its processes, as far as they are alive.
func (s Subject) Use() container.StatsResponse {
	g := s.Group
	if g == nil {
		g = &cgroup.Group{}
	}
	d := g.Detail()
	out := container.StatsResponse{OSType: "linux", Read: time.Now()}
	out.CPUStats = container.CPUStats{
		CPUUsage: container.CPUUsage{
			TotalUsage: d.CPU, UsageInKernelmode: d.CPUSystem, UsageInUsermode: d.CPUUser, PercpuUsage: d.CPUs,
		},
		ThrottlingData: container.ThrottlingData{Periods: d.Periods, ThrottledPeriods: d.Throttled, ThrottledTime: d.ThrottledFor},
	}
	out.CPUStats.SystemUsage, out.CPUStats.OnlineCPUs = machineTime()
	out.MemoryStats = container.MemoryStats{
		Usage: d.Memory, MaxUsage: d.MemoryMax, Limit: d.MemoryLimit, Failcnt: d.MemoryUse.Failures, Stats: maps.Clone(d.MemoryStat),
	}
	if host := uint64(max(0, s.HostMemory)); out.MemoryStats.Limit == 0 || host > 0 && out.MemoryStats.Limit > host {
		out.MemoryStats.Limit = host
	}
	out.PidsStats = container.PidsStats{Current: d.Pids, Limit: d.PidsLimit}
	out.BlkioStats = container.BlkioStats{
		IoServiceBytesRecursive: entries(d, "ioServiceBytesRecursive"), IoServicedRecursive: entries(d, "ioServicedRecursive"),
		IoQueuedRecursive: entries(d, "ioQueuedRecursive"), IoServiceTimeRecursive: entries(d, "ioServiceTimeRecursive"),
		IoWaitTimeRecursive: entries(d, "ioWaitTimeRecursive"), IoMergedRecursive: entries(d, "ioMergedRecursive"),
		IoTimeRecursive: entries(d, "ioTimeRecursive"), SectorsRecursive: entries(d, "sectorsRecursive"),
	}
	s.uncounted(&out, d)
	if s.OwnNetwork {
		out.Networks = networks(s.First)
	}
	return out
}

func entries(d cgroup.Detail, name string) []container.BlkioStatEntry {
	var out []container.BlkioStatEntry
	for _, e := range d.Block[name] {
		out = append(out, container.BlkioStatEntry{Major: e.Major, Minor: e.Minor, Op: strings.ToLower(e.Op), Value: e.Value})
	}
	return out
}

func networks(pid int) map[string]container.NetworkStats {
	list, err := cgroup.Net(pid)
	if err != nil {
		return nil // it has just ended
	}
	out := map[string]container.NetworkStats{}
	for _, i := range list {
		out[i.Name] = container.NetworkStats{
			RxBytes: i.RxBytes, RxPackets: i.RxPackets, RxErrors: i.RxErrors, RxDropped: i.RxDropped,
			TxBytes: i.TxBytes, TxPackets: i.TxPackets, TxErrors: i.TxErrors, TxDropped: i.TxDropped,
		}
	}
	return out
}

// uncounted adds up the processes for what the group does not count.
func (s Subject) uncounted(out *container.StatsResponse, d cgroup.Detail) {
	cpu, memory, pids, block := d.CPU == 0, d.Memory == 0 && d.MemoryByProc, d.Pids == 0, d.Block == nil
	if !cpu && !memory && !pids && !block {
		return
	}
	var read, written uint64
	for _, pid := range s.Pids {
		p := processUse(pid)
		if cpu {
			out.CPUStats.CPUUsage.UsageInUsermode += p.user
			out.CPUStats.CPUUsage.UsageInKernelmode += p.kernel
			out.CPUStats.CPUUsage.TotalUsage += p.user + p.kernel
		}
		if memory {
			out.MemoryStats.Usage += p.memory
		}
		if pids {
			out.PidsStats.Current += p.threads
		}
		read += p.read
		written += p.written
	}
	if block && read+written > 0 {
		out.BlkioStats.IoServiceBytesRecursive = []container.BlkioStatEntry{{Op: "read", Value: read}, {Op: "write", Value: written}}
	}
}

// process is what one process uses, and its children did that it has reaped.
type process struct {
	user, kernel  uint64 // ns
	memory        uint64 // bytes that no file backs
	threads       uint64
	read, written uint64 // bytes from and to block devices
}

// processUse reads /proc/PID/stat, statm and io (proc_pid_stat(5)).
func processUse(pid int) process {
	var p process
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	b, err := os.ReadFile(dir + "stat")
	if err != nil {
		return p
	}
	// The name in parentheses may hold anything: count from its end.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	number := func(i int) uint64 {
		if i >= len(f) {
			return 0
		}
		n, _ := strconv.ParseUint(f[i], 10, 64)
		return n
	}
	p.user = (number(11) + number(13)) * perTick
	p.kernel = (number(12) + number(14)) * perTick
	p.threads = number(17)
	b, _ = os.ReadFile(dir + "statm")
	f = strings.Fields(string(b))
	p.memory = (number(1) - min(number(2), number(1))) * uint64(os.Getpagesize())
	b, _ = os.ReadFile(dir + "io")
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		n, _ := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		switch key {
		case "read_bytes":
			p.read = n
		case "write_bytes":
			p.written = n
		}
	}
	return p
}

// machineTime is the time that all processors together have spent so far, idle
// or not, in ns, and how many there are: what a container's time is compared
// with.
func machineTime() (total uint64, processors uint32) {
	b, _ := os.ReadFile("/proc/stat")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.HasPrefix(f[0], "cpu") {
			continue
		}
		if f[0] != "cpu" {
			processors++
			continue
		}
		// user nice system idle iowait irq softirq steal; the guest times
		// after them are part of user and nice.
		for _, w := range f[1:min(len(f), 9)] {
			n, _ := strconv.ParseUint(w, 10, 64)
			total += n * perTick
		}
	}
	return total, processors
}
