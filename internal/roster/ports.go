package roster

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	api "github.com/moby/moby/api/types/network"

	"berth/internal/errdef"
	"berth/internal/network"
	"berth/internal/shim"
	"berth/internal/state"
)

// AskedPorts is what a container wants to have published: what -p says, and with
// -P every port that it exposes besides, on a random one of the host.
func AskedPorts(c *container.Config, hc *container.HostConfig) ([]network.Port, error) {
	var out []network.Port
	for port, bindings := range hc.PortBindings {
		for _, b := range bindings {
			first, last, err := hostPorts(b.HostPort)
			if err != nil {
				return nil, &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf("invalid port specification: %q for %s: %v", b.HostPort, port, err)}
			}
			out = append(out, network.Port{Proto: string(port.Proto()), Inside: port.Num(), HostIP: b.HostIP.Unmap(), HostPort: first, HostEnd: last})
		}
	}
	if hc.PublishAllPorts {
		for port := range c.ExposedPorts {
			if len(hc.PortBindings[port]) == 0 {
				out = append(out, network.Port{Proto: string(port.Proto()), Inside: port.Num(), Automatic: true})
			}
		}
	}
	for _, p := range out {
		if p.Inside == 0 {
			return nil, &errdef.Error{Kind: errdef.ErrInvalid, Text: "invalid port specification: 0/" + p.Proto + ": a container's port is a number from 1 to 65535"}
		}
	}
	slices.SortStableFunc(out, func(a, b network.Port) int {
		return cmp.Or(cmp.Compare(a.Inside, b.Inside), strings.Compare(a.Proto, b.Proto))
	})
	return out, nil
}

// hostPorts reads the HostPort of a binding: nothing, N, or N-M for any of them.
func hostPorts(s string) (first, last uint16, err error) {
	if s == "" {
		return 0, 0, nil
	}
	a, b, isRange := strings.Cut(s, "-")
	n, err := strconv.ParseUint(a, 10, 16)
	if err != nil || !isRange {
		return uint16(n), 0, err
	}
	m, err := strconv.ParseUint(b, 10, 16)
	if err == nil && (m < n || n == 0) {
		err = errors.New("the range has no first port")
	}
	return uint16(n), uint16(m), err
}

// NetworkSettings reads what a container has got of its networks, while it
// runs; nil: nothing, as with the network of the host.
func (s *Set) NetworkSettings(id string, st shim.Status) *network.Settings {
	if !Active(st) {
		return nil // what is written is left from before
	}
	got := new(network.Settings)
	err := state.ReadJSON(s.Path(id, network.SettingsFile), got)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return &network.Settings{} // not known
		}
		return nil
	}
	return got
}

// HostPorts are the ports of the host that lead to a container which runs, got
// being its NetworkSettings. Without any it uses the host's network, where a port
// that keeps its number is published by itself.
func HostPorts(r *Record, got *network.Settings) []network.Port {
	if got != nil {
		return got.Ports
	}
	if mode := r.HostConfig.NetworkMode; mode.IsHost() || mode.IsNone() || mode.IsContainer() {
		return nil
	}
	asked, err := AskedPorts(r.Config, r.HostConfig)
	if err != nil {
		return nil // a record that would be refused today
	}
	var out []network.Port
	for _, p := range asked {
		if p.Automatic {
			continue
		}
		p.HostPort, p.HostEnd = p.Inside, 0
		if !p.HostIP.IsValid() {
			p.HostIP = netip.IPv4Unspecified()
		}
		out = append(out, p)
	}
	return out
}

// Ports are the PORTS of `ps`.
func Ports(en Entry, got *network.Settings) []container.PortSummary {
	if !Active(en.Status) || en.HostConfig.NetworkMode.IsHost() {
		return nil
	}
	var out []container.PortSummary
	seen := map[api.Port]bool{}
	for _, p := range HostPorts(en.Record, got) {
		if port, ok := api.PortFrom(p.Inside, api.IPProtocol(p.Proto)); ok {
			seen[port] = true
		}
		out = append(out, container.PortSummary{IP: p.HostIP, PrivatePort: p.Inside, PublicPort: p.HostPort, Type: p.Proto})
	}
	for p := range en.Config.ExposedPorts {
		if !seen[p] {
			out = append(out, container.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
		}
	}
	slices.SortFunc(out, func(a, b container.PortSummary) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), strings.Compare(a.Type, b.Type), a.IP.Compare(b.IP), cmp.Compare(a.PublicPort, b.PublicPort))
	})
	return out
}

// PortMap is the Ports of `inspect` and what `port` prints: the container's ports,
// and where they are on the host, none for those that are only exposed.
func PortMap(en Entry, got *network.Settings) api.PortMap {
	out := api.PortMap{}
	if !Active(en.Status) || en.HostConfig.NetworkMode.IsHost() {
		return out
	}
	for p := range en.Config.ExposedPorts {
		out[p] = nil
	}
	for _, p := range HostPorts(en.Record, got) {
		if port, ok := api.PortFrom(p.Inside, api.IPProtocol(p.Proto)); ok {
			out[port] = append(out[port], api.PortBinding{HostIP: p.HostIP, HostPort: strconv.Itoa(int(p.HostPort))})
		}
	}
	return out
}

// portTest is a filter for a port of a container, or a range: N[-M][/PROTO].
func portTest(key, v string) (func(Entry) bool, error) {
	numbers, proto, _ := strings.Cut(v, "/")
	first, last, err := hostPorts(numbers)
	proto = cmp.Or(proto, string(api.TCP))
	if err != nil || numbers == "" || !slices.Contains([]string{"tcp", "udp", "sctp"}, proto) {
		return nil, &errdef.Error{Kind: errdef.ErrInvalid, Text: "invalid filter '" + key + "=" + v + "'"}
	}
	last = max(first, last)
	matches := func(p api.Port) bool { return string(p.Proto()) == proto && p.Num() >= first && p.Num() <= last }
	return func(en Entry) bool {
		if key == "publish" {
			for p := range en.HostConfig.PortBindings {
				if matches(p) {
					return true
				}
			}
			return false
		}
		for p := range en.Config.ExposedPorts {
			if matches(p) {
				return true
			}
		}
		return false
	}, nil
}
