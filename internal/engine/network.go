package engine

import (
	"errors"

	"berth/internal/config"
	"berth/internal/network/wire"
	"berth/internal/networks"
)

// Networks returns the networks of the data root with their verbs.
func (e *Engine) Networks() *networks.Set {
	opt := networks.Options{Dir: e.dir, Roster: e.roster, Rootless: e.host.Rootless, Ask: e.askHolder}
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
