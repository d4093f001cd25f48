package network

import (
	"net/netip"
	"reflect"
	"testing"
)

func TestParseResolver(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Resolver
	}{
		{"", Resolver{}},
		{
			"# of systemd\nnameserver 127.0.0.53\n nameserver\tfe80::1%eth0 ; second\noptions edns0 trust-ad\nsearch lan example.org\n",
			Resolver{Servers: []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("fe80::1%eth0")}, Search: []string{"lan", "example.org"}, Options: []string{"edns0", "trust-ad"}},
		},
		{"domain a\nsearch b c\nnameserver no-address\nnameserver\n", Resolver{Search: []string{"b", "c"}}},
		{"search b c\ndomain a\nsortlist 1.2.3.4\n", Resolver{Search: []string{"a"}}},
	} {
		if got := ParseResolver([]byte(tt.text)); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q:\n%+v, want\n%+v", tt.text, got, tt.want)
		}
	}
}

func TestEmbedded(t *testing.T) {
	server := netip.MustParseAddr("127.0.0.11")
	host := Resolver{Servers: []netip.Addr{netip.MustParseAddr("9.9.9.9")}, Search: []string{"lan"}, Options: []string{"rotate"}}
	for _, tt := range []struct {
		asked           Resolver
		search, options []string
	}{
		{Resolver{}, []string{"lan"}, []string{"rotate", "ndots:0"}},
		{Resolver{Search: []string{"a", "b"}, Options: []string{"ndots:3"}}, []string{"a", "b"}, []string{"ndots:3"}},
		{Resolver{Search: []string{"."}}, nil, []string{"rotate", "ndots:0"}},
		{Resolver{Servers: host.Servers}, []string{"lan"}, []string{"rotate", "ndots:0"}},
	} {
		got := tt.asked.Embedded(server, host)
		want := Resolver{Servers: []netip.Addr{server}, Search: tt.search, Options: tt.options}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v: %+v, want %+v", tt.asked, got, want)
		}
	}
	if len(host.Options) != 1 {
		t.Errorf("the host's options became %v", host.Options)
	}
}
