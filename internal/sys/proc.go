package sys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// ErrNoProcess says that no process with the asked identity is alive.
var ErrNoProcess = errors.New("no such process")

// ProcStart returns the start time of a process in clock ticks since boot
// (field 22 of /proc/PID/stat, proc(5)). Together with the pid it names one
// process for ever, because the kernel reuses pids but not start times. A
// zombie counts as gone.
func ProcStart(pid int) (uint64, error) {
	if pid <= 0 {
		return 0, ErrNoProcess
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, ErrNoProcess
	}
	// The command name is in parentheses and may itself hold any byte, so
	// counting starts after the last one.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, fmt.Errorf("cannot parse /proc/%d/stat", pid)
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 20 {
		return 0, fmt.Errorf("cannot parse /proc/%d/stat", pid)
	}
	if f[0][0] == 'Z' || f[0][0] == 'X' {
		return 0, ErrNoProcess
	}
	return strconv.ParseUint(string(f[19]), 10, 64)
}
