package networks

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	api "github.com/moby/moby/api/types/network"

	"berth/internal/errdef"
	"berth/internal/network"
	"berth/internal/roster"
)

// Settle checks what a new container asks of its networks, puts names in place
// of IDs, and returns its places in them, for its record; none for a container
// with the network of the host, of another container, or without any.
func (s *Set) Settle(hc *container.HostConfig, asked *api.NetworkingConfig) (map[string]*api.EndpointSettings, error) {
	var want map[string]*api.EndpointSettings
	if asked != nil {
		want = asked.EndpointsConfig
	}
	mode := cmp.Or(string(hc.NetworkMode), "default")
	for _, l := range hc.Links {
		target, _, _ := strings.Cut(l, ":")
		if _, err := s.Roster.Find(target); err != nil {
			return nil, fmt.Errorf("could not get container for %s: %w", target, err)
		}
	}
	if hc.NetworkMode.IsHost() || hc.NetworkMode.IsNone() || hc.NetworkMode.IsContainer() {
		for name, ep := range want {
			if err := checkPlaceless(mode, name, ep); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	if mode == "default" && (len(want) == 0 || len(want) == 1 && asksNothing(want[mode])) {
		return nil, nil // which network that is, its start finds out
	}
	out := map[string]*api.EndpointSettings{}
	if _, ok := want[mode]; !ok {
		want = maps.Clone(want)
		if want == nil {
			want = map[string]*api.EndpointSettings{}
		}
		want[mode] = nil
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		n, ep, err := s.settle(name, want[name])
		if err != nil {
			return nil, err
		}
		if out[n.Name] != nil {
			return nil, refusal(errdef.ErrInvalid, "network %q is specified multiple times", n.Name)
		}
		if out[n.Name] = ep; name == mode && mode != "default" {
			hc.NetworkMode = container.NetworkMode(n.Name)
		}
	}
	return out, nil
}

func asksNothing(ep *api.EndpointSettings) bool {
	return ep == nil || ep.IPAMConfig == nil && len(ep.MacAddress)+len(ep.Aliases)+len(ep.Links)+len(ep.DriverOpts) == 0 && ep.GwPriority == 0
}

// checkPlaceless refuses what a container without a place of its own in a
// network cannot have.
func checkPlaceless(mode, name string, ep *api.EndpointSettings) error {
	if name != mode {
		return refusal(errdef.ErrInvalid, "conflicting options: cannot attach both user-defined and non-user-defined network-modes")
	}
	switch kind, _, _ := strings.Cut(mode, ":"); {
	case ep == nil:
	case len(ep.MacAddress) > 0:
		return refusal(errdef.ErrInvalid, "conflicting options: mac-address and the network mode")
	case hasAddress(ep):
		return refusal(errdef.ErrInvalid, "invalid config for network %s: invalid endpoint settings: user specified IP address is supported on user defined networks only", kind)
	case len(ep.Aliases) > 0:
		return refusal(errdef.ErrInvalid, "invalid config for network %s: invalid endpoint settings: network-scoped alias is supported only for containers in user defined networks", kind)
	}
	return nil
}

func hasAddress(ep *api.EndpointSettings) bool {
	return ep.IPAMConfig != nil && (ep.IPAMConfig.IPv4Address.IsValid() || ep.IPAMConfig.IPv6Address.IsValid())
}

// settle checks one place in one network, and returns it as a record has it:
// what was asked, and which network that is.
func (s *Set) settle(name string, asked *api.EndpointSettings) (network.Network, *api.EndpointSettings, error) {
	find := name
	if name == "default" {
		find = Bridge
	}
	n, err := s.Find(find)
	if err != nil {
		return n, nil, err
	}
	if n.Driver == network.Host || n.Driver == network.None {
		return n, nil, refusal(errdef.ErrInvalid, "conflicting options: cannot attach both user-defined and non-user-defined network-modes")
	}
	ep := &api.EndpointSettings{NetworkID: n.ID}
	if asked != nil {
		ep.IPAMConfig, ep.Links, ep.Aliases = asked.IPAMConfig.Copy(), slices.Clone(asked.Links), slices.Clone(asked.Aliases)
		ep.DriverOpts, ep.GwPriority, ep.MacAddress = maps.Clone(asked.DriverOpts), asked.GwPriority, slices.Clone(asked.MacAddress)
	}
	if err := s.checkEndpoint(n, ep); err != nil {
		return n, nil, fmt.Errorf("invalid config for network %s: invalid endpoint settings: %w", n.Name, err)
	}
	return n, ep, nil
}

func (s *Set) checkEndpoint(n network.Network, ep *api.EndpointSettings) error {
	if n.Name == Bridge {
		if hasAddress(ep) {
			return refusal(errdef.ErrInvalid, "user specified IP address is supported on user defined networks only")
		}
		if len(ep.Aliases) > 0 {
			return refusal(errdef.ErrInvalid, "network-scoped alias is supported only for containers in user defined networks")
		}
	}
	if ip := ep.IPAMConfig; ip != nil {
		for _, a := range []struct {
			addr netip.Addr
			v6   bool
		}{{ip.IPv4Address, false}, {ip.IPv6Address, true}} {
			if err := checkAddress(n, a.addr, a.v6); err != nil {
				return err
			}
		}
		if len(ip.LinkLocalIPs) > 0 {
			return refusal(errdef.ErrNotSupported, "link-local addresses are not supported by this berth: give the container an address of the network with --ip or --ip6")
		}
	}
	if err := checkMAC(ep.MacAddress); err != nil {
		return err
	}
	for key, v := range ep.DriverOpts {
		if key != OptEndpointName {
			return refusal(errdef.ErrNotSupported, "unknown driver option %q: there is %s", key, OptEndpointName)
		}
		if err := checkInterface(v); err != nil {
			return err
		}
	}
	for _, l := range ep.Links {
		target, _, _ := strings.Cut(l, ":")
		if _, err := s.Roster.Find(target); err != nil {
			return fmt.Errorf("could not get container for %s: %w", target, err)
		}
	}
	for _, a := range ep.Aliases {
		if a == "" || strings.ContainsAny(a, " \t\n/:") || len(a) > 253 {
			return refusal(errdef.ErrInvalid, "%q cannot be the name of a host", a)
		}
	}
	return nil
}

// checkAddress accepts an address of a family that a person has chosen for a
// container.
func checkAddress(n network.Network, a netip.Addr, v6 bool) error {
	if !a.IsValid() {
		return nil
	}
	if a.Is6() != v6 || a.Is4In6() {
		return refusal(errdef.ErrInvalid, "invalid %s address: %s", family(v6), a)
	}
	asked := false
	for _, sub := range n.Subnets {
		asked = asked || sub.Asked
		if sub.Asked && sub.Prefix.Contains(a) {
			if a == sub.Gateway {
				return refusal(errdef.ErrConflict, "Address already in use: %s is the gateway", a)
			}
			return nil
		}
	}
	if !asked {
		return refusal(errdef.ErrInvalid, "user specified IP address is supported only when connecting to networks with user configured subnets")
	}
	return refusal(errdef.ErrInvalid, "no configured subnet or ip-range contain the IP address %s", a)
}

// checkMAC refuses what no interface can be called: six bytes, and not the bit
// of a group of them (IEEE 802, the lowest one of the first byte).
func checkMAC(mac api.HardwareAddr) error {
	if len(mac) == 0 || len(mac) == 6 && mac[0]&1 == 0 && !slices.Equal(mac, make(api.HardwareAddr, 6)) {
		return nil
	}
	return refusal(errdef.ErrInvalid, "invalid MAC address: %s is not that of one interface (use one that begins with 02:42)", mac)
}

// Endpoints is what a container asks of its networks, the one with its default
// route first; nil if it has no place of its own in any. [Set.Hold] must be held
// until the container's network.json is written.
func (s *Set) Endpoints(r *roster.Record) ([]network.Endpoint, error) {
	mode := r.HostConfig.NetworkMode
	if mode.IsHost() || mode.IsNone() || mode.IsContainer() {
		return nil, nil
	}
	places := places(r)
	first := string(mode)
	if first == "" || first == "default" {
		first = Bridge
	}
	// The network of --network is eth0, the others follow by name, as in Docker.
	names := slices.SortedFunc(maps.Keys(places), func(a, b string) int {
		return cmp.Or(-compareBool(a == first, b == first), strings.Compare(a, b))
	})
	out := []network.Endpoint{} // not nil: one that was taken out of all has a namespace, too
	used := map[string]int{}
	for _, name := range names {
		n, err := s.named(places[name].NetworkID, name)
		if err != nil {
			return nil, err
		}
		ep, err := s.endpoint(r, n, places[name])
		if err != nil {
			return nil, err
		}
		if ep.Interface == "" {
			prefix := cmp.Or(n.Options[OptPrefix], "eth")
			ep.Interface = fmt.Sprint(prefix, used[prefix])
			used[prefix]++
		}
		out = append(out, ep)
	}
	slices.SortStableFunc(out, network.ByWayOut)
	return out, nil
}

// compareBool puts false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// named finds the network of a container's record: by its ID, or, after it was
// made anew, by its name.
func (s *Set) named(id, name string) (network.Network, error) {
	if isID(id) {
		if n, err := s.read(id); err == nil {
			return n, nil
		}
	}
	n, err := s.Find(name)
	if err == nil && n.Name != name {
		return n, noNetwork(name)
	}
	return n, err
}

// endpoint completes a container's place in a network.
func (s *Set) endpoint(r *roster.Record, n network.Network, ep *api.EndpointSettings) (network.Endpoint, error) {
	out := network.Endpoint{
		Network: n, Aliases: ep.Aliases, Options: ep.DriverOpts, GwPriority: ep.GwPriority, Interface: ep.DriverOpts[OptEndpointName],
	}
	if len(ep.MacAddress) > 0 {
		out.MAC = ep.MacAddress.String()
	}
	if ep.IPAMConfig != nil {
		out.IPv4, out.IPv6 = ep.IPAMConfig.IPv4Address, ep.IPAMConfig.IPv6Address
	}
	links := ep.Links
	if n.Name == Bridge {
		links = r.HostConfig.Links
	}
	for _, l := range links {
		id, alias, err := s.link(l, n.Name == Bridge)
		if err != nil {
			return out, err
		}
		if out.Links == nil {
			out.Links = map[string]string{}
		}
		out.Links[alias] = id
	}
	return out, nil
}

// link finds the container that NAME:ALIAS names. On the default network it has
// to run, because what is written of it into /etc/hosts is its address.
func (s *Set) link(text string, running bool) (id, alias string, err error) {
	target, alias, ok := strings.Cut(text, ":")
	if !ok {
		alias = strings.TrimPrefix(target, "/")
	}
	if i := strings.LastIndexByte(alias, '/'); i >= 0 {
		alias = alias[i+1:]
	}
	if id, err = s.Roster.Find(target); err != nil {
		return "", "", fmt.Errorf("could not get container for %s: %w", target, err)
	}
	if !running {
		return id, alias, nil
	}
	_, st, err := s.Roster.Load(id)
	if err != nil {
		return "", "", err
	}
	if !roster.Active(st) {
		return "", "", refusal(errdef.ErrNotRunning, "Cannot link to a non running container: %s AS %s: start it first", target, alias)
	}
	return id, alias, nil
}
