package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"berth/internal/foreign"
	"berth/internal/listeners"
	"berth/internal/network"
	"berth/internal/network/client"
	"berth/internal/network/wire"
	"berth/internal/roster"
	crt "berth/internal/runtime"
	"berth/internal/shim"
	"berth/internal/userns"
)

// networkHolder is how the holder of networks is reached.
func (e *Engine) networkHolder() *client.Client {
	if !e.host.Rootless {
		return client.New(e.dir, nil)
	}
	return client.New(e.dir, e.networkUser)
}

// networkUser is the user namespace of an account's networks: with all ids that
// its containers may have.
func (e *Engine) networkUser() (*os.File, error) {
	if _, err := e.inside.Ranges(); err != nil {
		ns, err := userns.Single(e.host.UID, e.host.GID)
		return ns, idsError(err)
	}
	return e.inside.Namespace()
}

// joinNetworks asks for a container's place in its networks: nil if it is in none
// that the holder makes.
func (e *Engine) joinNetworks(ctx context.Context, r *record, opt StartOptions) (*client.Lease, error) {
	if m := r.HostConfig.NetworkMode; m == "" || m.IsDefault() || m.IsHost() || m.IsNone() || m.IsContainer() {
		return nil, nil // without --network it is the host's
	}
	hold, err := e.Networks().Hold()
	if err != nil {
		return nil, err
	}
	defer hold.Unlock()
	ends, err := e.Networks().Endpoints(r)
	if err != nil || len(ends) == 0 {
		return nil, err
	}
	wanted, err := wantedPorts(r, ends)
	if err != nil {
		return nil, err
	}
	if !foreign.Ordinary(r.HostConfig.Runtime) {
		return nil, &Error{Kind: ErrNotSupported, Text: fmt.Sprintf("containers with --runtime %s have no place in network %s: use --network host or none", r.HostConfig.Runtime, ends[0].Network.Name)}
	}
	j := &wire.Join{
		ID: r.ID, Name: r.Name, Hostname: r.Config.Hostname, Endpoints: ends, Ports: wanted,
		DNS: network.Resolver{Servers: r.HostConfig.DNS, Search: r.HostConfig.DNSSearch, Options: r.HostConfig.DNSOptions},
	}
	lease, err := e.networkHolder().Join(ctx, j)
	if err != nil {
		return nil, e.whose(err)
	}
	opt.warn(lease.Warnings)
	return lease, nil
}

// wantedPorts are the ports that a container publishes: none, as in Docker, if
// nothing can come to it from outside.
func wantedPorts(r *record, ends []network.Endpoint) ([]network.Port, error) {
	open := func(p network.Endpoint) bool { return p.Network.Driver == network.Bridge && !p.Network.Internal }
	if !slices.ContainsFunc(ends, open) {
		return nil, nil
	}
	return roster.AskedPorts(r.Config, r.HostConfig)
}

// whose completes the error for a port that is taken with who has it.
func (e *Engine) whose(err error) error {
	var t *network.TakenError
	if !errors.As(err, &t) {
		return err
	}
	if l, ok := listeners.Find(listeners.List(), t.Proto, t.At.Addr(), t.At.Port()); ok && t.By == "" {
		t.By = e.holder(l)
	}
	return &Error{Kind: ErrConflict, Text: t.Error()}
}

// inNetworks completes what a start is compiled from for a container with a lease.
func inNetworks(c *crt.Config, l *client.Lease) {
	if l == nil {
		return
	}
	c.Lease, c.Ask, c.Answer = true, []byte(wire.AskAttach), []byte(wire.Attached)
	c.HolderNS = l.User != nil && !c.UserNS
}

// lend gives the shim the lease.
func (e *Engine) lend(p *shim.Plan, r *record, l *client.Lease) {
	if l != nil {
		p.Public = e.public(r, l.Settings)
		p.Network = &shim.Network{Join: *l.Asked, Holder: e.networkHolder().Program()}
		p.Lease = l.Files()
	}
}
