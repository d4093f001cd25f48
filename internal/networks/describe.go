package networks

import (
	"net"
	"slices"

	"github.com/moby/moby/api/types/container"
	api "github.com/moby/moby/api/types/network"

	"berth/internal/network"
	"berth/internal/roster"
)

// Settings is what inspect says of a container's networks: what it asks of
// them, and, while it runs, what it has got.
func (s *Set) Settings(r *roster.Record, active bool) *container.NetworkSettings {
	out := &container.NetworkSettings{Ports: api.PortMap{}, Networks: s.Places(r, active)}
	return out
}

// Places are the networks of a container in Docker's words, by name.
func (s *Set) Places(r *roster.Record, active bool) map[string]*api.EndpointSettings {
	mode := r.HostConfig.NetworkMode
	switch {
	case mode.IsContainer():
		return map[string]*api.EndpointSettings{}
	case mode.IsHost(), mode.IsNone():
		out := &api.EndpointSettings{}
		for _, n := range s.fixed() {
			if n.Name == string(mode) {
				out.NetworkID = n.ID
			}
		}
		return map[string]*api.EndpointSettings{string(mode): out}
	}
	var got *network.Settings
	if active {
		got, _ = s.Got(r.ID) // what cannot be read is not known
	}
	out := s.places(r)
	for name, ep := range out {
		if got == nil {
			continue
		}
		for _, e := range got.Endpoints {
			if e.Network == name {
				settled(ep, e)
			}
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
