package ipam

import (
	"fmt"
	"net/netip"

	"berth/internal/errdef"
	"berth/internal/network"
)

// Book is who has which address of a network. It is not safe for several
// goroutines at once.
type Book struct {
	name    string
	id      string
	subnets []*book
}

// book is the page of one subnet.
type book struct {
	network.Subnet
	given map[netip.Addr]struct{}
	low   netip.Addr // no address of the range below it is free
}

// Open returns the book of a network, in which nothing is given yet. A subnet
// must have its gateway.
func Open(n network.Network) *Book {
	b := &Book{name: n.Name, id: n.ID}
	for _, s := range n.Subnets {
		b.subnets = append(b.subnets, &book{Subnet: s, given: map[netip.Addr]struct{}{}})
	}
	return b
}

// Take gives out one address, and returns it with the length of its subnet's
// prefix. It may be any of the network's, also one outside of the range from
// which others are given.
func (b *Book) Take(a netip.Addr) (netip.Prefix, error) {
	s := b.subnet(a)
	if s == nil {
		return netip.Prefix{}, invalid("invalid address %s: It does not belong to any of this network's subnets (network %s)", a, b.name)
	}
	if _, used := s.given[a]; used || s.reserved(a) {
		return netip.Prefix{}, &errdef.Error{Kind: errdef.ErrConflict, Text: fmt.Sprintf("Address already in use: %s in the network %s", a, b.name)}
	}
	s.given[a] = struct{}{}
	return netip.PrefixFrom(a, s.Prefix.Bits()), nil
}

// Any gives out the lowest address of a family that is free.
func (b *Book) Any(v6 bool) (netip.Prefix, error) {
	for _, s := range b.subnets {
		if s.Prefix.Addr().Is6() != v6 {
			continue
		}
		if a, ok := s.next(); ok {
			s.given[a] = struct{}{}
			return netip.PrefixFrom(a, s.Prefix.Bits()), nil
		}
	}
	v := "IPv4"
	if v6 {
		v = "IPv6"
	}
	return netip.Prefix{}, &errdef.Error{Kind: errdef.ErrConflict, Text: fmt.Sprintf("no available %s addresses on this network's address pools: %s (%s)", v, b.name, b.id)}
}

// Has reports whether the network has addresses of a family.
func (b *Book) Has(v6 bool) bool {
	for _, s := range b.subnets {
		if s.Prefix.Addr().Is6() == v6 {
			return true
		}
	}
	return false
}

// Gateway returns the gateway of the subnet that an address is in; the invalid
// one if it is in none.
func (b *Book) Gateway(a netip.Addr) netip.Addr {
	if s := b.subnet(a); s != nil {
		return s.Subnet.Gateway
	}
	return netip.Addr{}
}

// Free takes an address back. One that was not given is none to take.
func (b *Book) Free(a netip.Addr) {
	s := b.subnet(a)
	if s == nil {
		return
	}
	delete(s.given, a)
	if s.low.IsValid() && a.Less(s.low) {
		s.low = a
	}
}

func (b *Book) subnet(a netip.Addr) *book {
	for _, s := range b.subnets {
		if s.Prefix.Contains(a) {
			return s
		}
	}
	return nil
}

// next finds the lowest free address of the range. It remembers how far it
// went, so that a full network is not searched from its beginning each time.
func (s *book) next() (netip.Addr, bool) {
	a := s.low
	if first := s.first(); !a.IsValid() || a.Less(first) {
		a = first
	}
	for ; a.IsValid() && s.within(a); a = a.Next() {
		if _, used := s.given[a]; !used && !s.reserved(a) {
			s.low = a
			return a, true
		}
	}
	s.low = last(s.pool())
	return netip.Addr{}, false
}

// pool is what addresses are given from.
func (s *book) pool() netip.Prefix {
	if s.Range.IsValid() {
		return s.Range
	}
	return s.Prefix
}

func (s *book) first() netip.Addr { return s.pool().Masked().Addr() }

func (s *book) within(a netip.Addr) bool { return s.pool().Contains(a) }

// reserved reports whether an address is nobody's to have: the gateway's, one of
// those kept for others, and in subnets with more than two addresses the first,
// which means the subnet, and for IPv4 the last, which means everybody in it.
func (s *book) reserved(a netip.Addr) bool {
	if a == s.Subnet.Gateway {
		return true
	}
	for _, aux := range s.Aux {
		if a == aux {
			return true
		}
	}
	if s.Prefix.Bits() >= s.Prefix.Addr().BitLen()-1 {
		return false
	}
	return a == s.Prefix.Masked().Addr() || a.Is4() && a == last(s.Prefix)
}

// MAC is the hardware address of an interface with this address: Docker's old
// rule, 02:42 and the address, so that one address never means two hardware
// addresses to neighbours who remember it. The bit of value 2 in the first byte
// says that no maker of hardware has given it.
func MAC(a netip.Addr) string {
	b := a.Unmap().AsSlice()
	if len(b) == 16 { // the last four bytes are what differs within a subnet
		b = b[12:]
		return fmt.Sprintf("02:43:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
	}
	if len(b) != 4 {
		return ""
	}
	return fmt.Sprintf("02:42:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}
