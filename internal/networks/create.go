package networks

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"

	"berth/internal/errdef"
	"berth/internal/network"
	"berth/internal/network/ipam"
	"berth/internal/roster"
	"berth/internal/state"
)

// Request asks for a network.
type Request struct {
	Name     string
	Driver   string // empty: bridge
	Subnets  []network.Subnet
	NoIPv4   bool
	IPv6     bool
	Internal bool
	Options  map[string]string // of the driver
	Labels   map[string]string
}

// Create makes a network. The warnings tell what of the request has no effect.
func (s *Set) Create(ctx context.Context, req Request) (n network.Network, warnings []string, err error) {
	n = network.Network{
		V: version, ID: roster.NewID(), Name: req.Name, Created: time.Now().UTC(), Driver: req.Driver, Internal: req.Internal,
		IPv4: !req.NoIPv4, IPv6: req.IPv6, Options: req.Options, Labels: req.Labels,
	}
	if n.Driver == "" {
		n.Driver = network.Bridge
	}
	if err := s.check(&n); err != nil {
		return n, nil, err
	}
	for _, sub := range req.Subnets {
		if err := ipam.Check(sub); err != nil {
			return n, nil, fmt.Errorf("invalid network config: %w", oneLine(err))
		}
		if v6 := sub.Prefix.Addr().Is6(); v6 && !n.IPv6 || !v6 && !n.IPv4 {
			warnings = append(warnings, fmt.Sprintf("the subnet %s is not used: the network has no %s", sub.Prefix, family(v6)))
			continue
		}
		sub.Asked = true
		n.Subnets = append(n.Subnets, sub)
	}
	if n.Driver == network.Bridge && (many(n.Subnets, false) || many(n.Subnets, true)) {
		return n, nil, refusal(errdef.ErrInvalid, "bridge driver doesn't support multiple subnets")
	}
	tx, err := s.lock()
	if err != nil {
		return n, nil, err
	}
	defer tx.Unlock()
	if err := s.place(&n); err != nil {
		return n, nil, err
	}
	warnings = append(warnings, s.overlapsHost(n)...)
	if err := s.write(n); err != nil {
		return n, nil, err
	}
	s.note(events.ActionCreate, n)
	return n, warnings, nil
}

// Default returns the network that containers are in which name none, and makes
// its record when it is missing.
func (s *Set) Default() (network.Network, error) {
	find := func() (network.Network, bool, error) {
		list, err := s.records()
		i := slices.IndexFunc(list, func(n network.Network) bool { return n.Name == Bridge })
		if err != nil || i < 0 {
			return network.Network{}, false, err
		}
		return list[i], true, nil
	}
	if n, ok, err := find(); ok || err != nil {
		return n, err
	}
	tx, err := s.lock()
	if err != nil {
		return network.Network{}, err
	}
	defer tx.Unlock()
	if n, ok, err := find(); ok || err != nil {
		return n, err // somebody was faster
	}
	n := network.Network{V: version, ID: roster.NewID(), Name: Bridge, Created: time.Now().UTC(), Driver: network.Bridge, IPv4: true, Interface: s.Interface}
	if err := s.place(&n); err != nil {
		return n, fmt.Errorf("cannot make the default network: %w", err)
	}
	return n, s.write(n)
}

// place gives a network its name, its addresses and its interface among those
// that there are. The lock must be held.
func (s *Set) place(n *network.Network) error {
	others, err := s.records()
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.Name == n.Name {
			return refusal(errdef.ErrConflict, "network with name %s already exists", n.Name)
		}
	}
	if err := s.address(n, others); err != nil {
		return err
	}
	if n.Driver == network.Bridge && n.Interface == "" {
		n.Interface = "br-" + n.ID[:12]
	}
	for _, o := range others {
		if n.Driver == network.Bridge && o.Driver == network.Bridge && o.Interface == n.Interface {
			return refusal(errdef.ErrConflict, "the network %s has a bridge %s already: choose another name", o.Name, n.Interface)
		}
	}
	return nil
}

// address checks the subnets that were asked for against those of other
// networks, and chooses one for each family that has none.
func (s *Set) address(n *network.Network, others []network.Network) error {
	var theirs []netip.Prefix
	for i, sub := range n.Subnets {
		for _, prev := range n.Subnets[:i] {
			if prev.Prefix.Overlaps(sub.Prefix) {
				return refusal(errdef.ErrInvalid, "invalid network config: the subnets %s and %s overlap", prev.Prefix, sub.Prefix)
			}
		}
	}
	for _, o := range others {
		for _, sub := range o.Subnets {
			theirs = append(theirs, sub.Prefix)
			for _, mine := range n.Subnets {
				if mine.Prefix.Overlaps(sub.Prefix) {
					return refusal(errdef.ErrConflict, "invalid pool request: Pool overlaps with other one on this address space: %s and the network %s, which has %s", mine.Prefix, o.Name, sub.Prefix)
				}
			}
		}
	}
	if n.IPv4 && !has(n.Subnets, false) {
		p, ok := ipam.Choose(ipam.Pools(), append(theirs, hostPrefixes()...))
		if !ok {
			return refusal(errdef.ErrConflict, "all predefined address pools have been fully subnetted: remove networks that nobody needs (network prune), or choose addresses with --subnet")
		}
		n.Subnets = append(n.Subnets, network.Subnet{Prefix: p})
	}
	if n.IPv6 && !has(n.Subnets, true) {
		var random [7]byte
		rand.Read(random[:])
		n.Subnets = append(n.Subnets, network.Subnet{Prefix: ipam.Local(random)})
	}
	for i := range n.Subnets {
		var err error
		if n.Subnets[i], err = ipam.Complete(n.Subnets[i]); err != nil {
			return err
		}
	}
	return nil
}

func has(subnets []network.Subnet, v6 bool) bool { return count(subnets, v6) > 0 }

func many(subnets []network.Subnet, v6 bool) bool { return count(subnets, v6) > 1 }

func count(subnets []network.Subnet, v6 bool) (n int) {
	for _, s := range subnets {
		if s.Prefix.Addr().Is6() == v6 {
			n++
		}
	}
	return n
}

func family(v6 bool) string {
	if v6 {
		return "IPv6"
	}
	return "IPv4"
}

// overlapsHost warns where a bridge takes addresses that the host now reaches
// elsewhere.
func (s *Set) overlapsHost(n network.Network) (warnings []string) {
	if n.Driver != network.Bridge {
		return nil // those of a macvlan are the host's neighbours'
	}
	taken := hostPrefixes()
	for _, sub := range n.Subnets {
		if p, hit := ipam.Overlap(sub.Prefix, taken); hit {
			warnings = append(warnings, fmt.Sprintf("the subnet %s has addresses of %s, to which this host has a route: containers will not reach those there", sub.Prefix, p))
		}
	}
	return warnings
}

func (s *Set) write(n network.Network) error {
	return state.WriteJSON(s.path(n.ID+".json"), n)
}

// check refuses what no network can be, and settles what follows from options.
func (s *Set) check(n *network.Network) error {
	if err := checkName(n.Name); err != nil {
		return err
	}
	switch n.Driver {
	case network.Bridge:
	case network.Macvlan:
		if s.Rootless {
			return refusal(errdef.ErrNotSupported, "a macvlan network needs root: an ordinary account has no right to the host's interfaces; use the driver bridge")
		}
	case network.Host, network.None, None:
		return refusal(errdef.ErrConflict, "only one instance of %q network is allowed", n.Driver)
	default:
		return refusal(errdef.ErrNotFound, "could not find plugin %s in v1 plugin registry: plugin not found (berth has the drivers bridge and macvlan)", n.Driver)
	}
	if err := s.checkOptions(n); err != nil {
		return err
	}
	if !n.IPv4 && !n.IPv6 {
		return refusal(errdef.ErrInvalid, "IPv4 or IPv6 must be enabled")
	}
	if n.IPv6 {
		if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
			return refusal(errdef.ErrNotSupported, "cannot make a network with IPv6: this host's kernel has none (/proc/net/if_inet6 is missing; perhaps ipv6.disable=1)")
		}
	}
	return nil
}

func checkName(name string) error {
	if predefined(name) {
		return refusal(errdef.ErrInvalid, "operation is not permitted on predefined %s network", name)
	}
	ok := name != "" && len(name) <= 200
	for i, c := range name {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		ok = ok && (alnum || i > 0 && strings.ContainsRune("_.-", c))
	}
	if !ok {
		return refusal(errdef.ErrInvalid, "invalid network name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, at most 200 of them", name)
	}
	return nil
}

// oneLine joins the errors of a list into one line and keeps their kind.
func oneLine(err error) error {
	list, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var words []string
	kind := error(nil)
	for _, e := range list.Unwrap() {
		words = append(words, e.Error())
		for _, k := range []error{errdef.ErrInvalid, errdef.ErrNotFound, errdef.ErrConflict, errdef.ErrNotSupported} {
			if kind == nil && errors.Is(e, k) {
				kind = k
			}
		}
	}
	return &errdef.Error{Kind: kind, Text: strings.Join(words, "; ")}
}
