package cgroup

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Stats is what a container uses at one moment. What the machine does not
// count for it is zero.
type Stats struct {
	CPU          uint64 // ns of processor time so far
	CPUUser      uint64
	CPUSystem    uint64
	Periods      uint64 // of --cpus, and in how many it was held back
	Throttled    uint64
	ThrottledFor uint64 // ns

	Memory         uint64 // bytes, the page cache included
	MemoryInactive uint64 // the part of it that is cold page cache
	MemoryMax      uint64 // the highest so far
	MemoryLimit    uint64 // 0: none
	MemoryByProc   bool   // the sum of the processes' memory, as nobody counts the group's

	Pids      uint64 // processes and threads
	PidsLimit uint64 // 0: none

	BlockRead, BlockWrite uint64 // bytes
}

// Stats measures the container.
func (g *Group) Stats() Stats {
	var s Stats
	g.cpuStats(&s)
	g.memoryStats(&s)
	if dir, ok := g.Control[pids]; ok {
		s.Pids, _ = readUint(filepath.Join(dir, "pids.current"))
		s.PidsLimit, _ = readUint(filepath.Join(dir, "pids.max"))
	} else {
		s.Pids = g.threads()
	}
	g.blockStats(&s)
	return s
}

func (g *Group) cpuStats(s *Stats) {
	if g.V2 != "" {
		// Version 2 counts time even without the cpu controller.
		m := readPairs(filepath.Join(g.V2, "cpu.stat"))
		s.CPU, s.CPUUser, s.CPUSystem = m["usage_usec"]*1000, m["user_usec"]*1000, m["system_usec"]*1000
		s.Periods, s.Throttled, s.ThrottledFor = m["nr_periods"], m["nr_throttled"], m["throttled_usec"]*1000
	}
	if dir, ok := g.Control[cpu]; ok && !g.isV2(cpu) {
		m := readPairs(filepath.Join(dir, "cpu.stat"))
		s.Periods, s.Throttled, s.ThrottledFor = m["nr_periods"], m["nr_throttled"], m["throttled_time"]
	}
	if s.CPU == 0 {
		for _, pid := range g.Procs() {
			user, system := procTimes(pid)
			s.CPUUser += user
			s.CPUSystem += system
		}
		s.CPU = s.CPUUser + s.CPUSystem
	}
}

func (g *Group) memoryStats(s *Stats) {
	dir, ok := g.Control[memory]
	switch {
	case !ok:
		s.MemoryByProc = true
		for _, pid := range g.Procs() {
			s.Memory += procMemory(pid)
		}
	case g.isV2(memory):
		s.Memory, _ = readUint(filepath.Join(dir, "memory.current"))
		s.MemoryMax, _ = readUint(filepath.Join(dir, "memory.peak"))
		s.MemoryLimit, _ = readUint(filepath.Join(dir, "memory.max"))
		s.MemoryInactive = readPairs(filepath.Join(dir, "memory.stat"))["inactive_file"]
	default:
		s.Memory, _ = readUint(filepath.Join(dir, "memory.usage_in_bytes"))
		s.MemoryMax, _ = readUint(filepath.Join(dir, "memory.max_usage_in_bytes"))
		s.MemoryLimit, _ = readUint(filepath.Join(dir, "memory.limit_in_bytes"))
		if s.MemoryLimit > math.MaxInt64/2 {
			s.MemoryLimit = 0 // version 1 says "none" with its greatest number
		}
		s.MemoryInactive = readPairs(filepath.Join(dir, "memory.stat"))["total_inactive_file"]
	}
}

func (g *Group) threads() uint64 {
	name := "cgroup.threads"
	dir := g.V2
	if dir == "" {
		if len(g.Dirs) == 0 {
			return 0
		}
		dir, name = g.Dirs[0], "tasks"
	}
	return countBelow(dir, name)
}

func countBelow(dir, name string) uint64 {
	n := uint64(len(words(filepath.Join(dir, name))))
	for _, sub := range subgroups(dir) {
		n += countBelow(sub, name)
	}
	return n
}

func (g *Group) blockStats(s *Stats) {
	dir, ok := g.Control[blkio]
	if !ok {
		return
	}
	if g.isV2(blkio) {
		// 254:0 rbytes=4096 wbytes=0 rios=1 …
		for _, w := range words(filepath.Join(dir, "io.stat")) {
			key, val, _ := strings.Cut(w, "=")
			n, _ := strconv.ParseUint(val, 10, 64)
			switch key {
			case "rbytes":
				s.BlockRead += n
			case "wbytes":
				s.BlockWrite += n
			}
		}
		return
	}
	// 254:0 Read 4096
	w := words(filepath.Join(dir, "blkio.throttle.io_service_bytes_recursive"))
	for i := 2; i < len(w); i++ {
		n, _ := strconv.ParseUint(w[i], 10, 64)
		switch w[i-1] {
		case "Read":
			s.BlockRead += n
		case "Write":
			s.BlockWrite += n
		}
	}
}

// procTimes returns a process's time in user and in kernel mode in ns.
func procTimes(pid int) (user, system uint64) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0
	}
	// The name in parentheses may hold anything: count from its end.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 13 {
		return 0, 0
	}
	const perTick = 1e9 / 100 // USER_HZ, the same on all of Linux
	user, _ = strconv.ParseUint(string(f[11]), 10, 64)
	system, _ = strconv.ParseUint(string(f[12]), 10, 64)
	return user * perTick, system * perTick
}

// procMemory returns the memory of a process that no file backs, in bytes.
func procMemory(pid int) uint64 {
	f := words("/proc/" + strconv.Itoa(pid) + "/statm")
	if len(f) < 3 {
		return 0
	}
	resident, _ := strconv.ParseUint(f[1], 10, 64)
	shared, _ := strconv.ParseUint(f[2], 10, 64)
	return (resident - min(shared, resident)) * uint64(os.Getpagesize())
}

// readPairs reads a file with a name and a number on each line.
func readPairs(path string) map[string]uint64 {
	m := map[string]uint64{}
	b, err := os.ReadFile(path)
	if err != nil {
		return m
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) == 2 {
			if n, err := strconv.ParseUint(string(f[1]), 10, 64); err == nil {
				m[string(f[0])] = n
			}
		}
	}
	return m
}

// readUint reads a file that holds one number; "max" is 0.
func readUint(path string) (uint64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
	return n, err == nil
}
