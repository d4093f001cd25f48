package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage is what a pull took.
type usage struct {
	wall   time.Duration
	cpu    time.Duration // user and system, of all its processes, also of those that end later
	memory float64       // MiB: sum of the high-water marks of its processes
	disk   int64         // bytes in blocks, with everything that belongs to the store
}

// tick is the unit of times in /proc: USER_HZ, 100 on every Linux.
const tick = 10 * time.Millisecond

// watch runs a command and looks at it and at the daemons that work for it.
// The processor time of processes that end meanwhile is not lost: they are
// counted in those that waited for them.
func watch(cmd *exec.Cmd, daemons []int) (usage, error) {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	before := cpuOf(tree(daemons))
	mine := waitedFor()
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return usage{}, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	marks := map[int]float64{}
	for {
		select {
		case err := <-done:
			u := usage{wall: time.Since(start)}
			after := tree(daemons)
			mark(marks, after)
			for orphans() {
				time.Sleep(100 * time.Millisecond)
			}
			u.cpu = waitedFor() - mine + cpuOf(tree(daemons)) - before
			for _, m := range marks {
				u.memory += m
			}
			if err != nil {
				err = fmt.Errorf("%v: %w: %s", cmd.Args, err, lastLine(said.Bytes()))
			}
			return u, err
		case <-time.After(100 * time.Millisecond):
			mark(marks, tree(append([]int{cmd.Process.Pid}, daemons...)))
		}
	}
}

// orphans reaps what the command left behind, and reports whether something of
// it still runs: berth brings to disk what it has pulled when nobody waits any
// more. That counts as processor time of the pull.
func orphans() bool {
	var running bool
	b, _ := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
	for _, f := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(f)
		comm, _ := os.ReadFile("/proc/" + f + "/comm")
		if err != nil || !strings.HasPrefix(string(comm), "berth") {
			continue
		}
		if n, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err == nil && n == 0 {
			running = true
		}
	}
	return running
}

// waitedFor returns the time that all processes took that were waited for.
func waitedFor() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// tree returns the processes and their descendants.
func tree(pids []int) []int {
	var all []int
	for _, pid := range pids {
		all = append(all, pid)
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, t := range tasks {
			b, _ := os.ReadFile(t) // one that is gone has none
			for _, f := range strings.Fields(string(b)) {
				if child, err := strconv.Atoi(f); err == nil {
					all = append(all, tree([]int{child})...)
				}
			}
		}
	}
	return all
}

// mark notes the high-water marks of processes, in MiB.
func mark(marks map[int]float64, pids []int) {
	for _, pid := range pids {
		if m := highWater(pid); m > 0 {
			marks[pid] = m
		}
	}
}

func highWater(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, ok := strings.Cut(string(b), "\nVmHWM:")
	if !ok {
		return 0
	}
	line, _, _ := strings.Cut(after, " kB")
	kib, _ := strconv.ParseFloat(strings.TrimSpace(line), 64)
	return kib / 1024
}

// cpuOf returns the time that processes and the ones they have waited for took.
func cpuOf(pids []int) time.Duration {
	var sum time.Duration
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		for _, s := range f[11:15] { // utime, stime, cutime, cstime
			n, _ := strconv.ParseInt(s, 10, 64)
			sum += time.Duration(n) * tick
		}
	}
	return sum
}

// diskUsage returns the size of a folder in blocks, once everything that was
// written has its blocks. Mounts below it are not its own.
func diskUsage(dir string) (int64, error) {
	syscall.Sync()
	out, err := exec.Command("du", "-sx", "--block-size=1", dir).Output()
	if err != nil && len(out) == 0 {
		return 0, err
	}
	return strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
