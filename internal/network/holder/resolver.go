package holder

import (
	"net/netip"
	"os"
	"slices"

	"berth/internal/network"
	"berth/internal/network/names"
)

const resolvConf = "/etc/resolv.conf" // of the host

// resolver settles how a container finds names. It asks a server of ours, except
// where that would have nothing to say that the host's do not: on root's default
// network, where containers have no names, the host's servers are named to it as
// Docker does, if they are there for it to reach.
func (h *Holder) resolver(m *member) {
	text, _ := os.ReadFile(resolvConf)
	host := network.ParseResolver(text)
	m.settings.Gateway = h.gateway(m)
	in := m.DNS.Embedded(netip.MustParseAddr(names.Address), host)
	if !h.account && len(m.settings.Endpoints) == 1 && m.settings.Endpoints[0].Network == network.Default && !linked(m) {
		servers := m.DNS.Servers
		if len(servers) == 0 {
			servers = host.Servers
		}
		if len(servers) > 0 && !slices.ContainsFunc(servers, unreachable) {
			in.Servers, in.Options = servers, m.DNS.Options
			if len(in.Options) == 0 {
				in.Options = host.Options
			}
		}
	}
	m.settings.DNS = in
}

// linked says that a container has names of its own for others.
func linked(m *member) bool {
	return slices.ContainsFunc(m.Endpoints, func(e network.Endpoint) bool { return len(e.Links) > 0 })
}

// unreachable says that an address means another place in a container.
func unreachable(a netip.Addr) bool { return a.IsLoopback() || a.IsLinkLocalUnicast() || a.Is6() }

// asksUs reports whether a container asks the server in its namespace.
func asksUs(r network.Resolver) bool {
	return slices.Equal(r.Servers, []netip.Addr{netip.MustParseAddr(names.Address)})
}

// gateway is what reaches the host from a container: of root's the bridge that is
// its way out, of an account's what the uplink has for it.
func (h *Holder) gateway(m *member) (all []netip.Addr) {
	if h.account {
		h.making.Lock()
		defer h.making.Unlock()
		if h.uplink != nil {
			all = h.uplink.Host()
		}
		return all
	}
	for _, s := range m.settings.Endpoints[:min(1, len(m.settings.Endpoints))] {
		all = s.Gateways()
	}
	return all
}
