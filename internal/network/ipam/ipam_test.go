package ipam

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"berth/internal/errdef"
	"berth/internal/network"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name  string
		taken []string
		want  string // empty: used up
	}{
		{"first", nil, "172.17.0.0/16"},
		{"second", []string{"172.17.0.0/16"}, "172.18.0.0/16"},
		{"a small part taken", []string{"172.17.255.4/30", "172.18.0.0/32"}, "172.19.0.0/16"},
		{"inside a wider pool", []string{"172.16.0.0/14", "172.20.0.0/16"}, "172.21.0.0/16"},
		{"company network", []string{"172.16.0.0/12"}, "192.168.0.0/20"},
		{"home network, too", []string{"172.16.0.0/12", "192.168.1.0/24"}, "192.168.16.0/20"},
		{"all", []string{"172.16.0.0/12", "192.168.0.0/16"}, ""},
		{"IPv6 is no matter", []string{"::/0"}, "172.17.0.0/16"},
	} {
		var taken []netip.Prefix
		for _, s := range c.taken {
			taken = append(taken, prefix(s))
		}
		got, ok := Choose(Pools(), taken)
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%s: %v, %v; want %q", c.name, got, ok, c.want)
		}
	}
	if _, ok := Choose([]Pool{{prefix("255.255.0.0/16"), 16}}, []netip.Prefix{prefix("255.255.255.255/32")}); ok {
		t.Error("a pool at the end of all addresses does not end")
	}
}

func TestPoolsLastOut(t *testing.T) {
	var taken []netip.Prefix
	for {
		p, ok := Choose(Pools(), taken)
		if !ok {
			break
		}
		taken = append(taken, p)
	}
	if len(taken) != 15+16 { // as many as Docker has
		t.Errorf("%d subnets: %v", len(taken), taken)
	}
}

func TestLocal(t *testing.T) {
	if p := Local([7]byte{1, 2, 3, 4, 5, 6, 7}); p != prefix("fd01:203:405:607::/64") {
		t.Error(p)
	}
}

func TestComplete(t *testing.T) {
	for _, c := range []struct{ subnet, ipRange, gateway, want string }{
		{"172.20.0.0/16", "", "", "172.20.0.1"},
		{"172.20.0.0/16", "", "172.20.0.9", "172.20.0.9"},
		{"172.20.0.0/16", "172.20.5.0/24", "", "172.20.5.0"},
		{"172.20.0.0/16", "172.20.0.0/24", "", "172.20.0.1"},
		{"10.0.0.0/31", "", "", "10.0.0.0"},
		{"10.0.0.7/32", "", "", "10.0.0.7"},
		{"fd00:1::/64", "", "", "fd00:1::1"},
	} {
		s := network.Subnet{Prefix: prefix(c.subnet)}
		if c.ipRange != "" {
			s.Range = prefix(c.ipRange)
		}
		if c.gateway != "" {
			s.Gateway = addr(c.gateway)
		}
		got, err := Complete(s)
		if err != nil || got.Gateway != addr(c.want) {
			t.Errorf("%s %s: %v, %v; want %s", c.subnet, c.ipRange, got.Gateway, err, c.want)
		}
	}
	full := network.Subnet{Prefix: prefix("10.0.0.0/30"), Aux: map[string]netip.Addr{"a": addr("10.0.0.1"), "b": addr("10.0.0.2")}}
	if _, err := Complete(full); !errors.Is(err, errdef.ErrInvalid) {
		t.Errorf("a gateway where there is no room: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		subnet, ipRange, gateway, aux string
		want                          string // part of the error; empty: fine
	}{
		{"172.28.0.0/16", "172.28.5.0/24", "172.28.5.254", "172.28.1.5", ""},
		{"fd00:1::/64", "", "fd00:1::1", "", ""},
		{"172.28.0.1/16", "", "", "", "invalid subnet 172.28.0.1/16: it should be 172.28.0.0/16"},
		{"172.28.0.0/16", "172.29.0.0/24", "", "", "invalid ip-range 172.29.0.0/24: parent subnet 172.28.0.0/16 doesn't contain ip-range"},
		{"172.28.0.0/16", "172.28.0.0/8", "", "", "invalid ip-range 172.28.0.0/8: CIDR block is bigger than its parent subnet 172.28.0.0/16"},
		{"172.28.0.0/16", "172.28.5.9/24", "", "", "invalid ip-range 172.28.5.9/24: it should be 172.28.5.0/24"},
		{"172.28.0.0/16", "fd00::/80", "", "", "invalid ip-range fd00::/80: parent subnet is an IPv4 block"},
		{"172.28.0.0/16", "", "172.29.0.1", "", "invalid gateway 172.29.0.1: parent subnet 172.28.0.0/16 doesn't contain this address"},
		{"fd00:1::/64", "", "10.0.0.1", "", "invalid gateway 10.0.0.1: parent subnet is an IPv6 block"},
		{"172.28.0.0/16", "", "", "1.2.3.4", "invalid auxiliary address r: parent subnet 172.28.0.0/16 doesn't contain this address"},
		{"172.28.0.0/16", "", "172.28.0.1", "172.28.0.1", "invalid auxiliary address r: it is the gateway"},
		{"127.0.0.0/8", "", "", "", "no containers can have such addresses"},
		{"ff00::/8", "", "", "", "no containers can have such addresses"},
		{"::ffff:10.0.0.0/112", "", "", "", "invalid CIDR block notation"},
	} {
		p, err := netip.ParsePrefix(c.subnet)
		if err != nil {
			t.Fatal(err)
		}
		s := network.Subnet{Prefix: p}
		if c.ipRange != "" {
			s.Range = prefix(c.ipRange)
		}
		if c.gateway != "" {
			s.Gateway = addr(c.gateway)
		}
		if c.aux != "" {
			s.Aux = map[string]netip.Addr{"r": addr(c.aux)}
		}
		err = Check(s)
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, errdef.ErrInvalid) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s %s %s: %v; want %q", c.subnet, c.ipRange, c.gateway, err, c.want)
		}
	}
	if err := Check(network.Subnet{}); !errors.Is(err, errdef.ErrInvalid) {
		t.Errorf("nothing: %v", err)
	}
}

// TestBook plays a day of a small network.
func TestBook(t *testing.T) {
	b := Open(network.Network{Name: "net", ID: "7", Subnets: []network.Subnet{
		{Prefix: prefix("10.0.0.0/29"), Gateway: addr("10.0.0.1"), Aux: map[string]netip.Addr{"r": addr("10.0.0.3")}},
		{Prefix: prefix("fd00::/64"), Gateway: addr("fd00::1")},
	}})
	give := func(want string) {
		t.Helper()
		p, err := b.Any(false)
		if err != nil || p != prefix(want) {
			t.Errorf("%v, %v; want %s", p, err, want)
		}
	}
	take := func(a string, kind error) {
		t.Helper()
		if _, err := b.Take(addr(a)); !errors.Is(err, kind) {
			t.Errorf("take %s: %v, want %v", a, err, kind)
		}
	}
	give("10.0.0.2/29")
	give("10.0.0.4/29")
	take("10.0.0.5", nil)
	take("10.0.0.5", errdef.ErrConflict)
	take("10.0.0.1", errdef.ErrConflict) // the gateway
	take("10.0.0.3", errdef.ErrConflict) // kept
	take("10.0.0.0", errdef.ErrConflict) // the subnet
	take("10.0.0.7", errdef.ErrConflict) // everybody
	take("10.0.0.8", errdef.ErrInvalid)
	give("10.0.0.6/29")
	if p, err := b.Any(false); !errors.Is(err, errdef.ErrConflict) || err.Error() != "no available IPv4 addresses on this network's address pools: net (7)" {
		t.Errorf("full: %v, %v", p, err)
	}
	b.Free(addr("10.0.0.4"))
	b.Free(addr("10.0.0.2"))
	b.Free(addr("10.0.0.2"))
	b.Free(addr("10.9.0.2"))
	give("10.0.0.2/29")
	give("10.0.0.4/29")
	if p, err := b.Any(true); err != nil || p != prefix("fd00::2/64") {
		t.Errorf("IPv6: %v, %v", p, err)
	}
	if g := b.Gateway(addr("fd00::2")); g != addr("fd00::1") {
		t.Errorf("gateway %v", g)
	}
	if given(b) != 5 || !b.Has(true) || !b.Has(false) {
		t.Errorf("%d given", given(b))
	}
}

// TestRange: addresses are given from the range, and any may be asked for.
func TestRange(t *testing.T) {
	b := Open(network.Network{Subnets: []network.Subnet{{Prefix: prefix("10.0.0.0/16"), Range: prefix("10.0.5.0/30"), Gateway: addr("10.0.5.0")}}})
	for _, want := range []string{"10.0.5.1/16", "10.0.5.2/16", "10.0.5.3/16"} {
		if p, err := b.Any(false); err != nil || p != prefix(want) {
			t.Errorf("%v, %v; want %s", p, err, want)
		}
	}
	if p, err := b.Any(false); err == nil {
		t.Errorf("outside of the range: %v", p)
	}
	if _, err := b.Take(addr("10.0.200.1")); err != nil {
		t.Error(err)
	}
	b.Free(addr("10.0.200.1"))
	if p, err := b.Any(false); err == nil {
		t.Errorf("outside of the range: %v", p)
	}
	b.Free(addr("10.0.5.2"))
	if p, err := b.Any(false); err != nil || p != prefix("10.0.5.2/16") {
		t.Errorf("%v, %v", p, err)
	}
}

// TestFull gives every address of a /20 once, and no other.
func TestFull(t *testing.T) {
	b := Open(network.Network{Subnets: []network.Subnet{{Prefix: prefix("192.168.16.0/20"), Gateway: addr("192.168.16.1")}}})
	seen := map[netip.Addr]bool{}
	for {
		p, err := b.Any(false)
		if err != nil {
			break
		}
		if seen[p.Addr()] || !prefix("192.168.16.0/20").Contains(p.Addr()) {
			t.Fatalf("%v given twice, or not of the network", p)
		}
		seen[p.Addr()] = true
	}
	if len(seen) != 4096-3 {
		t.Errorf("%d addresses", len(seen))
	}
}

func TestMAC(t *testing.T) {
	for a, want := range map[string]string{"172.17.0.2": "02:42:ac:11:00:02", "::ffff:10.1.2.3": "02:42:0a:01:02:03", "fd00::1:2": "02:43:00:01:00:02"} {
		if got := MAC(addr(a)); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
	if MAC(netip.Addr{}) != "" {
		t.Error("of no address")
	}
}

// given is how many addresses a book has given out.
func given(b *Book) (n int) {
	for _, s := range b.subnets {
		n += len(s.given)
	}
	return n
}
