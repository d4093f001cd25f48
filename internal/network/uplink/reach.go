package uplink

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// The addresses at the uplink. In IPv4 they are link-local (RFC 3927), which no
// routed network uses. In IPv6 they are of a private network (RFC 4193) whose
// random part is the word berth; link-local ones would need a zone everywhere.

func ownIPv4() netip.Addr  { return netip.AddrFrom4([4]byte{169, 254, 1, 1}) }
func hostIPv4() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 1, 2}) }

func private(n byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: 'b', 2: 'e', 3: 'r', 4: 't', 5: 'h', 15: n})
}

func ownIPv6() netip.Addr  { return private(1) }
func hostIPv6() netip.Addr { return private(2) }

// errForbidden is the answer to packets for addresses that containers must not
// reach.
var errForbidden = errors.New("containers cannot reach this address")

// hostAddresses knows the addresses by which others know the host.
type hostAddresses struct {
	mu     sync.Mutex
	looked time.Time
	v4, v6 netip.Addr
}

// target is where a packet for dst goes on the host. Containers that are told an
// address must not thereby reach what the host keeps for itself: loopback
// addresses, also in their other spellings, and the unspecified address, which
// Linux takes for loopback. Groups and link-local IPv6 addresses mean nothing
// behind a router.
func (h *hostAddresses) target(dst netip.Addr) (netip.Addr, error) {
	dst = dst.Unmap()
	switch dst {
	case hostIPv4(), hostIPv6():
		return h.one(dst.Is4())
	}
	four := dst.Is4() && (dst.As4()[0] == 0 || dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}))
	if four || dst.IsLoopback() || dst.IsUnspecified() || dst.IsMulticast() || dst.Is6() && dst.IsLinkLocalUnicast() {
		return netip.Addr{}, errForbidden
	}
	return dst, nil
}

// one is the host's own address of a family.
func (h *hostAddresses) one(four bool) (netip.Addr, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	// Machines change their address seldom, but laptops do.
	if time.Since(h.looked) > 5*time.Second {
		h.v4 = outward("udp4", netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 9))
		h.v6 = outward("udp6", netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: 1}), 9))
		h.looked = time.Now()
	}
	a := h.v6
	if four {
		a = h.v4
	}
	if !a.IsValid() {
		return a, errForbidden
	}
	return a, nil
}

func (h *hostAddresses) all() []netip.Addr {
	var all []netip.Addr
	for _, four := range []bool{true, false} {
		if a, err := h.one(four); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// outward is the address that the host uses towards others, for which it takes
// its way to an address of the documentation ranges (RFC 5737, RFC 3849):
// connecting a datagram socket sends nothing. Without a default route it is the
// first address of an interface that is up.
func outward(network string, to netip.AddrPort) netip.Addr {
	if c, err := net.DialUDP(network, nil, net.UDPAddrFromAddrPort(to)); err == nil {
		defer c.Close()
		if a := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(); a.IsGlobalUnicast() {
			return a
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addresses {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Is4() == (network == "udp4") && p.Addr().IsGlobalUnicast() {
				return p.Addr()
			}
		}
	}
	return netip.Addr{}
}
