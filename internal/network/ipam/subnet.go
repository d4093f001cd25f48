package ipam

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"berth/internal/errdef"
	"berth/internal/network"
)

// Complete gives a subnet what was left open, its gateway: the first address
// that can be given, as in Docker also where a range for containers was named.
func Complete(s network.Subnet) (network.Subnet, error) {
	if s.Gateway.IsValid() {
		return s, nil
	}
	b := book{Subnet: s}
	for a := b.first(); a.IsValid() && b.within(a); a = a.Next() {
		if !b.reserved(a) {
			s.Gateway = a
			return s, nil
		}
	}
	return s, invalid("no address of %s is left for a gateway: use a bigger subnet", s.Prefix)
}

// Check tells what is wrong with a subnet that somebody has asked for, in
// Docker's words, one error for each thing.
func Check(s network.Subnet) error {
	p := s.Prefix
	if !p.IsValid() {
		return invalid("invalid subnet: a prefix is needed, as in 172.28.0.0/16")
	}
	if p.Addr().Is4In6() || p.Addr().Zone() != "" {
		return invalid("invalid subnet %s: invalid CIDR block notation", p)
	}
	if p != p.Masked() {
		return invalid("invalid subnet %s: it should be %s", p, p.Masked())
	}
	var errs []error
	if p.Addr().IsMulticast() || p.Addr().IsLoopback() || p.Addr().IsUnspecified() {
		errs = append(errs, invalid("invalid subnet %s: no containers can have such addresses", p))
	}
	if s.Range.IsValid() {
		errs = append(errs, checkRange(s.Range, p))
	}
	if s.Gateway.IsValid() {
		errs = append(errs, checkAddress("gateway "+s.Gateway.String(), s.Gateway, p))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Aux)) {
		errs = append(errs, checkAddress("auxiliary address "+name, s.Aux[name], p))
		if s.Aux[name] == s.Gateway {
			errs = append(errs, invalid("invalid auxiliary address %s: it is the gateway", name))
		}
	}
	return errors.Join(errs...)
}

func checkRange(r, subnet netip.Prefix) error {
	switch {
	case r.Addr().Is4() != subnet.Addr().Is4():
		return invalid("invalid ip-range %s: parent subnet is an %s block", r, family(subnet.Addr()))
	case r.Bits() < subnet.Bits():
		return invalid("invalid ip-range %s: CIDR block is bigger than its parent subnet %s", r, subnet)
	case r != r.Masked():
		return invalid("invalid ip-range %s: it should be %s", r, r.Masked())
	case !subnet.Overlaps(r):
		return invalid("invalid ip-range %s: parent subnet %s doesn't contain ip-range", r, subnet)
	}
	return nil
}

func checkAddress(what string, a netip.Addr, subnet netip.Prefix) error {
	switch {
	case a.Is4() != subnet.Addr().Is4():
		return invalid("invalid %s: parent subnet is an %s block", what, family(subnet.Addr()))
	case !subnet.Contains(a):
		return invalid("invalid %s: parent subnet %s doesn't contain this address", what, subnet)
	}
	return nil
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

func invalid(format string, args ...any) error {
	return &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf(format, args...)}
}
