package networks

import (
	"net"
	"slices"

	api "github.com/moby/moby/api/types/network"

	"berth/internal/network"
	"berth/internal/roster"
)

// Places are the networks of a container in Docker's words, by name: what it
// asks of them, and, while it runs, what it has got.
func (s *Set) Places(r *roster.Record, active bool) map[string]*api.EndpointSettings {
	out := roster.Networks(r)
	for _, n := range s.fixed() {
		if ep := out[n.Name]; ep != nil {
			ep.NetworkID = n.ID
		}
	}
	if !active {
		return out
	}
	got, err := s.Got(r.ID)
	if err != nil || got == nil {
		return out // what cannot be read is not known
	}
	for _, e := range got.Endpoints {
		if ep := out[e.Network]; ep != nil {
			settled(ep, e)
		}
	}
	return out
}

// settled adds what a container has got in a network to what it asked for.
func settled(ep *api.EndpointSettings, e network.Settled) {
	mac, _ := net.ParseMAC(e.MAC)
	ep.NetworkID, ep.EndpointID, ep.MacAddress = e.NetworkID, e.ID, api.HardwareAddr(mac)
	ep.IPAddress, ep.Gateway = e.IPv4.Addr(), e.Gateway4
	ep.GlobalIPv6Address, ep.IPv6Gateway = e.IPv6.Addr(), e.Gateway6
	ep.IPPrefixLen, ep.GlobalIPv6PrefixLen = max(0, e.IPv4.Bits()), max(0, e.IPv6.Bits())
	ep.DNSNames = slices.Clone(e.Names)
}
