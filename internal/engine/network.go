package engine

import (
	"errors"

	"berth/internal/config"
	"berth/internal/network/wire"
	"berth/internal/networks"
	"berth/internal/shim"
)

// Networks returns the networks of the data root with their verbs.
func (e *Engine) Networks() *networks.Set {
	opt := networks.Options{Dir: e.dir, Roster: e.roster, Rootless: e.host.Rootless, Ask: e.askHolder, Moved: e.changeHosts}
	if e.dir.Root() == config.SystemRoot {
		opt.Interface = "berth0"
	}
	return networks.Open(opt)
}

// askHolder asks the holder of networks, if there is one.
func (e *Engine) askHolder(q *wire.Request) (*wire.Response, error) {
	a, err := e.networkHolder().Tell(q)
	if errors.Is(err, wire.ErrNoHolder) {
		return nil, nil
	}
	return a, err
}

// renameInNetworks has others find a running container by its new name.
func (e *Engine) renameInNetworks(r *record, st shim.Status) {
	if got, err := e.Networks().Got(r.ID); err == nil && got != nil && active(st) {
		_, _ = e.askHolder(&wire.Request{Rename: &wire.Rename{ID: r.ID, Name: r.Name}}) // it has its name
	}
}
