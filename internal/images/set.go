// Package images is what commands do with images: list and describe them, give
// and take names, remove what nobody needs, pack them into archives and get them
// out again, and have them brought from registries and sent there.
//
// It combines the store, which knows what images there are, with the layers they
// are made of and the containers that need them. What talks to registries is
// heavy to start and lives in another program; a [Remote] stands for it.
package images

import (
	"github.com/moby/moby/api/types/events"

	"berth/internal/journal"
	"berth/internal/layer"
	"berth/internal/roster"
	"berth/internal/state"
	"berth/internal/store"
)

// Options says what images are there, and who needs them.
type Options struct {
	Dir    *state.Dir
	Roster *roster.Set
	Remote Remote // talks to registries; nil refuses
	// KeepBlobs keeps the packed layers of all that is pulled.
	KeepBlobs bool
	// Stores are the folders with images that everybody may use, in the order
	// in which they are asked.
	Stores []string
	// Driver is the name of how container roots are made, for inspect.
	Driver func() string
}

// Set is the images of a data root.
type Set struct {
	Options
	store *store.Store
}

// Open returns the images of a data root.
func Open(opt Options) *Set { return &Set{Options: opt, store: store.Open(opt.Dir)} }

// note writes into the journal what was done to an image, by the name it was
// done to. That it cannot be written is no reason to say that it was not done.
func (s *Set) note(action events.Action, id, name string) {
	s.event(action, id, map[string]string{"name": name})
}

func (s *Set) event(action events.Action, id string, attributes map[string]string) {
	_ = journal.Open(s.Dir).Append(journal.Event{Type: string(events.ImageEventType), Action: string(action), ID: id, Attributes: attributes})
}

func (s *Set) layers() *layer.Set { return layer.Open(s.Dir) }

// layersSize adds up what layers take on disk.
func (s *Set) layersSize(diffIDs []string) int64 {
	return s.store.LayerSize(store.Image{Layers: diffIDs})
}
