package engine

import (
	"berth/internal/config"
	"berth/internal/networks"
)

// Networks returns the networks of the data root with their verbs.
func (e *Engine) Networks() *networks.Set {
	opt := networks.Options{Dir: e.dir, Roster: e.roster, Rootless: e.host.Rootless}
	if e.dir.Root() == config.SystemRoot {
		opt.Interface = "berth0"
	}
	return networks.Open(opt)
}
