package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Interface is what has gone through one network interface.
type Interface struct {
	Name                                    string
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// Net returns the counters of the interfaces that a process sees, its own
// loopback left out. Control groups count no network: a namespace does, and a
// container in the host's shows the host's.
func Net(pid int) ([]Interface, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/net/dev")
	if err != nil {
		return nil, fmt.Errorf("cannot read the network counters of process %d: %w", pid, err)
	}
	return parseNet(string(b))
}

// parseNet reads the table, which has two lines of heading:
//
//	eth0: bytes packets errs drop fifo frame compressed multicast  bytes packets errs drop …
func parseNet(text string) ([]Interface, error) {
	var out []Interface
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		if name = strings.TrimSpace(name); name == "lo" {
			continue
		}
		f := strings.Fields(rest)
		if len(f) < 12 {
			return nil, errors.New("unexpected form of /proc/PID/net/dev")
		}
		i := Interface{Name: name}
		for column, to := range map[int]*uint64{
			0: &i.RxBytes, 1: &i.RxPackets, 2: &i.RxErrors, 3: &i.RxDropped,
			8: &i.TxBytes, 9: &i.TxPackets, 10: &i.TxErrors, 11: &i.TxDropped,
		} {
			n, err := strconv.ParseUint(f[column], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("unexpected form of /proc/PID/net/dev: %w", err)
			}
			*to = n
		}
		out = append(out, i)
	}
	return out, nil
}
