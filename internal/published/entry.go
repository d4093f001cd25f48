package published

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"berth/internal/state"
)

// Entry is what others may know of a container that runs.
type Entry struct {
	V     int         `json:"v"`
	ID    string      `json:"id"`
	Name  string      `json:"name"`
	Image string      `json:"image"`
	Since time.Time   `json:"since"`
	GPUs  string      `json:"gpus,omitempty"`
	Ports []Port      `json:"ports,omitempty"`
	Shim  state.Owner `json:"shim"` // it runs as long as this does
}

// Port is a port of the machine that leads to a container's.
type Port struct {
	Proto  string `json:"proto"` // tcp, udp
	Public uint16 `json:"public"`
	Inside uint16 `json:"inside"`
}

// Listed is an entry with the account that has published it.
type Listed struct {
	Entry
	UID int `json:"-"`
}

// MaxPorts is how many ports an entry may have; one with more is not shown.
const MaxPorts = 64

// Bounds of what is read of anybody's.
const (
	maxFile    = 16 << 10 // bytes
	maxText    = 256      // bytes of a name
	maxEntries = 4096     // of one account
	maxFolders = 16       // of one account in a place
)

// clean makes an entry fit to be shown, or reports that it makes no sense.
func (e *Entry) clean() bool {
	if e.V != 1 || len(e.ID) != 64 || strings.Trim(e.ID, "0123456789abcdef") != "" || len(e.Ports) > MaxPorts {
		return false
	}
	for _, text := range []*string{&e.Name, &e.Image, &e.GPUs} {
		*text = cleanText(*text)
	}
	for _, p := range e.Ports {
		if p.Proto != "tcp" && p.Proto != "udp" && p.Proto != "sctp" {
			return false
		}
	}
	return e.Name != "" && e.Since.Year() >= 1970 && e.Since.Year() < 10000
}

// cleanText replaces what a terminal could take for a command or a reader for
// another line.
func cleanText(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
	for len(s) > maxText {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// runs reports whether the process that an entry names runs and belongs to the
// account.
func runs(o state.Owner, uid int) bool {
	if o.Pid <= 0 {
		return false
	}
	info, err := os.Stat("/proc/" + strconv.Itoa(o.Pid))
	if errors.Is(err, os.ErrNotExist) {
		// Mounted with hidepid, /proc has no folder for others' processes;
		// only kill(2) tells those from none.
		return unix.Kill(o.Pid, 0) == unix.EPERM
	}
	if err != nil {
		return false
	}
	owner, ok := ownerOf(info)
	return ok && owner == uid && o.Alive()
}
