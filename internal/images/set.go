// Package images is what commands do with images: list and describe them, give
// and take names, remove what nobody needs, pack them into archives and get them
// out again, and have them brought from registries and sent there.
//
// It combines the store, which knows what images there are, with the layers they
// are made of and the containers that need them. What talks to registries is
// heavy to start and lives in another program; a [Remote] stands for it.
package images

import (
	"os"

	"github.com/moby/moby/api/types/events"

	"berth/internal/inside"
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
	// Layers opens the layers of the kind that containers here mostly have; what
	// comes is unpacked as such.
	Layers func() *layer.Set
	// Inside has the account's user namespace, for layers of the ranged kind.
	Inside *inside.Account
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

// namespace returns where the program that talks to registries has to work with
// layers of the ranged kind; nil: it need not.
func (s *Set) namespace(kind store.Kind) (*os.File, error) {
	if kind != store.Ranged {
		return nil, nil
	}
	return s.Inside.Namespace()
}

// note writes into the journal what was done to an image, by the name it was
// done to. That it cannot be written is no reason to say that it was not done.
func (s *Set) note(action events.Action, id, name string) {
	s.event(action, id, map[string]string{"name": name})
}

func (s *Set) event(action events.Action, id string, attributes map[string]string) {
	_ = journal.Open(s.Dir).Append(journal.Event{Type: string(events.ImageEventType), Action: string(action), ID: id, Attributes: attributes})
}

// layersSize adds up what layers take on disk.
func (s *Set) layersSize(diffIDs []string) int64 {
	return s.store.LayerSize(store.Image{Layers: diffIDs})
}
