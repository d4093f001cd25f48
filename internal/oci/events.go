package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/cgroup"
)

func eventsVerb() *verb {
	interval, once := 5*time.Second, false
	v := &verb{name: "events", words: "<container-id>", min: 1, max: 1, help: "print what a container uses, and when it runs out of memory"}
	v.options.duration(&interval, "interval", "TIME", "how often to measure (default: 5s)")
	v.options.toggle(&once, "stats", "measure once")
	v.run = func(a *app, words []string) error {
		c, err := a.load(words[0])
		if err != nil {
			return err
		}
		if interval <= 0 {
			return fmt.Errorf("duration interval must be greater than 0")
		}
		if c.status() == specs.StateStopped {
			return fmt.Errorf("container with id %s is not running", c.ID)
		}
		if once {
			return a.event(event{Type: "stats", ID: c.ID, Data: measure(c)})
		}
		return a.watch(c, interval)
	}
	return v
}

// event is a line of output, as containerd's package go-runc reads it.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

func (a *app) event(e event) error { return json.NewEncoder(a.Stdout).Encode(e) }

// forever is longer than any container lives.
const forever = 100 * 365 * 24 * time.Hour

// watch measures until the container ends.
func (a *app) watch(c *container, interval time.Duration) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var oom <-chan uint64
	if c.Group != nil {
		var err error
		if oom, err = c.Group.WatchOOM(ctx); err != nil {
			a.log.warningf("shortage of memory will not be seen: %v", err)
		}
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	ended := make(chan struct{})
	go func() { c.gone(forever); close(ended) }()
	for {
		select {
		case <-ended:
			return nil
		case _, ok := <-oom:
			if !ok {
				oom = nil
				continue
			}
			if err := a.event(event{Type: "oom", ID: c.ID}); err != nil {
				return err
			}
		case <-tick.C:
			if err := a.event(event{Type: "stats", ID: c.ID, Data: measure(c)}); err != nil {
				return err
			}
		}
	}
}

// The types below are the form in which runc prints what a container uses.

type stats struct {
	CPU        cpuStats           `json:"cpu"`
	CPUSet     cpusetStats        `json:"cpuset"`
	Memory     memoryStats        `json:"memory"`
	Pids       pidStats           `json:"pids"`
	Blkio      map[string][]blkio `json:"blkio"`
	Hugetlb    map[string]hugetlb `json:"hugetlb"`
	IntelRdt   struct{}           `json:"intel_rdt"`
	Interfaces []netInterface     `json:"network_interfaces"`
}

type cpuStats struct {
	Usage struct {
		Total        uint64   `json:"total,omitempty"`
		Percpu       []uint64 `json:"percpu,omitempty"`
		PercpuKernel []uint64 `json:"percpu_kernel,omitempty"`
		PercpuUser   []uint64 `json:"percpu_user,omitempty"`
		Kernel       uint64   `json:"kernel"`
		User         uint64   `json:"user"`
	} `json:"usage"`
	Throttling struct {
		Periods          uint64 `json:"periods,omitempty"`
		ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
		ThrottledTime    uint64 `json:"throttledTime,omitempty"`
	} `json:"throttling"`
	PSI *psi `json:"psi,omitempty"`
}

type cpusetStats struct {
	CPUs                  []uint16 `json:"cpus,omitempty"`
	CPUExclusive          uint64   `json:"cpu_exclusive"`
	Mems                  []uint16 `json:"mems,omitempty"`
	MemHardwall           uint64   `json:"mem_hardwall"`
	MemExclusive          uint64   `json:"mem_exclusive"`
	MemoryMigrate         uint64   `json:"memory_migrate"`
	MemorySpreadPage      uint64   `json:"memory_spread_page"`
	MemorySpreadSlab      uint64   `json:"memory_spread_slab"`
	MemoryPressure        uint64   `json:"memory_pressure"`
	SchedLoadBalance      uint64   `json:"sched_load_balance"`
	SchedRelaxDomainLevel int64    `json:"sched_relax_domain_level"`
}

type memoryStats struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     memoryUse         `json:"usage"`
	Swap      memoryUse         `json:"swap"`
	Kernel    memoryUse         `json:"kernel"`
	KernelTCP memoryUse         `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
	PSI       *psi              `json:"psi,omitempty"`
}

type memoryUse struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type pidStats struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

type blkio struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

type hugetlb struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type netInterface struct {
	Name      string `json:"name"`
	RxBytes   uint64 `json:"rx_bytes"`
	RxPackets uint64 `json:"rx_packets"`
	RxErrors  uint64 `json:"rx_errors"`
	RxDropped uint64 `json:"rx_dropped"`
	TxBytes   uint64 `json:"tx_bytes"`
	TxPackets uint64 `json:"tx_packets"`
	TxErrors  uint64 `json:"tx_errors"`
	TxDropped uint64 `json:"tx_dropped"`
}

type psi struct {
	Some psiLine `json:"some"`
	Full psiLine `json:"full"`
}

type psiLine struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}

// measure asks the kernel what the container uses.
func measure(c *container) *stats {
	s := &stats{Blkio: map[string][]blkio{}, Hugetlb: map[string]hugetlb{}}
	if c.Group != nil {
		d := c.Group.Detail()
		s.fillCPU(&d)
		s.fillMemory(&d)
		s.Pids = pidStats{Current: d.Pids, Limit: d.PidsLimit}
		for name, entries := range d.Block {
			for _, e := range entries {
				s.Blkio[name] = append(s.Blkio[name], blkio(e))
			}
		}
		for size, u := range d.Hugepages {
			s.Hugetlb[size] = hugetlb{Usage: u.Usage, Max: u.Max, Failcnt: u.Failures}
		}
	}
	if c.Namespaces&unix.CLONE_NEWNET != 0 { // the host's interfaces are not the container's
		interfaces, err := cgroup.Net(c.Init.Pid)
		if err == nil {
			for _, i := range interfaces {
				s.Interfaces = append(s.Interfaces, netInterface(i))
			}
		}
	}
	return s
}

func (s *stats) fillCPU(d *cgroup.Detail) {
	u, t := &s.CPU.Usage, &s.CPU.Throttling
	u.Total, u.Percpu, u.PercpuKernel, u.PercpuUser, u.Kernel, u.User = d.CPU, d.CPUs, d.CPUsSystem, d.CPUsUser, d.CPUSystem, d.CPUUser
	t.Periods, t.ThrottledPeriods, t.ThrottledTime = d.Periods, d.Throttled, d.ThrottledFor
	s.CPU.PSI = pressure(d.CPUPressure)
	c := &s.CPUSet
	c.CPUs, c.Mems = numbers(d.Cpuset["cpus"]), numbers(d.Cpuset["mems"])
	for name, to := range map[string]*uint64{
		"cpu_exclusive": &c.CPUExclusive, "mem_hardwall": &c.MemHardwall, "mem_exclusive": &c.MemExclusive,
		"memory_migrate": &c.MemoryMigrate, "memory_spread_page": &c.MemorySpreadPage, "memory_spread_slab": &c.MemorySpreadSlab,
		"memory_pressure": &c.MemoryPressure, "sched_load_balance": &c.SchedLoadBalance,
	} {
		*to, _ = strconv.ParseUint(strings.TrimSpace(d.Cpuset[name]), 10, 64)
	}
	c.SchedRelaxDomainLevel, _ = strconv.ParseInt(strings.TrimSpace(d.Cpuset["sched_relax_domain_level"]), 10, 64)
}

func (s *stats) fillMemory(d *cgroup.Detail) {
	use := func(u cgroup.Usage) memoryUse {
		return memoryUse{Limit: u.Limit, Usage: u.Usage, Max: u.Max, Failcnt: u.Failures}
	}
	s.Memory = memoryStats{
		Cache: d.Cache, Usage: use(d.MemoryUse), Swap: use(d.Swap), Kernel: use(d.KernelMemory), KernelTCP: use(d.KernelTCPUse),
		Raw: d.MemoryStat, PSI: pressure(d.MemoryPressure),
	}
}

func pressure(p *cgroup.Pressure) *psi {
	if p == nil {
		return nil
	}
	return &psi{Some: psiLine(p.Some), Full: psiLine(p.Full)}
}

// numbers reads a list such as "0-2,7".
func numbers(list string) []uint16 {
	var out []uint16
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			continue
		}
		b := a
		if isRange {
			if b, err = strconv.ParseUint(last, 10, 16); err != nil {
				continue
			}
		}
		for ; a <= b; a++ {
			out = append(out, uint16(a))
		}
	}
	return out
}
