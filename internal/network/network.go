package network

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Drivers of networks.
const (
	Bridge  = "bridge"
	Macvlan = "macvlan"
	Host    = "host"
	None    = "null" // Docker's name for the driver of the network none
)

// Default is the name of the network that containers are in which name none.
const Default = "bridge"

// Network is a network as its record has it: networks/<ID>.json below the data
// root.
type Network struct {
	V        int               `json:"v"`
	ID       string            `json:"id"` // 64 hexadecimal digits
	Name     string            `json:"name"`
	Created  time.Time         `json:"created"`
	Driver   string            `json:"driver"`
	Internal bool              `json:"internal,omitempty"` // no way out
	IPv4     bool              `json:"ipv4"`
	IPv6     bool              `json:"ipv6,omitempty"`
	Subnets  []Subnet          `json:"subnets,omitempty"` // those asked for and those chosen
	Options  map[string]string `json:"options,omitempty"` // -o, as given
	Labels   map[string]string `json:"labels,omitempty"`
	// Interface is the name of the bridge, or of the interface that a macvlan
	// network lies on.
	Interface string `json:"interface,omitempty"`
}

// Subnet is a range of addresses of a network.
type Subnet struct {
	Prefix  netip.Prefix          `json:"prefix"`
	Gateway netip.Addr            `json:"gateway,omitzero"`
	Range   netip.Prefix          `json:"range,omitzero"` // where addresses are given from
	Aux     map[string]netip.Addr `json:"aux,omitempty"`  // never given
	Asked   bool                  `json:"asked,omitempty"`
}

// Endpoint is what a container asks of one network.
type Endpoint struct {
	Network    Network           `json:"network"`
	IPv4       netip.Addr        `json:"ipv4,omitzero"` // invalid: any
	IPv6       netip.Addr        `json:"ipv6,omitzero"`
	MAC        string            `json:"mac,omitempty"`
	Aliases    []string          `json:"aliases,omitempty"`
	Links      map[string]string `json:"links,omitempty"` // name the container uses: container ID
	Interface  string            `json:"interface,omitempty"`
	Options    map[string]string `json:"options,omitempty"` // --driver-opt
	GwPriority int               `json:"gwPriority,omitempty"`
}

// Port is a container's port made reachable on the host.
type Port struct {
	Proto     string     `json:"proto"`               // tcp, udp, sctp
	Inside    uint16     `json:"inside"`              // the container's port
	HostIP    netip.Addr `json:"hostIP,omitzero"`     // invalid: every address, of both families
	HostPort  uint16     `json:"hostPort"`            // 0: any free one
	HostEnd   uint16     `json:"hostEnd,omitempty"`   // with HostPort: any free one from there to here
	Automatic bool       `json:"automatic,omitempty"` // asked for by -P
}

// Resolver is how a container finds names that no container has.
type Resolver struct {
	Servers []netip.Addr `json:"servers,omitempty"` // of --dns; none: the host's
	Search  []string     `json:"search,omitempty"`
	Options []string     `json:"options,omitempty"`
}

// SettingsFile is the name of a container's [Settings] in its folder.
const SettingsFile = "network.json"

// Settings are what a container got: network.json in its folder.
type Settings struct {
	V         int       `json:"v"`
	Endpoints []Settled `json:"endpoints"`       // the first has the default route
	Ports     []Port    `json:"ports,omitempty"` // with the host's port settled, a line for each host address
	// DNS is what belongs into the container's resolv.conf: the server inside its
	// own network namespace, or the host's servers.
	DNS Resolver `json:"dns"`
	// Gateway is what host-gateway means to the container, and
	// host.docker.internal.
	Gateway []netip.Addr `json:"gateway,omitempty"`
}

// Settled is a container's place in one network.
type Settled struct {
	NetworkID string       `json:"networkID"`
	Network   string       `json:"network"` // its name
	ID        string       `json:"id"`      // of the endpoint
	Interface string       `json:"interface"`
	Link      string       `json:"link"` // the other end, at the bridge
	MAC       string       `json:"mac"`
	IPv4      netip.Prefix `json:"ipv4,omitzero"`
	Gateway4  netip.Addr   `json:"gateway4,omitzero"`
	IPv6      netip.Prefix `json:"ipv6,omitzero"`
	Gateway6  netip.Addr   `json:"gateway6,omitzero"`
	Names     []string     `json:"names,omitempty"` // what other containers of the network may call it
}

// Addresses are those of the container there.
func (s Settled) Addresses() []netip.Addr { return valid(s.IPv4.Addr(), s.IPv6.Addr()) }

// Gateways lead out of the network; none of an internal one.
func (s Settled) Gateways() []netip.Addr { return valid(s.Gateway4, s.Gateway6) }

func valid(all ...netip.Addr) []netip.Addr {
	return slices.DeleteFunc(all, func(a netip.Addr) bool { return !a.IsValid() })
}

// ByWayOut orders the networks of a container by which has its default route, as
// Docker 28 chooses: one with a way out, of the highest priority, the first by
// name.
func ByWayOut(a, b Endpoint) int {
	inner := func(e Endpoint) int {
		if e.Network.Internal {
			return 1
		}
		return 0
	}
	return cmp.Or(inner(a)-inner(b), b.GwPriority-a.GwPriority, strings.Compare(a.Network.Name, b.Network.Name))
}
