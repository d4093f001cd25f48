package hello

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func (l look) cpus() []string {
	n := 0
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err == nil {
		n = set.Count()
	}
	line := fmt.Sprintf("%d may be used", n)
	if n == 0 {
		line = "unknown"
	}
	if limit := l.cpuLimit(); limit > 0 {
		line += fmt.Sprintf(", for the time of %.4g", limit)
	} else {
		line += ", no limit of time"
	}
	return []string{line}
}

func (l look) memory() []string {
	total := l.memTotal()
	limit := l.memoryLimit()
	switch {
	case limit > 0 && (total == 0 || limit < total):
		line := "limited to " + bytesText(limit)
		if total > 0 {
			line += " of the machine's " + bytesText(total)
		}
		return []string{line}
	case total > 0:
		return []string{"no limit, the machine has " + bytesText(total)}
	}
	return []string{"unknown"}
}

func (l look) memTotal() uint64 {
	text, _ := l.read("proc/meminfo")
	var kib uint64
	if _, err := fmt.Sscanf(text, "MemTotal: %d kB", &kib); err != nil {
		return 0
	}
	return kib << 10
}

func bytesText(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.4g GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}

// groups returns the folders of the control group this process is in and of
// those around it, as far as they are in sight, for a controller of version 1
// or, without one, for version 2. Each group can only narrow what the one
// around it allows.
func (l look) groups(controller string) []string {
	text, _ := l.read("proc/self/cgroup")
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		mount := ""
		switch {
		case controller == "" && f[0] == "0" && f[1] == "":
			mount = "sys/fs/cgroup"
		case controller != "" && slices.Contains(strings.Split(f[1], ","), controller):
			mount = "sys/fs/cgroup/" + controller
		default:
			continue
		}
		dirs := []string{mount}
		for p := path.Clean("/" + f[2]); p != "/"; p = path.Dir(p) {
			dirs = append(dirs, mount+p)
		}
		return dirs
	}
	return nil
}

// cpuLimit returns how many processors' time may be used, 0 for no limit.
func (l look) cpuLimit() float64 {
	limit := 0.0
	narrow := func(quota, period string) {
		q, err1 := strconv.ParseFloat(quota, 64)
		p, err2 := strconv.ParseFloat(period, 64)
		if err1 == nil && err2 == nil && q > 0 && p > 0 && (limit == 0 || q/p < limit) {
			limit = q / p
		}
	}
	for _, dir := range l.groups("") {
		text, _ := l.read(dir + "/cpu.max")
		quota, period, _ := strings.Cut(text, " ")
		narrow(quota, period)
	}
	for _, dir := range l.groups("cpu") {
		quota, _ := l.read(dir + "/cpu.cfs_quota_us")
		period, _ := l.read(dir + "/cpu.cfs_period_us")
		narrow(quota, period)
	}
	return limit
}

// memoryLimit returns the bytes of memory that may be used, 0 for no limit.
func (l look) memoryLimit() uint64 {
	var limit uint64
	narrow := func(text string) {
		if n, err := strconv.ParseUint(text, 10, 64); err == nil && (limit == 0 || n < limit) {
			limit = n
		}
	}
	for _, dir := range l.groups("") {
		text, _ := l.read(dir + "/memory.max")
		narrow(text)
	}
	for _, dir := range l.groups("memory") {
		text, _ := l.read(dir + "/memory.limit_in_bytes")
		narrow(text)
	}
	return limit
}
