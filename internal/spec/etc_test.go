package spec

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"berth/internal/network"
)

func TestHosts(t *testing.T) {
	for _, tt := range []struct {
		name string
		hc   container.HostConfig
		want []string // lines
		err  string
	}{
		{name: "shared network", want: []string{"127.0.0.1 localhost vm", "127.0.1.1\tbox"}},
		{name: "none", hc: container.HostConfig{NetworkMode: "none"}, want: []string{"127.0.0.1\tlocalhost", "127.0.1.1\tbox"}},
		{name: "more", hc: container.HostConfig{ExtraHosts: []string{"db:10.0.0.7", "six:[::1]", "host.docker.internal:host-gateway"}},
			want: []string{"10.0.0.7\tdb", "::1\tsix", "127.0.0.1\thost.docker.internal"}},
		{name: "bad", hc: container.HostConfig{ExtraHosts: []string{"nothing"}}, err: "bad format for add-host"},
	} {
		b, err := Hosts(&container.Config{Hostname: "box"}, &tt.hc, nil, []byte("127.0.0.1 localhost vm"))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		for _, line := range tt.want {
			if !strings.Contains(string(b), line+"\n") {
				t.Errorf("%s: no %q in\n%s", tt.name, line, b)
			}
		}
	}
}

func settled(addrs ...string) network.Settled {
	var e network.Settled
	for _, a := range addrs {
		if p := netip.MustParsePrefix(a); p.Addr().Is4() {
			e.IPv4 = p
		} else {
			e.IPv6 = p
		}
	}
	return e
}

func TestHostsOfNetworks(t *testing.T) {
	cfg := &container.Config{Hostname: "box", Domainname: "example.org"}
	hc := &container.HostConfig{NetworkMode: "n", ExtraHosts: []string{"db:10.0.0.7", "host.docker.internal:host-gateway"}}
	set := &network.Settings{
		Endpoints: []network.Settled{settled("172.18.0.2/16", "fd00::2/64"), settled("172.19.0.2/16")},
		Gateway:   []netip.Addr{netip.MustParseAddr("172.18.0.1"), netip.MustParseAddr("fd00::1")},
	}
	text := func() string {
		b, err := Hosts(cfg, hc, set, []byte("192.0.2.1 secret-of-the-host\n"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	const own = "172.18.0.2\tbox.example.org box\nfd00::2\tbox.example.org box\n172.19.0.2\tbox.example.org box\n"
	want := localNames + "10.0.0.7\tdb\n172.18.0.1\thost.docker.internal\nfd00::1\thost.docker.internal\n" + own
	if got := text(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	hc.ExtraHosts = nil
	set.DNS.Servers = []netip.Addr{netip.MustParseAddr("127.0.0.11")}
	if got := text(); got != localNames+own {
		t.Errorf("with a server that knows the host:\n%s", got)
	}
	set.DNS.Servers = []netip.Addr{netip.MustParseAddr("192.0.2.53")}
	if got := text(); got != localNames+"172.18.0.1\thost.docker.internal\nfd00::1\thost.docker.internal\n"+own {
		t.Errorf("with a server that does not:\n%s", got)
	}
	hc.ExtraHosts = []string{"db:10.0.0.7", "host.docker.internal:host-gateway"}
	set.Gateway = nil
	if got := text(); got != localNames+"10.0.0.7\tdb\n"+own {
		t.Errorf("with no way out:\n%s", got)
	}
}

func TestChangeHosts(t *testing.T) {
	cfg := &container.Config{Hostname: "box"}
	first, second := settled("172.18.0.2/16", "fd00::2/64"), settled("172.19.0.9/16")
	mine := "10.1.1.1 mine # and no end of the line"
	b, err := Hosts(cfg, &container.HostConfig{}, &network.Settings{Endpoints: []network.Settled{first}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, mine...)
	b = ChangeHosts(b, cfg, nil, []network.Settled{second})
	b = ChangeHosts(b, cfg, []network.Settled{first}, nil)
	if want := localNames + mine + "\n172.19.0.9\tbox\n"; string(b) != want {
		t.Errorf("%q, want %q", b, want)
	}
	if b = ChangeHosts(nil, cfg, slices.Repeat([]network.Settled{first}, 2), nil); len(b) != 0 {
		t.Errorf("an emptied file became %q", b)
	}
}

func TestResolvConfOfNetworks(t *testing.T) {
	set := &network.Settings{DNS: network.Resolver{Servers: []netip.Addr{netip.MustParseAddr("127.0.0.11")}, Search: []string{"a", "b"}, Options: []string{"ndots:0"}}}
	got := string(ResolvConf(&container.HostConfig{}, set, []byte("nameserver 1.1.1.1\n")))
	if _, rest, _ := strings.Cut(got, "\n\n"); rest != "nameserver 127.0.0.11\nsearch a b\noptions ndots:0\n" {
		t.Error(got)
	}
}

func TestResolvConf(t *testing.T) {
	host := "nameserver 1.1.1.1\nsearch lan\noptions rotate\n"
	for _, tt := range []struct {
		hc   container.HostConfig
		want string
	}{
		{container.HostConfig{}, host},
		{container.HostConfig{DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9")}}, "nameserver 9.9.9.9\nsearch lan\noptions rotate\n"},
		{container.HostConfig{DNSSearch: []string{"."}}, "nameserver 1.1.1.1\noptions rotate\n"},
		{container.HostConfig{DNSSearch: []string{"a", "b"}, DNSOptions: []string{"ndots:2"}}, "nameserver 1.1.1.1\nsearch a b\noptions ndots:2\n"},
	} {
		if got := string(ResolvConf(&tt.hc, nil, []byte(host))); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.hc.DNS, got, tt.want)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]int{
		"9": 9, "KILL": 9, "SIGTERM": 15, "term": 15, "RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX-2": 62,
		"": 0, "0": 0, "65": 0, "NOSUCH": 0, "RTMIN+99": 0, "RTMAX+1": 0,
	} {
		got, err := ParseSignal(text)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}
