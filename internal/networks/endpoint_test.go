package networks

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	api "github.com/moby/moby/api/types/network"

	"berth/internal/errdef"
	"berth/internal/network"
	"berth/internal/roster"
	"berth/internal/shim"
	"berth/internal/state"
)

func withIP(v4 string) *api.EndpointSettings {
	return &api.EndpointSettings{IPAMConfig: &api.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr(v4)}}
}

func TestSettleRefused(t *testing.T) {
	p := newPlace(t)
	p.create(Request{Name: "fixed", Subnets: []network.Subnet{subnet("10.77.0.0/24")}})
	p.create(Request{Name: "loose"})
	const wrap = "invalid config for network %s: invalid endpoint settings: "
	for _, c := range []struct {
		mode, name string
		ep         *api.EndpointSettings
		kind       error
		want       string
	}{
		{"nosuch", "nosuch", nil, errdef.ErrNotFound, "network nosuch not found"},
		{"fixed", "host", nil, errdef.ErrInvalid, "conflicting options: cannot attach both user-defined and non-user-defined network-modes"},
		{"host", "fixed", nil, errdef.ErrInvalid, "conflicting options: cannot attach both user-defined and non-user-defined network-modes"},
		{"host", "host", withIP("10.0.0.9"), errdef.ErrInvalid, fmt.Sprintf(wrap, "host") + "user specified IP address is supported on user defined networks only"},
		{"none", "none", &api.EndpointSettings{MacAddress: api.HardwareAddr{2, 0, 0, 0, 0, 1}}, errdef.ErrInvalid, "conflicting options: mac-address and the network mode"},
		{"default", "default", withIP("10.0.0.9"), errdef.ErrInvalid, fmt.Sprintf(wrap, "bridge") + "user specified IP address is supported on user defined networks only"},
		{"bridge", "bridge", &api.EndpointSettings{Aliases: []string{"x"}}, errdef.ErrInvalid, fmt.Sprintf(wrap, "bridge") + "network-scoped alias is supported only for containers in user defined networks"},
		{"loose", "loose", withIP("10.0.0.9"), errdef.ErrInvalid, fmt.Sprintf(wrap, "loose") + "user specified IP address is supported only when connecting to networks with user configured subnets"},
		{"fixed", "fixed", withIP("10.78.0.9"), errdef.ErrInvalid, fmt.Sprintf(wrap, "fixed") + "no configured subnet or ip-range contain the IP address 10.78.0.9"},
		{"fixed", "fixed", withIP("10.77.0.1"), errdef.ErrConflict, fmt.Sprintf(wrap, "fixed") + "Address already in use: 10.77.0.1 is the gateway"},
		{"fixed", "fixed", withIP("fd00::1"), errdef.ErrInvalid, fmt.Sprintf(wrap, "fixed") + "invalid IPv4 address: fd00::1"},
		{"fixed", "fixed", &api.EndpointSettings{MacAddress: api.HardwareAddr{1, 0, 0, 0, 0, 1}}, errdef.ErrInvalid, fmt.Sprintf(wrap, "fixed") + "invalid MAC address: 01:00:00:00:00:01 is not that of one interface (use one that begins with 02:42)"},
		{"fixed", "fixed", &api.EndpointSettings{Links: []string{"gone:db"}}, errdef.ErrNotFound, fmt.Sprintf(wrap, "fixed") + "could not get container for gone: No such container: gone"},
		{"fixed", "fixed", &api.EndpointSettings{Aliases: []string{"a b"}}, errdef.ErrInvalid, fmt.Sprintf(wrap, "fixed") + `"a b" cannot be the name of a host`},
		{"fixed", "fixed", &api.EndpointSettings{DriverOpts: map[string]string{OptEndpointName: "a/b"}}, errdef.ErrInvalid, fmt.Sprintf(wrap, "fixed") + `"a/b" cannot be the name of an interface: use 1 to 15 characters without spaces, / and :`},
		{"fixed", "fixed", &api.EndpointSettings{DriverOpts: map[string]string{"x": "y"}}, errdef.ErrNotSupported, fmt.Sprintf(wrap, "fixed") + `unknown driver option "x": there is ` + OptEndpointName},
	} {
		hc := &container.HostConfig{NetworkMode: container.NetworkMode(c.mode)}
		_, err := p.Settle(hc, &api.NetworkingConfig{EndpointsConfig: map[string]*api.EndpointSettings{c.name: c.ep}})
		if !errors.Is(err, c.kind) || err.Error() != c.want {
			t.Errorf("%s %s: %v\nwant %s", c.mode, c.name, err, c.want)
		}
	}
}

func TestSettle(t *testing.T) {
	p := newPlace(t)
	n := p.create(Request{Name: "front", Subnets: []network.Subnet{subnet("10.77.0.0/24")}})
	hc := &container.HostConfig{NetworkMode: container.NetworkMode(n.ID[:12])}
	got, err := p.Settle(hc, &api.NetworkingConfig{EndpointsConfig: map[string]*api.EndpointSettings{n.ID[:12]: withIP("10.77.0.9")}})
	if err != nil || hc.NetworkMode != "front" || got["front"].NetworkID != n.ID || got["front"].IPAMConfig.IPv4Address.String() != "10.77.0.9" {
		t.Errorf("%s %+v, %v", hc.NetworkMode, got, err)
	}
	if _, err := p.Settle(hc, &api.NetworkingConfig{EndpointsConfig: map[string]*api.EndpointSettings{"front": nil, n.ID: nil}}); !errors.Is(err, errdef.ErrInvalid) || err.Error() != `network "front" is specified multiple times` {
		t.Errorf("by two names: %v", err)
	}
	for _, mode := range []container.NetworkMode{"", "default", "host", "none", "container:x"} {
		hc := &container.HostConfig{NetworkMode: mode}
		if got, err := p.Settle(hc, nil); got != nil || err != nil || hc.NetworkMode != mode {
			t.Errorf("%q: %v, %v", mode, got, err)
		}
	}
	if list, err := p.records(); err != nil || len(list) != 1 {
		t.Errorf("who asks for nothing makes a network: %v, %v", list, err)
	}
}

// TestEndpoints: the network of --network is eth0, the first in the list has the
// default route.
func TestEndpoints(t *testing.T) {
	p := newPlace(t)
	p.create(Request{Name: "a"})
	p.create(Request{Name: "b", Internal: true})
	p.create(Request{Name: "c", Options: map[string]string{OptPrefix: "net"}})
	db := p.container("db", container.HostConfig{NetworkMode: "a"}, nil)
	mac := api.HardwareAddr{2, 0x42, 0, 0, 0, 9}
	for _, c := range []struct {
		mode  string
		asked map[string]*api.EndpointSettings
		want  string
	}{
		{"a", nil, "a:eth0"},
		{"b", nil, "b:eth0"},
		{"default", nil, "bridge:eth0"},
		{"b", map[string]*api.EndpointSettings{"a": nil, "c": nil}, "a:eth1 c:net0 b:eth0"},
		{"b", map[string]*api.EndpointSettings{"a": {GwPriority: -1}, "c": nil}, "c:net0 a:eth1 b:eth0"},
		{"a", map[string]*api.EndpointSettings{"c": {GwPriority: 5, DriverOpts: map[string]string{OptEndpointName: "wan"}}}, "c:wan a:eth0"},
	} {
		r := &roster.Record{HostConfig: &container.HostConfig{NetworkMode: container.NetworkMode(c.mode)}}
		var err error
		if r.Networks, err = p.Settle(r.HostConfig, &api.NetworkingConfig{EndpointsConfig: c.asked}); err != nil {
			t.Fatal(err)
		}
		eps, err := p.Endpoints(r)
		var got []string
		for _, e := range eps {
			got = append(got, e.Network.Name+":"+e.Interface)
		}
		if strings.Join(got, " ") != c.want || err != nil {
			t.Errorf("%s: %v, %v; want %s", c.mode, got, err, c.want)
		}
	}
	r := p.container("web", container.HostConfig{NetworkMode: "a"}, map[string]*api.EndpointSettings{
		"a": {MacAddress: mac, Aliases: []string{"www"}, Links: []string{"db:database", "db"}},
	})
	eps, err := p.Endpoints(r)
	if err != nil || eps[0].MAC != "02:42:00:00:00:09" || eps[0].Aliases[0] != "www" || eps[0].Links["database"] != db.ID || eps[0].Links["db"] != db.ID {
		t.Errorf("%+v, %v", eps, err)
	}
	for _, mode := range []container.NetworkMode{"host", "none", "container:" + container.NetworkMode(db.ID)} {
		if eps, err := p.Endpoints(&roster.Record{HostConfig: &container.HostConfig{NetworkMode: mode}}); eps != nil || err != nil {
			t.Errorf("%s: %v, %v", mode, eps, err)
		}
	}
}

// TestLinks: on the default network a link is to a container that runs.
func TestLinks(t *testing.T) {
	p := newPlace(t)
	db := p.container("db", container.HostConfig{NetworkMode: "bridge"}, nil)
	web := p.container("web", container.HostConfig{NetworkMode: "bridge", Links: []string{"/db:/web/database"}}, nil)
	if _, err := p.Endpoints(web); !errors.Is(err, errdef.ErrNotRunning) {
		t.Errorf("to one that is stopped: %v", err)
	}
	p.start(db)
	if eps, err := p.Endpoints(web); err != nil || eps[0].Links["database"] != db.ID {
		t.Errorf("%+v, %v", eps, err)
	}
}

func TestConnect(t *testing.T) {
	p := newPlace(t)
	ctx := context.Background()
	for _, name := range []string{"a", "b", "c"} {
		p.create(Request{Name: name})
	}
	r := p.container("web", container.HostConfig{NetworkMode: "a"}, nil)
	if _, err := p.Connect(ctx, "b", "web", &api.EndpointSettings{Aliases: []string{"www"}}); err != nil {
		t.Fatal(err)
	}
	if len(p.holder.asked) > 0 {
		t.Errorf("of a stopped container: %v", p.holder.asked)
	}
	if _, err := p.Connect(ctx, "b", "web", nil); !errors.Is(err, errdef.ErrConflict) || err.Error() != "endpoint with name web already exists in network b" {
		t.Errorf("twice: %v", err)
	}
	r, _, err := p.Roster.Load(r.ID)
	if err != nil || r.Networks["b"].Aliases[0] != "www" {
		t.Fatalf("%+v, %v", r.Networks, err)
	}
	p.start(r)
	warnings, err := p.Connect(ctx, "c", r.ID[:12], nil)
	if err != nil || len(warnings) != 1 {
		t.Errorf("%v, %v", warnings, err)
	}
	if err := p.Disconnect(ctx, "a", "web", false); err != nil {
		t.Error(err)
	}
	if got, want := strings.Join(p.holder.asked, ", "), fmt.Sprintf("connect %s c eth2, disconnect %s", r.ID[:3], r.ID[:3]); got != want {
		t.Errorf("asked: %s, want %s", got, want)
	}
	if err := p.Disconnect(ctx, "a", "web", false); !errors.Is(err, errdef.ErrConflict) || err.Error() != fmt.Sprintf("container %s is not connected to network a", r.ID) {
		t.Errorf("twice: %v", err)
	}
	if err := state.WriteJSON(p.Roster.Path(r.ID, shim.StatusFile), shim.Status{V: 1, Phase: shim.Exited}); err != nil {
		t.Fatal(err)
	}
	if err := p.Remove(ctx, "b"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(p.Disconnect(ctx, "b", "web", false), p.Disconnect(ctx, "c", "web", false)); err != nil {
		t.Errorf("from one that is removed, and the last: %v", err)
	}
	if r, _, err = p.Roster.Load(r.ID); err != nil || r.Networks == nil || len(r.Networks) != 0 {
		t.Errorf("%+v, %v", r.Networks, err)
	}
	if eps, err := p.Endpoints(r); eps == nil || len(eps) != 0 || err != nil {
		t.Errorf("out of all networks: %v, %v", eps, err)
	}
}

func TestConnectRefused(t *testing.T) {
	p := newPlace(t)
	p.create(Request{Name: "a"})
	hosted := p.container("hosted", container.HostConfig{NetworkMode: "host"}, nil)
	p.container("alone", container.HostConfig{NetworkMode: "none"}, nil)
	p.container("guest", container.HostConfig{NetworkMode: "container:" + container.NetworkMode(hosted.ID)}, nil)
	p.container("web", container.HostConfig{NetworkMode: "a"}, nil)
	for _, c := range []struct{ network, container, want string }{
		{"a", "hosted", "container hosted uses the host's network"},
		{"a", "alone", "container cannot be connected to multiple networks with one of the networks in private (none) mode"},
		{"a", "guest", "container sharing network namespace with another container or host cannot be connected to any other network"},
		{"host", "web", "container cannot be connected to host network"},
		{"none", "web", "container cannot be connected to network none"},
		{"nosuch", "web", "network nosuch not found"},
		{"a", "nosuch", "No such container: nosuch"},
	} {
		if _, err := p.Connect(context.Background(), c.network, c.container, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %s", c.network, c.container, err, c.want)
		}
	}
	if err := p.Disconnect(context.Background(), "host", "hosted", false); err == nil || err.Error() != "container cannot be disconnected from host network" {
		t.Error(err)
	}
	if err := p.Disconnect(context.Background(), "nosuch", "web", true); !errors.Is(err, errdef.ErrNotFound) {
		t.Error(err)
	}
}

// TestSettings: inspect tells what was asked, and while a container runs what it
// has got.
func TestSettings(t *testing.T) {
	p := newPlace(t)
	n := p.create(Request{Name: "a", Subnets: []network.Subnet{subnet("10.77.0.0/24")}})
	r := p.container("web", container.HostConfig{NetworkMode: "a"}, map[string]*api.EndpointSettings{"a": {Aliases: []string{"www"}}})
	ep := p.Places(r, false)["a"]
	if ep.IPAddress.IsValid() || ep.NetworkID != n.ID || ep.Aliases[0] != "www" {
		t.Errorf("stopped: %+v", ep)
	}
	p.start(r)
	ep = p.Places(r, true)["a"]
	if ep.IPAddress.String() != "10.77.0.2" || ep.IPPrefixLen != 24 || ep.Gateway.String() != "10.77.0.1" || ep.GlobalIPv6PrefixLen != 0 ||
		ep.MacAddress.String() != "02:42:00:00:00:01" || ep.Aliases[0] != "www" || ep.DNSNames[0] != "web" || ep.EndpointID == "" {
		t.Errorf("running: %+v", ep)
	}
	host := p.container("h", container.HostConfig{NetworkMode: "host"}, nil)
	if got := p.Places(host, true); len(got) != 1 || !isID(got["host"].NetworkID) {
		t.Errorf("host: %+v", got)
	}
}

func TestRoutes(t *testing.T) {
	v4 := "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n" +
		"eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" +
		"wg0\t000010AC\t00000000\t0001\t0\t0\t0\t0000F0FF\t0\t0\t0\n" + "torn\t0002"
	if got := fmt.Sprint(routes4(strings.NewReader(v4))); got != "[192.168.2.0/24 172.16.0.0/12]" {
		t.Error(got)
	}
	zero := strings.Repeat("0", 32)
	line := func(dest, length, dev string) string {
		return dest + " " + length + " " + zero + " 00 " + zero + " 00000100 00000001 00000000 00000001 " + dev + "\n"
	}
	v6 := line(zero, "00", "eth0") + line("fd000001000000000000000000000000", "40", "eth0") + line("fe800000000000000000000000000000", "40", "eth0") +
		line(zero[:31]+"1", "80", "lo") + line("ff000000000000000000000000000000", "08", "eth0") + "torn"
	if got := fmt.Sprint(routes6(strings.NewReader(v6))); got != "[fd00:1::/64]" {
		t.Error(got)
	}
	if got := fmt.Sprint(resolvers(strings.NewReader("search x\nnameserver 127.0.0.53\nnameserver 10.1.2.3\nnameserver fe80::1%eth0\nnameserver\n#nameserver 1.1.1.1\n"))); got != "[10.1.2.3/32 fe80::1/128]" {
		t.Error(got)
	}
}
