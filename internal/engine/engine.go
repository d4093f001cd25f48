// Package engine says what Docker's nouns mean to berth: containers, volumes,
// and, through package images, images. It combines the mechanisms below it
// (store, layer, spec, runtime, shim, cgroup), and is the only door through
// which the faces above reach them.
//
// An Engine holds no state of its own. It is opened for one command, reads
// what it needs from the data root and forgets it; two engines on one root
// agree through the files and locks of package state.
package engine

import (
	"os"

	"berth/internal/config"
	"berth/internal/disk"
	"berth/internal/host"
	"berth/internal/images"
	"berth/internal/inside"
	"berth/internal/roster"
	"berth/internal/state"
	"berth/internal/store"
)

// Options says where an engine works.
type Options struct {
	Root   string        // data root; empty chooses the account's own
	Config string        // berth's configuration file; empty chooses the account's own
	Remote images.Remote // talks to registries; nil refuses
	// Later starts a process that calls [state.Dir.Adopt] on the data root with
	// the name and closes what it gets; nil: nothing is left for later.
	Later func(root, name string) error
	// Tell says something to people that is worth one line; nil: nobody listens.
	Tell func(text string)
}

// Engine is one data root with the verbs that work on it.
type Engine struct {
	dir    *state.Dir
	store  *store.Store
	images *images.Set
	roster *roster.Set
	config config.Config
	host   host.Host
	inside *inside.Account // works on files of other ids; nil as root
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
	dir, text, err := disk.Open(root, disk.Options{User: h.Rootless, Local: cfg.ChooseLocal(), Getenv: os.Getenv})
	if err != nil {
		return nil, err
	}
	if text != "" && opt.Tell != nil {
		opt.Tell(text)
	}
	if opt.Later != nil {
		dir.RemoveLater(func(name string) error { return opt.Later(root, name) })
	}
	var account *inside.Account
	if h.Rootless {
		account = inside.New(h, root)
		dir.SetInside(account.Remove, account.Size)
	}
	e := &Engine{inside: account, dir: dir, store: store.Open(dir), roster: roster.Open(dir, naming(cfg, h)), config: cfg, host: h}
	e.images = images.Open(images.Options{
		Dir: dir, Roster: e.roster, Remote: opt.Remote, KeepBlobs: cfg.KeepBlobs, Stores: cfg.ImageStores,
		Driver: func() string { name, _ := e.driver(nil); return name }, Layers: e.ownLayers, Inside: account,
	})
	return e, nil
}

// Root returns the data root.
func (e *Engine) Root() string { return e.dir.Root() }

// Images returns the images of the data root with their verbs.
func (e *Engine) Images() *images.Set { return e.images }
