package networks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/network"

	"berth/internal/errdef"
	"berth/internal/network"
	"berth/internal/network/wire"
	"berth/internal/roster"
)

// Connect puts a container into one more network: at once if it runs, else from
// its next start on. The warnings are the holder's.
func (s *Set) Connect(ctx context.Context, text, ref string, asked *api.EndpointSettings) (warnings []string, err error) {
	id, err := s.Roster.Find(ref)
	if err != nil {
		return nil, err
	}
	tx, err := s.Roster.Lock(id)
	if err != nil {
		return nil, err
	}
	defer tx.Unlock()
	r, st, err := s.Roster.Load(id)
	if err != nil {
		return nil, err
	}
	hold, err := s.Hold()
	if err != nil {
		return nil, err
	}
	defer hold.Unlock()
	n, err := s.Find(text)
	if err != nil {
		return nil, err
	}
	if err := connectable(r, n); err != nil {
		return nil, err
	}
	_, ep, err := s.settle(n.Name, asked)
	if err != nil {
		return nil, err
	}
	change := *r
	change.Networks = places(r)
	if _, there := change.Networks[n.Name]; there {
		return nil, refusal(errdef.ErrConflict, "endpoint with name %s already exists in network %s", r.Name, n.Name)
	}
	change.Networks[n.Name] = ep
	if roster.Active(st) {
		if warnings, err = s.connectLive(&change, n, ep); err != nil {
			return warnings, err
		}
	}
	if err := s.Roster.Write(s.Roster.Path(id), &change); err != nil {
		return warnings, err
	}
	if !roster.Active(st) {
		return warnings, nil
	}
	s.note(events.ActionConnect, n, "container", id)
	return warnings, nil
}

// connectable refuses containers that have no place of their own in networks,
// and networks that have none to give.
func connectable(r *roster.Record, n network.Network) error {
	switch mode := r.HostConfig.NetworkMode; {
	case n.Driver == network.Host:
		return refusal(errdef.ErrInvalid, "container cannot be connected to host network: use run --network host")
	case n.Driver == network.None:
		return refusal(errdef.ErrInvalid, "container cannot be connected to network none: it would have none then")
	case mode.IsHost():
		return refusal(errdef.ErrInvalid, "container %s uses the host's network: it cannot be connected to another one", r.Name)
	case mode.IsContainer():
		return refusal(errdef.ErrInvalid, "container sharing network namespace with another container or host cannot be connected to any other network")
	case mode.IsNone():
		return refusal(errdef.ErrInvalid, "container cannot be connected to multiple networks with one of the networks in private (none) mode")
	}
	return nil
}

func (s *Set) connectLive(r *roster.Record, n network.Network, ep *api.EndpointSettings) ([]string, error) {
	got, err := s.Got(r.ID)
	if err != nil {
		return nil, err
	}
	if got == nil {
		return nil, refusal(errdef.ErrNotSupported, "container %s runs with the host's network, because no bridge could be had when it started: it cannot be connected while it runs", r.Name)
	}
	e, err := s.endpoint(r, n, ep)
	if err != nil {
		return nil, err
	}
	if e.Interface == "" {
		e.Interface = freeInterface(got, cmp.Or(n.Options[OptPrefix], "eth"))
	}
	a, err := s.ask(&wire.Request{Connect: &wire.Connect{ID: r.ID, Endpoint: e}})
	switch {
	case err != nil:
		return nil, err
	case a == nil:
		return nil, fmt.Errorf("nobody looks after the networks of container %s: restart it", r.Name)
	}
	return a.Warnings, s.moved(r, got)
}

// moved tells of the places that a running container has since it had those of
// before.
func (s *Set) moved(r *roster.Record, before *network.Settings) error {
	after, err := s.Got(r.ID)
	if err != nil || after == nil || s.Moved == nil {
		return err
	}
	return s.Moved(r, before.Endpoints, after.Endpoints)
}

// freeInterface is the first name of an interface that a container has not.
func freeInterface(got *network.Settings, prefix string) string {
	for i := 0; ; i++ {
		name := fmt.Sprint(prefix, i)
		if !slices.ContainsFunc(got.Endpoints, func(e network.Settled) bool { return e.Interface == name }) {
			return name
		}
	}
}

// Disconnect takes a container out of a network: at once if it runs. With force
// also where nobody can take its interface away.
func (s *Set) Disconnect(ctx context.Context, text, ref string, force bool) error {
	id, err := s.Roster.Find(ref)
	if err != nil {
		return err
	}
	tx, err := s.Roster.Lock(id)
	if err != nil {
		return err
	}
	defer tx.Unlock()
	r, st, err := s.Roster.Load(id)
	if err != nil {
		return err
	}
	n, err := s.placeOf(r, text)
	if err != nil {
		return err
	}
	switch mode := r.HostConfig.NetworkMode; {
	case mode.IsHost():
		return refusal(errdef.ErrInvalid, "container cannot be disconnected from host network")
	case mode.IsContainer(), mode.IsNone():
		return notConnected(r, n)
	}
	change := *r
	change.Networks = places(r)
	if _, there := change.Networks[n.Name]; !there {
		return notConnected(r, n)
	}
	delete(change.Networks, n.Name)
	if roster.Active(st) {
		if err := s.disconnectLive(r, n, force); err != nil {
			return err
		}
	}
	if err := s.Roster.Write(s.Roster.Path(id), &change); err != nil {
		return err
	}
	if roster.Active(st) {
		s.note(events.ActionDisconnect, n, "container", id)
	}
	return nil
}

// placeOf finds the network that a container is to leave, also one that is
// removed and only its record still speaks of.
func (s *Set) placeOf(r *roster.Record, text string) (network.Network, error) {
	for name, ep := range r.Networks {
		if name != text && ep.NetworkID != text {
			continue
		}
		n, err := s.named(ep.NetworkID, name)
		if err != nil {
			n = network.Network{Name: name, ID: ep.NetworkID, Driver: network.Bridge}
		}
		return n, nil
	}
	return s.Find(text)
}

func notConnected(r *roster.Record, n network.Network) error {
	return refusal(errdef.ErrConflict, "container %s is not connected to network %s", r.ID, strings.TrimSpace(n.Name))
}

func (s *Set) disconnectLive(r *roster.Record, n network.Network, force bool) error {
	got, err := s.Got(r.ID)
	if err != nil {
		return err
	}
	if got == nil || (member{settings: *got}).in(n.ID) == nil {
		return nil // it runs with the host's network
	}
	a, err := s.ask(&wire.Request{Disconnect: &wire.Disconnect{ID: r.ID, NetworkID: n.ID}})
	if err == nil && a == nil && !force {
		return fmt.Errorf("nobody looks after the networks of container %s: restart it, or use --force", r.Name)
	}
	if err == nil && a != nil {
		err = s.moved(r, got)
	}
	return err
}

// places are the networks that a container asks for, as a copy to change.
func places(r *roster.Record) map[string]*api.EndpointSettings {
	out := map[string]*api.EndpointSettings{}
	for name, ep := range r.Networks {
		out[name] = ep.Copy()
	}
	if r.Networks == nil {
		out[Bridge] = &api.EndpointSettings{}
	}
	return out
}
