package roster

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	api "github.com/moby/moby/api/types/network"

	"berth/internal/network"
	"berth/internal/shim"
)

// asks makes a container that exposes and publishes: "80/tcp" or
// "80/tcp=[IP:]HOST", HOST being empty, a number or a range.
func asks(all bool, ports ...string) Entry {
	c, hc := &container.Config{ExposedPorts: api.PortSet{}}, &container.HostConfig{NetworkMode: "web", PublishAllPorts: all, PortBindings: api.PortMap{}}
	for _, text := range ports {
		name, host, published := strings.Cut(text, "=")
		p := api.MustParsePort(name)
		c.ExposedPorts[p] = struct{}{}
		if !published {
			continue
		}
		b := api.PortBinding{HostPort: host}
		if i := strings.LastIndexByte(host, ':'); i >= 0 {
			b = api.PortBinding{HostIP: netip.MustParseAddr(host[:i]), HostPort: host[i+1:]}
		}
		hc.PortBindings[p] = append(hc.PortBindings[p], b)
	}
	return Entry{Record: &Record{Config: c, HostConfig: hc}, Status: shim.Status{Phase: shim.Running}}
}

func TestAskedPorts(t *testing.T) {
	for _, c := range []struct {
		all   bool
		ports []string
		want  string
	}{
		{false, []string{"80/tcp"}, "[]"},
		{false, []string{"80/tcp=8080"}, "[80/tcp invalid IP 8080-0 false]"},
		{false, []string{"80/tcp="}, "[80/tcp invalid IP 0-0 false]"},
		{false, []string{"80/tcp=8000-8010"}, "[80/tcp invalid IP 8000-8010 false]"},
		{false, []string{"53/udp=127.0.0.1:53", "53/tcp=::1:5353", "22/tcp=::ffff:10.0.0.1:22"},
			"[22/tcp 10.0.0.1 22-0 false 53/tcp ::1 5353-0 false 53/udp 127.0.0.1 53-0 false]"},
		{true, []string{"80/tcp=8080", "443/tcp", "53/udp"},
			"[53/udp invalid IP 0-0 true 80/tcp invalid IP 8080-0 false 443/tcp invalid IP 0-0 true]"},
		{false, []string{"80/tcp=x"}, `invalid port specification: "x" for 80/tcp`},
		{false, []string{"80/tcp=70000"}, "out of range"},
		{false, []string{"80/tcp=5-3"}, "no first port"},
		{false, []string{"80/tcp=0-3"}, "no first port"},
		{false, []string{"80/tcp=3-"}, "invalid syntax"},
		{false, []string{"0/tcp=80"}, "a container's port is a number from 1 to 65535"},
	} {
		en := asks(c.all, c.ports...)
		got, err := AskedPorts(en.Config, en.HostConfig)
		if err != nil {
			if c.want[0] == '[' || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: %v", c.ports, err)
			}
			continue
		}
		texts := []string{}
		for _, p := range got {
			texts = append(texts, fmt.Sprintf("%d/%s %v %d-%d %v", p.Inside, p.Proto, p.HostIP, p.HostPort, p.HostEnd, p.Automatic))
		}
		if s := fmt.Sprint(texts); s != c.want {
			t.Errorf("%v: %s", c.ports, s)
		}
	}
}

func TestPortsOfARunningContainer(t *testing.T) {
	v4, v6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	got := &network.Settings{Ports: []network.Port{
		{Proto: "tcp", Inside: 80, HostIP: v6, HostPort: 32768},
		{Proto: "tcp", Inside: 80, HostIP: v4, HostPort: 32768},
	}}
	en := asks(false, "80/tcp=", "443/tcp")
	port := func(p string) api.Port { return api.MustParsePort(p) }
	for name, c := range map[string]struct {
		en      Entry
		got     *network.Settings
		summary []container.PortSummary
		inspect api.PortMap
	}{
		"on a bridge": {en, got,
			[]container.PortSummary{{IP: v4, PrivatePort: 80, PublicPort: 32768, Type: "tcp"}, {IP: v6, PrivatePort: 80, PublicPort: 32768, Type: "tcp"}, {PrivatePort: 443, Type: "tcp"}},
			api.PortMap{port("80/tcp"): {{HostIP: v6, HostPort: "32768"}, {HostIP: v4, HostPort: "32768"}}, port("443/tcp"): nil}},
		"with the host's network": {asks(false, "80/tcp=80"), nil,
			[]container.PortSummary{{IP: v4, PrivatePort: 80, PublicPort: 80, Type: "tcp"}},
			api.PortMap{port("80/tcp"): {{HostIP: v4, HostPort: "80"}}}},
		"that has ended": {Entry{Record: en.Record, Status: shim.Status{Phase: shim.Exited}}, got, nil, api.PortMap{}},
	} {
		if s := Ports(c.en, c.got); !reflect.DeepEqual(s, c.summary) {
			t.Errorf("%s: %v", name, s)
		}
		if m := PortMap(c.en, c.got); !reflect.DeepEqual(m, c.inspect) {
			t.Errorf("%s: %v", name, m)
		}
	}
	for _, mode := range []container.NetworkMode{"host", "none", "container:x"} {
		en := asks(false, "80/tcp=80", "443/tcp")
		en.HostConfig.NetworkMode = mode
		for _, s := range Ports(en, nil) {
			if s.PublicPort != 0 || mode == "host" {
				t.Errorf("%s: %+v", mode, s)
			}
		}
	}
}

func TestPortFilters(t *testing.T) {
	en := asks(false, "80/tcp=8080", "53/udp")
	for v, want := range map[string][2]bool{ // publish, expose
		"80": {true, true}, "80/tcp": {true, true}, "79-81": {true, true}, "8080": {false, false}, "80/udp": {false, false},
		"53": {false, false}, "53/udp": {false, true}, "50-60/udp": {false, true}, "81-90": {false, false},
	} {
		for i, key := range []string{"publish", "expose"} {
			f, err := portTest(key, v)
			if err != nil || f(en) != want[i] {
				t.Errorf("%s=%s: %v", key, v, err)
			}
		}
	}
	for _, v := range []string{"", "x", "80/x", "5-3", "70000", "/tcp"} {
		if _, err := portTest("publish", v); err == nil || err.Error() != "invalid filter 'publish="+v+"'" {
			t.Errorf("%s: %v", v, err)
		}
	}
}
