package networks

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	api "github.com/moby/moby/api/types/network"

	"berth/internal/errdef"
	"berth/internal/network"
	"berth/internal/network/ipam"
	"berth/internal/network/wire"
	"berth/internal/roster"
	"berth/internal/shim"
	"berth/internal/state"
)

// fakeHolder writes down what it is asked.
type fakeHolder struct{ asked []string }

func (h *fakeHolder) ask(q *wire.Request) (*wire.Response, error) {
	a := &wire.Response{V: 1}
	switch {
	case q.V != 1:
		return nil, errors.New("an unknown version")
	case q.Connect != nil:
		h.asked = append(h.asked, fmt.Sprintf("connect %s %s %s", q.Connect.ID[:3], q.Connect.Endpoint.Network.Name, q.Connect.Endpoint.Interface))
		a.Warnings = []string{"said by the holder"}
	case q.Disconnect != nil:
		h.asked = append(h.asked, "disconnect "+q.Disconnect.ID[:3])
	case q.Drop != nil:
		h.asked = append(h.asked, "drop "+q.Drop.Interface)
	}
	return a, nil
}

// place is a data root with networks and a holder that does nothing.
type place struct {
	*Set
	t      *testing.T
	holder fakeHolder
}

func newPlace(t *testing.T) *place {
	dir, err := state.Open(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t}
	p.Set = Open(Options{Dir: dir, Roster: roster.Open(dir, nil), Ask: p.holder.ask})
	return p
}

func (p *place) create(req Request) network.Network {
	p.t.Helper()
	n, _, err := p.Create(context.Background(), req)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// container makes the record of a container.
func (p *place) container(name string, hc container.HostConfig, asked map[string]*api.EndpointSettings) *roster.Record {
	p.t.Helper()
	r := &roster.Record{V: 1, ID: roster.NewID(), Name: name, Config: &container.Config{}, HostConfig: &hc}
	var err error
	if r.Networks, err = p.Settle(r.HostConfig, &api.NetworkingConfig{EndpointsConfig: asked}); err != nil {
		p.t.Fatal(err)
	}
	if err := os.MkdirAll(p.Roster.Path(r.ID), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := errors.Join(p.Roster.Claim(r, name), p.Roster.Write(p.Roster.Path(r.ID), r)); err != nil {
		p.t.Fatal(err)
	}
	return r
}

// start has a container look as if it ran with what it asks for.
func (p *place) start(r *roster.Record) {
	p.t.Helper()
	eps, err := p.Endpoints(r)
	if err != nil {
		p.t.Fatal(err)
	}
	got := network.Settings{V: 1}
	for _, e := range eps {
		book := ipam.Open(e.Network)
		a, err := book.Any(false)
		if err != nil {
			p.t.Fatal(err)
		}
		got.Endpoints = append(got.Endpoints, network.Settled{
			NetworkID: e.Network.ID, Network: e.Network.Name, ID: "e" + e.Network.ID[1:], Interface: e.Interface,
			MAC: "02:42:00:00:00:01", IPv4: a, Gateway4: book.Gateway(a.Addr()), Names: []string{r.Name},
		})
	}
	err = errors.Join(state.WriteJSON(p.Roster.Path(r.ID, network.SettingsFile), got),
		state.WriteJSON(p.Roster.Path(r.ID, shim.StatusFile), shim.Status{V: 1, Phase: shim.Running, Shim: state.Self()}))
	if err != nil {
		p.t.Fatal(err)
	}
}

func subnet(prefix string, more ...string) network.Subnet {
	s := network.Subnet{Prefix: netip.MustParsePrefix(prefix)}
	if len(more) > 0 {
		s.Gateway = netip.MustParseAddr(more[0])
	}
	return s
}

func TestCreate(t *testing.T) {
	p := newPlace(t)
	n := p.create(Request{Name: "front", IPv6: true, Labels: map[string]string{"a": "b"}, Options: map[string]string{OptMTU: "9000"}})
	if len(n.Subnets) != 2 || n.Subnets[0].Asked || !n.Subnets[0].Gateway.IsValid() || !n.Subnets[1].Prefix.Addr().Is6() || n.Interface != "br-"+n.ID[:12] {
		t.Errorf("%+v", n)
	}
	for _, text := range []string{"front", n.ID, n.ID[:12], n.ID[:2]} {
		if got, err := p.Find(text); err != nil || got.ID != n.ID || got.Subnets[0].Prefix != n.Subnets[0].Prefix {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	named := p.create(Request{Name: "back", Subnets: []network.Subnet{subnet("10.77.0.0/24"), subnet("fd77::/64")}, Options: map[string]string{OptName: "back0"}})
	if named.Interface != "back0" || len(named.Subnets) != 1 || !named.Subnets[0].Asked || named.Subnets[0].Gateway.String() != "10.77.0.1" {
		t.Errorf("%+v", named)
	}
}

func TestCreateRefused(t *testing.T) {
	p := newPlace(t)
	p.create(Request{Name: "front", Subnets: []network.Subnet{subnet("10.77.0.0/24")}, Options: map[string]string{OptName: "front0"}})
	o := func(k, v string) map[string]string { return map[string]string{k: v} }
	for _, c := range []struct {
		req  Request
		kind error
		want string
	}{
		{Request{Name: "front"}, errdef.ErrConflict, "network with name front already exists"},
		{Request{Name: "bridge"}, errdef.ErrInvalid, "operation is not permitted on predefined bridge network"},
		{Request{Name: "container:x"}, errdef.ErrInvalid, "operation is not permitted on predefined"},
		{Request{Name: "a b"}, errdef.ErrInvalid, "invalid network name"},
		{Request{Name: ""}, errdef.ErrInvalid, "invalid network name"},
		{Request{Name: "x", Driver: "overlay"}, errdef.ErrNotFound, "could not find plugin overlay"},
		{Request{Name: "x", Driver: "host"}, errdef.ErrConflict, `only one instance of "host" network is allowed`},
		{Request{Name: "x", Driver: "null"}, errdef.ErrConflict, `only one instance of "null" network is allowed`},
		{Request{Name: "x", Driver: "macvlan"}, errdef.ErrInvalid, "-o parent=eth0"},
		{Request{Name: "x", Driver: "macvlan", Options: o("parent", "nosuch0")}, errdef.ErrNotFound, "no interface nosuch0"},
		{Request{Name: "x", NoIPv4: true}, errdef.ErrInvalid, "IPv4 or IPv6 must be enabled"},
		{Request{Name: "x", Options: o("mtu", "9")}, errdef.ErrInvalid, `unknown option "mtu" of the driver bridge`},
		{Request{Name: "x", Options: o(OptMTU, "9")}, errdef.ErrInvalid, "is no MTU"},
		{Request{Name: "x", IPv6: true, Options: o(OptMTU, "1000")}, errdef.ErrInvalid, "is no MTU"},
		{Request{Name: "x", Options: o(OptICC, "maybe")}, errdef.ErrInvalid, "neither true nor false"},
		{Request{Name: "x", Options: o(OptName, "a/b")}, errdef.ErrInvalid, "cannot be the name of an interface"},
		{Request{Name: "x", Options: o(OptName, "abcdefghijklmnop")}, errdef.ErrInvalid, "cannot be the name of an interface"},
		{Request{Name: "x", Options: o(OptName, "lo")}, errdef.ErrConflict, "this host has an interface lo already"},
		{Request{Name: "x", Options: o(OptName, "front0")}, errdef.ErrConflict, "the network front has a bridge front0 already"},
		{Request{Name: "x", Options: o("com.docker.network.bridge.gateway_mode_ipv4", "routed")}, errdef.ErrNotSupported, "not supported"},
		{Request{Name: "x", Subnets: []network.Subnet{subnet("10.77.0.0/16")}}, errdef.ErrConflict, "Pool overlaps with other one on this address space: 10.77.0.0/16 and the network front"},
		{Request{Name: "x", Subnets: []network.Subnet{subnet("10.0.0.0/16", "10.1.0.1")}}, errdef.ErrInvalid, "invalid network config: invalid gateway 10.1.0.1"},
		{Request{Name: "x", Driver: "macvlan", Options: o("parent", "lo"), Subnets: []network.Subnet{subnet("10.1.0.0/16"), subnet("10.1.2.0/24")}}, errdef.ErrInvalid, "overlap"},
		{Request{Name: "x", Subnets: []network.Subnet{subnet("10.1.0.0/24"), subnet("10.2.0.0/24")}}, errdef.ErrInvalid, "bridge driver doesn't support multiple subnets"},
	} {
		_, _, err := p.Create(context.Background(), c.req)
		if !errors.Is(err, c.kind) || err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v; want %q", c.req, err, c.want)
		}
	}
	if list, err := p.All(); err != nil || len(list) != 4 { // bridge, front, host, none
		t.Errorf("what was refused is there: %v, %v", list, err)
	}
	p.Rootless = true
	if _, _, err := p.Create(context.Background(), Request{Name: "x", Driver: "macvlan", Options: o("parent", "lo")}); !errors.Is(err, errdef.ErrNotSupported) {
		t.Errorf("macvlan without root: %v", err)
	}
}

// TestCreateAtOnce: of many who want one name one gets it, and no two networks
// get the same addresses.
func TestCreateAtOnce(t *testing.T) {
	p := newPlace(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 12 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			name := "same"
			if i%2 == 0 {
				name = fmt.Sprint("n", i)
			}
			_, _, err := p.Create(context.Background(), Request{Name: name})
			if err != nil && !(name == "same" && errors.Is(err, errdef.ErrConflict)) {
				t.Error(err)
			}
			if name == "same" && err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	list, err := p.All()
	if err != nil || won != 1 {
		t.Fatalf("%d have got the name, %v", won, err)
	}
	seen := map[netip.Prefix]string{}
	for _, n := range list {
		for _, s := range n.Subnets {
			if other, hit := seen[s.Prefix]; hit {
				t.Errorf("%s and %s have %s", other, n.Name, s.Prefix)
			}
			seen[s.Prefix] = n.Name
		}
	}
	if len(seen) != 8 {
		t.Errorf("%v", seen)
	}
}

func TestExhausted(t *testing.T) {
	p := newPlace(t)
	for i := 0; ; i++ {
		_, _, err := p.Create(context.Background(), Request{Name: fmt.Sprint("n", i)})
		if err == nil && i < 40 {
			continue
		}
		if !errors.Is(err, errdef.ErrConflict) || !strings.Contains(fmt.Sprint(err), "all predefined address pools have been fully subnetted") {
			t.Errorf("after %d: %v", i, err)
		}
		break
	}
	p.create(Request{Name: "own", Subnets: []network.Subnet{subnet("10.99.0.0/24")}})
}

func TestPredefined(t *testing.T) {
	p := newPlace(t)
	p.Interface = "berth0"
	n, err := p.Find("bridge")
	if err != nil || n.Interface != "berth0" || n.Driver != network.Bridge || len(n.Subnets) != 1 {
		t.Errorf("%+v, %v", n, err)
	}
	again, err := p.Default()
	if err != nil || again.ID != n.ID {
		t.Errorf("another one: %+v, %v", again, err)
	}
	for _, name := range []string{"bridge", "host", "none"} {
		n, err := p.Find(name)
		if err != nil || !isID(n.ID) {
			t.Errorf("%s: %+v, %v", name, n, err)
		}
		if err := p.Remove(context.Background(), name); !errors.Is(err, errdef.ErrConflict) || err.Error() != name+" is a pre-defined network and cannot be removed" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := p.Find("nosuch"); !errors.Is(err, errdef.ErrNotFound) || err.Error() != "network nosuch not found" {
		t.Error(err)
	}
	if _, err := p.Find(""); !errors.Is(err, errdef.ErrNotFound) {
		t.Error(err)
	}
}

// TestDamaged: a record that cannot be read is said, not passed over: what is in
// it would be given to others.
func TestDamaged(t *testing.T) {
	p := newPlace(t)
	n := p.create(Request{Name: "front"})
	for _, text := range []string{"{", `{"v":9,"id":"` + n.ID + `","name":"front"}`, `{"v":1,"id":"` + strings.Repeat("0", 64) + `","name":"front"}`, ""} {
		if err := os.WriteFile(p.path(n.ID+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := p.All(); err == nil {
			t.Errorf("%q is a network", text)
		}
	}
}

func TestRemove(t *testing.T) {
	p := newPlace(t)
	n := p.create(Request{Name: "front"})
	r := p.container("web", container.HostConfig{NetworkMode: "front"}, nil)
	p.start(r)
	err := p.Remove(context.Background(), "front")
	if want := fmt.Sprintf(`error while removing network: network front has active endpoints (name:"web" id:"%s")`, r.ID[:12]); !errors.Is(err, errdef.ErrConflict) || err.Error() != want {
		t.Errorf("in use: %v", err)
	}
	info, err := p.Inspect(context.Background(), "front")
	if e := info.Containers[r.ID]; err != nil || e.Name != "web" || e.IPv4Address.Addr() != n.Subnets[0].Gateway.Next() || len(e.MacAddress) != 6 {
		t.Errorf("%+v, %v", info, err)
	}
	if err := state.WriteJSON(p.Roster.Path(r.ID, shim.StatusFile), shim.Status{V: 1, Phase: shim.Exited}); err != nil {
		t.Fatal(err)
	}
	tx, err := p.Roster.Lock(r.ID) // it is being started
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Remove(context.Background(), "front"); !errors.Is(err, errdef.ErrConflict) {
		t.Errorf("about to be used: %v", err)
	}
	tx.Unlock()
	if err := p.Remove(context.Background(), "front"); err != nil {
		t.Errorf("of a stopped container: %v", err)
	}
	if err := p.Remove(context.Background(), "front"); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("twice: %v", err)
	}
	if got := strings.Join(p.holder.asked, ","); got != "drop "+n.Interface {
		t.Errorf("asked: %s", got)
	}
	if _, err := p.Endpoints(r); !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("start without its network: %v", err)
	}
	anew := p.create(Request{Name: "front"})
	if eps, err := p.Endpoints(r); err != nil || eps[0].Network.ID != anew.ID {
		t.Errorf("start with a new one of that name: %v, %v", eps, err)
	}
}

func TestPruneAndList(t *testing.T) {
	p := newPlace(t)
	for _, name := range []string{"a", "b", "c"} {
		p.create(Request{Name: name, Labels: map[string]string{"of": name}})
	}
	p.start(p.container("web", container.HostConfig{NetworkMode: "b"}, nil))
	names := func(filters map[string][]string) string {
		list, err := p.List(context.Background(), filters)
		if err != nil {
			return err.Error()
		}
		var out []string
		for _, n := range list {
			out = append(out, n.Name)
		}
		return strings.Join(out, " ")
	}
	a, err := p.Find("a")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ key, value, want string }{
		{"", "", "a b bridge c host none"},
		{"driver", "bridge", "a b bridge c"},
		{"driver", "null", "none"},
		{"type", "builtin", "bridge host none"},
		{"type", "custom", "a b c"},
		{"type", "x", "invalid filter: 'type'='x'"},
		{"label", "of", "a b c"},
		{"label", "of=b", "b"},
		{"name", "b", "b bridge"},
		{"name", "^b$", "b"},
		{"name", "(", "invalid filter 'name=(': error parsing regexp: missing closing ): `(`"},
		{"id", a.ID[:12], "a"},
		{"scope", "local", "a b bridge c host none"},
		{"scope", "swarm", ""},
		{"dangling", "true", "a c"},
		{"dangling", "0", "b bridge host none"},
		{"dangling", "x", "invalid filter 'dangling=x'"},
		{"until", "1s", "invalid filter 'until'"},
	} {
		filters := map[string][]string{}
		if c.key != "" {
			filters[c.key] = []string{c.value}
		}
		if got := names(filters); got != c.want {
			t.Errorf("%s=%s: %q, want %q", c.key, c.value, got, c.want)
		}
	}
	prune := func(key, value, want string) {
		t.Helper()
		rep, err := p.Prune(context.Background(), map[string][]string{key: {value}})
		if got := strings.Join(rep.NetworksDeleted, " "); err != nil || got != want {
			t.Errorf("prune %s=%s: %q, %v; want %q", key, value, got, err, want)
		}
	}
	prune("until", time.Now().Add(-time.Hour).Format(time.RFC3339), "")
	prune("label!", "of=a", "c")
	prune("label", "of", "a")
	if got := names(nil); got != "b bridge host none" {
		t.Error(got)
	}
}
