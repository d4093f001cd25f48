package network

import (
	"fmt"
	"net/netip"
)

// TakenError says that a port of the host is somebody else's.
type TakenError struct {
	Proto  string         `json:"proto"`
	At     netip.AddrPort `json:"at"`
	By     string         `json:"by,omitempty"`   // who has it, for people; empty: nobody has told
	Inside uint16         `json:"inside"`         // the container's port that was to be there
	Free   uint16         `json:"free,omitempty"` // a port of the host that is free
}

func (e *TakenError) Error() string {
	text := fmt.Sprintf("Bind for %s failed: port is already allocated", e.At)
	if e.By != "" {
		text += ": " + e.By + " listens there"
	}
	if e.Free != 0 {
		suffix := ""
		if e.Proto != "tcp" {
			suffix = "/" + e.Proto
		}
		text += fmt.Sprintf("; %d is free: use -p %d:%d%s", e.Free, e.Free, e.Inside, suffix)
	}
	return text
}
