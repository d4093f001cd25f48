package link

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Link is an interface of a namespace.
type Link struct {
	Name      string
	Type      string // bridge, veth, tun …; device: a real one, or what has no type
	Bridge    string // the bridge whose port it is
	MTU       int
	Addresses []netip.Prefix
}

// Links lists the interfaces of the namespace.
func (s *Space) Links() ([]Link, error) {
	h, err := s.route()
	if err != nil {
		return nil, err
	}
	links, err := h.LinkList()
	for range 10 { // others came or went meanwhile: what there is may be missing
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
		links, err = h.LinkList()
	}
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list the addresses: %w", err)
	}
	names, at := map[int]string{}, map[int][]netip.Prefix{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, a := range addrs {
		at[a.LinkIndex] = append(at[a.LinkIndex], prefix(a.IPNet))
	}
	var all []Link
	for _, l := range links {
		a := l.Attrs()
		all = append(all, Link{Name: a.Name, Type: l.Type(), Bridge: names[a.MasterIndex], MTU: a.MTU, Addresses: at[a.Index]})
	}
	return all, nil
}

// Remove removes an interface; one that is not there is no error.
func (s *Space) Remove(name string) error {
	h, err := s.route()
	if err != nil {
		return err
	}
	l, err := h.LinkByName(name)
	if err == nil {
		err = h.LinkDel(l)
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("remove the interface %s: %w", name, err)
	}
	return nil
}

// Detach takes a container's interface out of its namespace. It serves both ends
// of a pair: the other goes with it.
func Detach(inner Inner) error {
	s, err := Open(inner.Namespace)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Remove(inner.Name)
}

// Prefixes are the destinations that the namespace has routes to, default routes
// apart: subnets that a new network must not cover.
func (s *Space) Prefixes() ([]netip.Prefix, error) {
	h, err := s.route()
	if err != nil {
		return nil, err
	}
	routes, err := h.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list the routes: %w", err)
	}
	var all []netip.Prefix
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if p := prefix(r.Dst); p.Bits() > 0 && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsMulticast() {
			all = append(all, p)
		}
	}
	return all, nil
}

// MTU is that of the interface of the namespace's default route, 1500 where there
// is none: bridges take it, so that packets of containers fit on the way out.
func (s *Space) MTU() (int, error) {
	h, err := s.route()
	if err != nil {
		return 0, err
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := h.RouteList(nil, family)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return 0, fmt.Errorf("list the routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst != nil && prefix(r.Dst).Bits() > 0 || r.LinkIndex == 0 {
				continue
			}
			if l, err := h.LinkByIndex(r.LinkIndex); err == nil && l.Attrs().MTU > 0 {
				return l.Attrs().MTU, nil
			}
		}
	}
	return 1500, nil
}
