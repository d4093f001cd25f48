package ipam

import (
	"net/netip"
)

// Pool is a range that subnets of one size are cut from.
type Pool struct {
	Base netip.Prefix
	Bits int // of the prefix of each subnet
}

// Pools are the ranges that Docker takes subnets from when nobody names one, in
// its order: private ones (RFC 1918), the first for the default network.
func Pools() []Pool {
	return []Pool{
		{netip.MustParsePrefix("172.17.0.0/16"), 16},
		{netip.MustParsePrefix("172.18.0.0/16"), 16},
		{netip.MustParsePrefix("172.19.0.0/16"), 16},
		{netip.MustParsePrefix("172.20.0.0/14"), 16},
		{netip.MustParsePrefix("172.24.0.0/14"), 16},
		{netip.MustParsePrefix("172.28.0.0/14"), 16},
		{netip.MustParsePrefix("192.168.0.0/16"), 20},
	}
}

// Choose returns the first subnet of the pools that overlaps nothing that is
// taken; false: they are used up.
func Choose(pools []Pool, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, p := range pools {
		sub := netip.PrefixFrom(p.Base.Addr(), p.Bits)
		for p.Base.Contains(sub.Addr()) {
			if _, hit := Overlap(sub, taken); !hit {
				return sub, true
			}
			next := last(sub).Next()
			if !next.IsValid() {
				break
			}
			sub = netip.PrefixFrom(next, p.Bits)
		}
	}
	return netip.Prefix{}, false
}

// Overlap returns the first of the prefixes that has an address in common with p.
func Overlap(p netip.Prefix, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, t := range taken {
		if p.Overlaps(t) {
			return t, true
		}
	}
	return netip.Prefix{}, false
}

// Local returns a subnet for a network with IPv6: a unique local one (RFC 4193),
// fd00::/8 and 56 random bits.
func Local(random [7]byte) netip.Prefix {
	var a [16]byte
	a[0] = 0xfd
	copy(a[1:], random[:])
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// last is the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := range b {
		if host := 8*(i+1) - p.Bits(); host >= 8 {
			b[i] = 0xff
		} else if host > 0 {
			b[i] |= 1<<host - 1
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
