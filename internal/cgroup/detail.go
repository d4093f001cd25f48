package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Detail is everything the kernel counts for a container, as `events --stats`
// of an OCI runtime shows it.
type Detail struct {
	Stats
	// The time on each processor in ns, which version 1 alone tells.
	CPUs, CPUsUser, CPUsSystem []uint64
	// Cpuset holds the files cpuset.* by what follows the dot, as they are.
	Cpuset map[string]string

	Cache                                       uint64 // bytes of page cache
	MemoryUse, Swap, KernelMemory, KernelTCPUse Usage
	MemoryStat                                  map[string]uint64 // memory.stat

	// Block has the counters of block devices, by names as runc's:
	// ioServiceBytesRecursive, ioServicedRecursive…
	Block map[string][]BlockEntry
	// Hugepages and RDMA in use, by the size and by the device.
	Hugepages map[string]Usage
	RDMA      map[string]RDMAUse

	// How long processes waited for each of these; nil where the kernel does
	// not tell (version 1 always, else /proc/sys/kernel, psi=1).
	CPUPressure, MemoryPressure, IOPressure *Pressure
}

// Usage is an amount against its limit; the greatest number stands for none.
type Usage struct{ Limit, Usage, Max, Failures uint64 }

// BlockEntry is one counter of one block device.
type BlockEntry struct {
	Major, Minor uint64
	Op           string // Read, Write, Discard, Sync, Async, Total
	Value        uint64
}

// RDMAUse is what is open of an InfiniBand device, and may be at most.
type RDMAUse struct{ Handles, HandlesMax, Objects, ObjectsMax uint64 }

// Pressure is pressure stall information: the share of time in which some or
// all processes waited.
type Pressure struct{ Some, Full PressureLine }

// PressureLine gives shares in percent over the last seconds, and a sum in µs.
type PressureLine struct {
	Avg10, Avg60, Avg300 float64
	Total                uint64
}

// Detail measures the container in full. It reads some dozen files.
func (g *Group) Detail() Detail {
	d := Detail{Stats: g.Stats()}
	g.processors(&d)
	g.memoryDetail(&d)
	g.blockDetail(&d)
	g.hugepages(&d)
	if dir, ok := g.Control[rdma]; ok {
		d.RDMA = rdmaUse(dir)
	}
	if g.V2 != "" {
		d.CPUPressure = pressure(filepath.Join(g.V2, "cpu.pressure"))
		d.MemoryPressure = pressure(filepath.Join(g.V2, "memory.pressure"))
		d.IOPressure = pressure(filepath.Join(g.V2, "io.pressure"))
	}
	return d
}

func (g *Group) processors(d *Detail) {
	if dir, ok := g.Control[cpuacct]; ok && !g.isV2(cpuacct) {
		d.CPUs = numbers(filepath.Join(dir, "cpuacct.usage_percpu"))
		d.CPUsUser = numbers(filepath.Join(dir, "cpuacct.usage_percpu_user"))
		d.CPUsSystem = numbers(filepath.Join(dir, "cpuacct.usage_percpu_sys"))
	}
	dir, ok := g.Control[cpuset]
	if !ok {
		return
	}
	d.Cpuset = map[string]string{}
	files, _ := filepath.Glob(filepath.Join(dir, "cpuset.*"))
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil {
			d.Cpuset[strings.TrimPrefix(filepath.Base(file), "cpuset.")] = strings.TrimSpace(string(b))
		}
	}
}

func (g *Group) memoryDetail(d *Detail) {
	dir, ok := g.Control[memory]
	if !ok {
		return
	}
	d.MemoryStat = readPairs(filepath.Join(dir, "memory.stat"))
	if !g.isV2(memory) {
		d.Cache = d.MemoryStat["cache"]
		d.MemoryUse = oldUsage(dir, "memory.")
		d.Swap = oldUsage(dir, "memory.memsw.")
		d.KernelMemory = oldUsage(dir, "memory.kmem.")
		d.KernelTCPUse = oldUsage(dir, "memory.kmem.tcp.")
		return
	}
	d.Cache = d.MemoryStat["file"]
	d.MemoryUse = newUsage(dir, "memory.")
	d.MemoryUse.Failures = readPairs(filepath.Join(dir, "memory.events"))["max"]
	d.Swap = newUsage(dir, "memory.swap.")
	// Version 1 counts memory and swap together, and readers expect that.
	d.Swap.Usage += d.MemoryUse.Usage
	if d.Swap.Limit < math.MaxUint64-d.MemoryUse.Limit {
		d.Swap.Limit += d.MemoryUse.Limit
	} else {
		d.Swap.Limit = math.MaxUint64
	}
	d.Swap.Max = 0
	d.KernelMemory.Usage = d.MemoryStat["kernel"]
}

func oldUsage(dir, prefix string) Usage {
	read := func(name string) uint64 {
		n, _ := readUint(filepath.Join(dir, prefix+name))
		return n
	}
	return Usage{Limit: read("limit_in_bytes"), Usage: read("usage_in_bytes"), Max: read("max_usage_in_bytes"), Failures: read("failcnt")}
}

func newUsage(dir, prefix string) Usage {
	u := Usage{Limit: math.MaxUint64}
	if n, ok := readUint(filepath.Join(dir, prefix+"max")); ok {
		u.Limit = n
	}
	u.Usage, _ = readUint(filepath.Join(dir, prefix+"current"))
	u.Max, _ = readUint(filepath.Join(dir, prefix+"peak"))
	return u
}

func (g *Group) blockDetail(d *Detail) {
	dir, ok := g.Control[blkio]
	if !ok {
		return
	}
	d.Block = map[string][]BlockEntry{}
	if g.isV2(blkio) {
		b, _ := os.ReadFile(filepath.Join(dir, "io.stat"))
		d.Block["ioServiceBytesRecursive"], d.Block["ioServicedRecursive"] = newBlock(string(b))
		return
	}
	for name, files := range map[string][]string{
		// The throttle counts where no scheduler does.
		"ioServiceBytesRecursive": {"blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"},
		"ioServicedRecursive":     {"blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"},
		"ioQueuedRecursive":       {"blkio.bfq.io_queued_recursive", "blkio.io_queued_recursive"},
		"ioServiceTimeRecursive":  {"blkio.bfq.io_service_time_recursive", "blkio.io_service_time_recursive"},
		"ioWaitTimeRecursive":     {"blkio.bfq.io_wait_time_recursive", "blkio.io_wait_time_recursive"},
		"ioMergedRecursive":       {"blkio.bfq.io_merged_recursive", "blkio.io_merged_recursive"},
		"ioTimeRecursive":         {"blkio.bfq.time_recursive", "blkio.time_recursive"},
		"sectorsRecursive":        {"blkio.bfq.sectors_recursive", "blkio.sectors_recursive"},
	} {
		for _, file := range files {
			b, _ := os.ReadFile(filepath.Join(dir, file))
			if e := oldBlock(string(b)); len(e) > 0 {
				d.Block[name] = e
				break
			}
		}
	}
}

// newBlock reads "254:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0".
func newBlock(text string) (bytes, calls []BlockEntry) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		major, minor, ok := deviceOf(f[0])
		if !ok {
			continue
		}
		for _, w := range f[1:] {
			key, val, _ := strings.Cut(w, "=")
			n, err := strconv.ParseUint(val, 10, 64)
			if err != nil {
				continue
			}
			op := map[byte]string{'r': "Read", 'w': "Write", 'd': "Discard"}[key[0]]
			switch strings.TrimLeft(key, "rwd") {
			case "bytes":
				bytes = append(bytes, BlockEntry{major, minor, op, n})
			case "ios":
				calls = append(calls, BlockEntry{major, minor, op, n})
			}
		}
	}
	return bytes, calls
}

// oldBlock reads "254:0 Read 4096" or, where there is one kind only,
// "254:0 4096"; the line "Total" at the end belongs to no device.
func oldBlock(text string) []BlockEntry {
	var out []BlockEntry
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		major, minor, ok := deviceOf(f[0])
		n, err := strconv.ParseUint(f[len(f)-1], 10, 64)
		if !ok || err != nil {
			continue
		}
		e := BlockEntry{Major: major, Minor: minor, Value: n}
		if len(f) > 2 {
			e.Op = f[1]
		}
		out = append(out, e)
	}
	return out
}

func deviceOf(s string) (major, minor uint64, ok bool) {
	a, b, ok := strings.Cut(s, ":")
	major, err := strconv.ParseUint(a, 10, 32)
	minor, err2 := strconv.ParseUint(b, 10, 32)
	return major, minor, ok && err == nil && err2 == nil
}

func (g *Group) hugepages(d *Detail) {
	dir, ok := g.Control[hugetlb]
	if !ok {
		return
	}
	d.Hugepages = map[string]Usage{}
	pattern, cut := "hugetlb.*.usage_in_bytes", ".usage_in_bytes"
	if g.isV2(hugetlb) {
		pattern, cut = "hugetlb.*.current", ".current"
	}
	files, _ := filepath.Glob(filepath.Join(dir, pattern))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), cut)
		size := strings.TrimPrefix(name, "hugetlb.")
		if strings.Contains(size, ".") {
			continue // reservations, hugetlb.2MB.rsvd.current
		}
		if g.isV2(hugetlb) {
			u := newUsage(dir, name+".")
			u.Failures = readPairs(filepath.Join(dir, name+".events"))["max"]
			d.Hugepages[size] = u
		} else {
			d.Hugepages[size] = oldUsage(dir, name+".")
		}
	}
}

// rdmaUse reads "mlx4_0 hca_handle=2 hca_object=2000"; "max" is no limit.
func rdmaUse(dir string) map[string]RDMAUse {
	out := map[string]RDMAUse{}
	for _, file := range []string{"rdma.current", "rdma.max"} {
		b, _ := os.ReadFile(filepath.Join(dir, file))
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) == 0 {
				continue
			}
			u := out[f[0]]
			for _, w := range f[1:] {
				key, val, _ := strings.Cut(w, "=")
				n, err := strconv.ParseUint(val, 10, 64)
				if err != nil {
					n = math.MaxUint32
				}
				switch {
				case key == "hca_handle" && file == "rdma.max":
					u.HandlesMax = n
				case key == "hca_handle":
					u.Handles = n
				case key == "hca_object" && file == "rdma.max":
					u.ObjectsMax = n
				case key == "hca_object":
					u.Objects = n
				}
			}
			out[f[0]] = u
		}
	}
	return out
}

// pressure reads "some avg10=0.00 avg60=0.00 avg300=0.00 total=0" and the same
// for "full".
func pressure(path string) *Pressure {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var p Pressure
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		to := &p.Some
		if f[0] == "full" {
			to = &p.Full
		}
		for _, w := range f[1:] {
			key, val, _ := strings.Cut(w, "=")
			share, _ := strconv.ParseFloat(val, 64)
			switch key {
			case "avg10":
				to.Avg10 = share
			case "avg60":
				to.Avg60 = share
			case "avg300":
				to.Avg300 = share
			case "total":
				to.Total, _ = strconv.ParseUint(val, 10, 64)
			}
		}
	}
	return &p
}

// numbers reads a file of numbers separated by blanks.
func numbers(path string) []uint64 {
	var out []uint64
	for _, w := range words(path) {
		n, err := strconv.ParseUint(w, 10, 64)
		if err != nil {
			return nil
		}
		out = append(out, n)
	}
	return out
}
