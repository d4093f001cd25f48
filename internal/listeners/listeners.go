// Package listeners tells who listens on the ports of this machine, as the
// kernel says in /proc/net (proc(5)). The accounts are the kernel's word, not
// that of whoever listens.
package listeners

import (
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Listener is a socket that takes what comes to a port.
type Listener struct {
	Proto string // tcp, udp
	Addr  netip.Addr
	Port  uint16
	UID   int
}

// The states of sockets to which anybody may send, in hexadecimal as in
// /proc/net: TCP_LISTEN, and TCP_CLOSE, which is what an unconnected UDP socket
// is in (include/net/tcp_states.h).
const (
	tcpListen = "0A"
	udpBound  = "07"
)

// List returns the listeners in this process's network namespace. What cannot
// be read is not there: a kernel without IPv6 has no tcp6.
func List() []Listener {
	var out []Listener
	for _, t := range []struct{ file, proto, state string }{
		{"tcp", "tcp", tcpListen}, {"tcp6", "tcp", tcpListen}, {"udp", "udp", udpBound}, {"udp6", "udp", udpBound},
	} {
		if b, err := os.ReadFile("/proc/net/" + t.file); err == nil {
			out = append(out, parse(string(b), t.proto, t.state)...)
		}
	}
	return out
}

// parse reads a table: "sl local_address rem_address st … uid …".
func parse(table, proto, state string) []Listener {
	var out []Listener
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 8 || f[3] != state {
			continue
		}
		address, port, ok := strings.Cut(f[1], ":")
		addr, err := parseAddr(address)
		n, perr := strconv.ParseUint(port, 16, 16)
		uid, uerr := strconv.Atoi(f[7])
		if ok && err == nil && perr == nil && uerr == nil {
			out = append(out, Listener{Proto: proto, Addr: addr, Port: uint16(n), UID: uid})
		}
	}
	return out
}

// parseAddr reads an address, which is printed as numbers of 32 bits in the
// machine's order: little-endian on all that berth runs on.
func parseAddr(text string) (netip.Addr, error) {
	b, err := hex.DecodeString(text)
	if err != nil {
		return netip.Addr{}, err
	}
	for i := 0; i+4 <= len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	addr, ok := netip.AddrFromSlice(b)
	if !ok {
		return addr, strconv.ErrSyntax
	}
	return addr.Unmap(), nil
}

// Find returns who listens where a program that binds addr and port could not;
// an invalid addr stands for all addresses.
func Find(list []Listener, proto string, addr netip.Addr, port uint16) (Listener, bool) {
	for _, l := range list {
		all := !addr.IsValid() || addr.IsUnspecified() || l.Addr.IsUnspecified()
		if l.Proto == proto && l.Port == port && (all || l.Addr == addr.Unmap()) {
			return l, true
		}
	}
	return Listener{}, false
}

// Free returns the next port after one on which nobody listens, or 0.
func Free(list []Listener, proto string, after uint16) uint16 {
	for port := int(after) + 1; port < 1<<16; port++ {
		if _, taken := Find(list, proto, netip.Addr{}, uint16(port)); !taken {
			return uint16(port)
		}
	}
	return 0
}
