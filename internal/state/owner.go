package state

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// Owner names one process for ever: a pid alone is reused, a pid with its
// start time is not.
type Owner struct {
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
}

// Self returns the calling process.
func Self() Owner {
	o, _ := OwnerOf(os.Getpid())
	return o
}

// OwnerOf returns the process that has pid now.
func OwnerOf(pid int) (Owner, error) {
	start, err := sys.ProcStart(pid)
	return Owner{Pid: pid, Start: start}, err
}

// Alive reports whether that very process still runs. The zero Owner is dead.
func (o Owner) Alive() bool {
	if o.Pid == 0 {
		return false
	}
	start, err := sys.ProcStart(o.Pid)
	return err == nil && start == o.Start
}

// Signal sends a signal to exactly that process, whatever becomes of its number.
// The error is ESRCH when it is gone.
func (o Owner) Signal(s unix.Signal) error {
	if o.Pid <= 0 {
		return unix.ESRCH
	}
	fd, err := unix.PidfdOpen(o.Pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	if !o.Alive() {
		return unix.ESRCH
	}
	if err != nil { // the filter of a container around us forbids it
		return unix.Kill(o.Pid, s)
	}
	return unix.PidfdSendSignal(fd, s, nil, 0)
}

// String returns "pid.start", the form used in names of temporary folders.
func (o Owner) String() string {
	return strconv.Itoa(o.Pid) + "." + strconv.FormatUint(o.Start, 10)
}

// ParseOwner reads what [Owner.String] wrote.
func ParseOwner(s string) (Owner, error) {
	a, b, ok := strings.Cut(s, ".")
	pid, err1 := strconv.Atoi(a)
	start, err2 := strconv.ParseUint(b, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return Owner{}, fmt.Errorf("%q does not name a process", s)
	}
	return Owner{Pid: pid, Start: start}, nil
}
