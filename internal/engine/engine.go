// Package engine says what Docker's nouns mean to berth: containers, images,
// volumes. It is the only package that combines the mechanisms below it
// (store, layer, registry, spec, runtime, shim, cgroup), and the only door
// through which the faces above (cli, server) reach them.
//
// An Engine holds no state of its own. It is opened for one command, reads
// what it needs from the data root and forgets it; two engines on one root
// agree through the files and locks of package state.
package engine

import (
	"berth/internal/config"
	"berth/internal/host"
	"berth/internal/roster"
	"berth/internal/state"
	"berth/internal/store"
)

// Options says where an engine works.
type Options struct {
	Root   string // data root; empty chooses the account's own
	Config string // berth's configuration file; empty chooses the account's own
	Remote Remote // talks to registries; nil refuses
	// Later starts a process that calls [state.Dir.Adopt] on the data root with
	// the name and closes what it gets; nil: nothing is left for later.
	Later func(root, name string) error
}

// Engine is one data root with the verbs that work on it.
type Engine struct {
	dir    *state.Dir
	images *store.Store
	roster *roster.Set
	config config.Config
	host   host.Host
	remote Remote
}

// Open opens the data root, and makes it when it is missing.
func Open(opt Options) (*Engine, error) {
	h, err := host.Detect()
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(opt.Config)
	if err != nil {
		return nil, err
	}
	root, err := config.ChooseRoot(opt.Root, cfg, h)
	if err != nil {
		return nil, err
	}
	dir, err := state.Open(root)
	if err != nil {
		return nil, err
	}
	if opt.Later != nil {
		dir.RemoveLater(func(name string) error { return opt.Later(root, name) })
	}
	return &Engine{dir: dir, images: store.Open(dir), roster: roster.Open(dir), config: cfg, host: h, remote: opt.Remote}, nil
}

// Root returns the data root.
func (e *Engine) Root() string { return e.dir.Root() }
