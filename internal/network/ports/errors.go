package ports

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/listeners"
	"berth/internal/network"
)

// RangeError says that all ports of a range are taken.
type RangeError struct {
	Proto       string
	First, Last uint16
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("all ports are allocated: none of %d-%d/%s is free: name another range, or leave the host's port out for a random one", e.First, e.Last, e.Proto)
}

// explain turns what the kernel says to a bind into what to do. The caller holds
// h.mu.
func (h *Host) explain(err error, owner string, asked network.Port, at netip.AddrPort) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return h.takenError(owner, asked, at)
	case errors.Is(err, unix.EACCES) && at.Port() != 0:
		return privileged(asked, at, unprivilegedStart())
	case errors.Is(err, unix.EADDRNOTAVAIL) && asked.HostIP.IsValid():
		return fmt.Errorf("cannot publish %s: no interface of this host has the address %s: %w", at, at.Addr(), unix.EADDRNOTAVAIL)
	case errors.Is(err, unix.EAFNOSUPPORT) && asked.HostIP.IsValid():
		return fmt.Errorf("cannot publish %s: this host has no IPv6: %w", at, unix.EAFNOSUPPORT)
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return fmt.Errorf("cannot publish %s: too many open files: raise the limit (ulimit -n) or publish fewer ports: %w", at, err)
	}
	return fmt.Errorf("cannot publish %d/%s on %s: %w", asked.Inside, asked.Proto, at, err)
}

func (h *Host) takenError(owner string, asked network.Port, at netip.AddrPort) error {
	list := listeners.List()
	e := &network.TakenError{Proto: asked.Proto, At: at, Inside: asked.Inside}
	from := max(at.Port(), unprivilegedStart()-1)
	if os.Geteuid() == 0 && !inUserNamespace() {
		from = at.Port()
	}
	e.Free = listeners.Free(list, asked.Proto, from)
	for have, c := range h.taken {
		if !overlaps(have, place{asked.Proto, at}) {
			continue
		}
		e.By = "container " + c.owner
		if c.owner == owner {
			e.By = fmt.Sprintf("the same container's port %d", c.inside)
		}
		return e
	}
	if l, ok := listeners.Find(list, asked.Proto, at.Addr(), at.Port()); ok && h.Account != nil {
		e.By = h.Account(l)
	}
	return e
}

// privileged is the error for a port that an ordinary account may not listen on.
func privileged(asked network.Port, at netip.AddrPort, start uint16) error {
	other := at.Port() + 8000
	if other < start {
		other = max(start, 8080)
	}
	return fmt.Errorf("cannot publish port %d: an ordinary account may listen on ports from %d on: use -p %d:%d, or have the administrator run: sysctl -w net.ipv4.ip_unprivileged_port_start=%d: %w",
		at.Port(), start, other, asked.Inside, at.Port(), unix.EACCES)
}

// unprivilegedStart is the first port that needs no CAP_NET_BIND_SERVICE: the
// sysctl of that name (ip(7), Linux 4.11), which counts for IPv6, too.
func unprivilegedStart() uint16 {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	n, perr := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 16)
	if err != nil || perr != nil {
		return 1024
	}
	return uint16(n)
}

// inUserNamespace reports whether this process's root is somebody else outside:
// the first user namespace maps all ids (user_namespaces(7)).
func inUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
}
