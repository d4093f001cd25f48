package networks

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net"
	"regexp"
	"slices"

	api "github.com/moby/moby/api/types/network"

	"berth/internal/errdef"
	"berth/internal/filter"
	"berth/internal/network"
	"berth/internal/roster"
	"berth/internal/state"
)

// member is a container that is in networks now.
type member struct {
	id, name string
	settings network.Settings
}

// members finds the containers that are in networks: those that run, and those
// that are about to, which have their addresses already.
func (s *Set) members() ([]member, error) {
	ids, err := s.Roster.IDs()
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	var out []member
	for _, id := range ids {
		got, err := s.Got(id)
		if err != nil {
			return nil, err
		}
		if got == nil {
			continue
		}
		r, st, err := s.Roster.Load(id)
		if errors.Is(err, errdef.ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		if roster.Active(st) || s.Roster.Busy(id) {
			out = append(out, member{id, r.Name, *got})
		}
	}
	return out, nil
}

// Got reads what a container has got of its networks; nil: nothing. It counts
// only while the container runs.
func (s *Set) Got(id string) (*network.Settings, error) {
	got := new(network.Settings)
	err := state.ReadJSON(s.Roster.Path(id, network.SettingsFile), got)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return got, err
}

// in returns the place of a container in a network; nil: it is not in it.
func (m member) in(networkID string) *network.Settled {
	for i := range m.settings.Endpoints {
		if m.settings.Endpoints[i].NetworkID == networkID {
			return &m.settings.Endpoints[i]
		}
	}
	return nil
}

// Inspect describes a network.
func (s *Set) Inspect(ctx context.Context, text string) (api.Inspect, error) {
	n, err := s.Find(text)
	if err != nil {
		return api.Inspect{}, err
	}
	members, err := s.members()
	if err != nil {
		return api.Inspect{}, err
	}
	out := api.Inspect{Network: describe(n), Containers: map[string]api.EndpointResource{}}
	for _, m := range members {
		if e := m.in(n.ID); e != nil {
			mac, _ := net.ParseMAC(e.MAC)
			out.Containers[m.id] = api.EndpointResource{
				Name: m.name, EndpointID: e.ID, MacAddress: api.HardwareAddr(mac), IPv4Address: e.IPv4, IPv6Address: e.IPv6,
			}
		}
	}
	return out, nil
}

// describe says a record in Docker's words.
func describe(n network.Network) api.Network {
	out := api.Network{
		Name: n.Name, ID: n.ID, Created: n.Created, Scope: "local", Driver: n.Driver, EnableIPv4: n.IPv4, EnableIPv6: n.IPv6,
		IPAM: api.IPAM{Driver: "default"}, Internal: n.Internal, Options: options(n), Labels: maps.Clone(n.Labels),
	}
	for _, sub := range n.Subnets {
		out.IPAM.Config = append(out.IPAM.Config, api.IPAMConfig{Subnet: sub.Prefix, IPRange: sub.Range, Gateway: sub.Gateway, AuxAddress: sub.Aux})
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	return out
}

// options are those of a network, and what the default network has by itself,
// as Docker shows it.
func options(n network.Network) map[string]string {
	out := map[string]string{}
	if n.Name == Bridge {
		out = map[string]string{
			"com.docker.network.bridge.default_bridge": "true", OptICC: "true", OptMasquerade: "true",
			OptHostIP: "0.0.0.0", OptName: n.Interface,
		}
	}
	maps.Copy(out, n.Options)
	return out
}

// List lists networks by name.
// Filters: dangling, driver, id, label, name, scope, type.
func (s *Set) List(ctx context.Context, filters map[string][]string) ([]api.Summary, error) {
	match, err := s.filter(filters, "dangling", "driver", "id", "label", "name", "scope", "type")
	if err != nil {
		return nil, err
	}
	list, err := s.All()
	if err != nil {
		return nil, err
	}
	var out []api.Summary
	for _, n := range list {
		if match(n) {
			out = append(out, api.Summary{Network: describe(n)})
		}
	}
	return out, nil
}

// test is one value of a filter.
type test func(network.Network) bool

// filter compiles filters to one test. Several values of a key are alternatives,
// but labels must all be there.
func (s *Set) filter(filters map[string][]string, known ...string) (test, error) {
	var all []test
	for key, values := range filters {
		if !slices.Contains(known, key) {
			return nil, refusal(errdef.ErrInvalid, "invalid filter '%s'", key)
		}
		var any []test
		for _, v := range values {
			t, err := s.oneFilter(key, v)
			if err != nil {
				return nil, err
			}
			any = append(any, t)
		}
		every := key == "label" || key == "label!"
		all = append(all, func(n network.Network) bool {
			for _, t := range any {
				if t(n) != every {
					return !every
				}
			}
			return every
		})
	}
	return func(n network.Network) bool {
		return !slices.ContainsFunc(all, func(t test) bool { return !t(n) })
	}, nil
}

func (s *Set) oneFilter(key, v string) (test, error) {
	switch key {
	case "driver":
		return func(n network.Network) bool { return n.Driver == v }, nil
	case "scope":
		return func(network.Network) bool { return v == "local" }, nil
	case "label", "label!":
		return func(n network.Network) bool { return filter.HasLabel(n.Labels, v) == (key == "label") }, nil
	case "type":
		if v != "custom" && v != "builtin" {
			return nil, refusal(errdef.ErrInvalid, "invalid filter: 'type'='%s'", v)
		}
		return func(n network.Network) bool { return predefined(n.Name) == (v == "builtin") }, nil
	case "until":
		at, ok := filter.Moment(v)
		if !ok {
			return nil, refusal(errdef.ErrInvalid, "invalid filter 'until=%s'", v)
		}
		return func(n network.Network) bool { return n.Created.Before(at) }, nil
	case "dangling":
		return s.dangling(v)
	}
	re, err := regexp.Compile(v)
	if err != nil {
		return nil, refusal(errdef.ErrInvalid, "invalid filter '%s=%s': %v", key, v, err)
	}
	if key == "id" {
		return func(n network.Network) bool { return re.MatchString(n.ID) }, nil
	}
	return func(n network.Network) bool { return re.MatchString(n.Name) }, nil
}

// dangling tests whether somebody made a network that no container is in.
func (s *Set) dangling(v string) (test, error) {
	if !filter.True(v) && !filter.False(v) {
		return nil, refusal(errdef.ErrInvalid, "invalid filter 'dangling=%s'", v)
	}
	members, err := s.members()
	if err != nil {
		return nil, err
	}
	return func(n network.Network) bool {
		used := slices.ContainsFunc(members, func(m member) bool { return m.in(n.ID) != nil })
		return (!used && !predefined(n.Name)) == filter.True(v)
	}, nil
}
