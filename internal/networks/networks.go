// Package networks is what commands do with networks: make, list, describe and
// remove them, and connect containers to them.
//
// A network is a record, networks/ID.json below the data root. Making one makes
// nothing in the kernel: its bridge appears when the first container that is in
// it starts, by the hand of the holder (package network). So the records are
// read without a lock and written under one, networks/.lock, which also makes
// sure that no two networks get the same name or the same addresses.
//
// What a container asks of its networks is in its own record, in Docker's words;
// [Set.Settle] checks it when the container is made, and [Set.Endpoints] turns it
// into what the holder is asked for, at every start. What the container has got is
// in network.json in its folder while it runs.
//
// Three networks are always there: host and none, which have no record, and
// bridge, whose record is made when somebody first looks at it.
package networks

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"

	"berth/internal/errdef"
	"berth/internal/journal"
	"berth/internal/network"
	"berth/internal/network/wire"
	"berth/internal/roster"
	"berth/internal/state"
)

// Names of the networks that are always there.
const (
	Bridge = network.Default
	Host   = "host"
	None   = "none"
)

// Options says whose networks they are.
type Options struct {
	Dir      *state.Dir
	Roster   *roster.Set
	Rootless bool
	// Interface is the name of the default network's bridge; empty: one is made
	// up, as for every other network.
	Interface string
	// Ask asks the holder, the process that has the interfaces of running
	// containers; it answers nil when there is none, and does not start one. A nil
	// Ask is one that never finds any.
	Ask func(*wire.Request) (*wire.Response, error)
	// Moved is told of the places of a running container before and after it was
	// connected or disconnected. A nil Moved need not know.
	Moved func(r *roster.Record, before, after []network.Settled) error
}

// Set is the networks of a data root.
type Set struct{ Options }

// Open returns the networks of a data root. Nothing is read yet.
func Open(opt Options) *Set { return &Set{opt} }

const (
	version     = 1 // of records
	wireVersion = 1 // of what the holder is asked
)

func (s *Set) path(elem ...string) string {
	return s.Dir.Path(append([]string{"networks"}, elem...)...)
}

// lock is held while networks are made or removed. It makes their folder, which
// old data roots lack.
func (s *Set) lock() (*state.Tx, error) { return s.locked(state.Lock) }

// Hold keeps networks from being removed. Whoever starts a container holds it
// from before [Set.Endpoints] until the container's network.json speaks for it.
func (s *Set) Hold() (*state.Tx, error) { return s.locked(state.RLock) }

func (s *Set) locked(how func(path string) (*state.Tx, error)) (*state.Tx, error) {
	tx, err := how(s.path(".lock"))
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(s.path(), 0o700); err != nil {
			return nil, err
		}
		tx, err = how(s.path(".lock"))
	}
	return tx, err
}

// records reads the networks that have a record, by name.
func (s *Set) records() ([]network.Network, error) {
	entries, err := os.ReadDir(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []network.Network
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || !isID(id) {
			continue
		}
		n, err := s.read(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b network.Network) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (s *Set) read(id string) (network.Network, error) {
	var n network.Network
	path := s.path(id + ".json")
	if err := state.ReadJSON(path, &n); err != nil {
		return n, err
	}
	switch {
	case n.V > version:
		return n, fmt.Errorf("network %s was made by a newer berth (format %d): use that version", roster.ShortID(id), n.V)
	case n.ID != id || n.Name == "":
		return n, fmt.Errorf("record %s is damaged: it is not that of the network %s", path, roster.ShortID(id))
	}
	return n, nil
}

func isID(s string) bool { return len(s) == 64 && roster.IsHex(s) }

// fixed are the networks without a record. Their IDs are those of this data
// root for ever.
func (s *Set) fixed() []network.Network {
	made := time.Time{}
	if fi, err := os.Stat(s.Dir.Path("version")); err == nil {
		made = fi.ModTime().UTC()
	}
	one := func(name, driver string) network.Network {
		sum := sha256.Sum256([]byte("network " + name + " of " + s.Dir.Root()))
		return network.Network{V: version, ID: hex.EncodeToString(sum[:]), Name: name, Created: made, Driver: driver, IPv4: true}
	}
	return []network.Network{one(Host, network.Host), one(None, network.None)}
}

// All returns all networks by name, and makes sure of the default one.
func (s *Set) All() ([]network.Network, error) {
	if _, err := s.Default(); err != nil {
		return nil, err
	}
	list, err := s.records()
	if err != nil {
		return nil, err
	}
	list = append(list, s.fixed()...)
	slices.SortFunc(list, func(a, b network.Network) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Find returns the network that text names: its name, its ID, or the beginning
// of its ID.
func (s *Set) Find(text string) (network.Network, error) {
	if text == Bridge {
		return s.Default()
	}
	list, err := s.records()
	if err != nil {
		return network.Network{}, err
	}
	list = append(list, s.fixed()...)
	for _, by := range []func(network.Network) bool{
		func(n network.Network) bool { return n.Name == text },
		func(n network.Network) bool { return n.ID == text },
		func(n network.Network) bool { return text != "" && strings.HasPrefix(n.ID, text) },
	} {
		found := slices.DeleteFunc(slices.Clone(list), func(n network.Network) bool { return !by(n) })
		switch len(found) {
		case 0:
			continue
		case 1:
			return found[0], nil
		}
		return network.Network{}, &errdef.Error{Kind: errdef.ErrInvalid, Text: fmt.Sprintf("network %s is ambiguous (%d matches found based on ID prefix)", text, len(found))}
	}
	return network.Network{}, noNetwork(text)
}

func noNetwork(text string) error {
	return &errdef.Error{Kind: errdef.ErrNotFound, Text: fmt.Sprintf("network %s not found", text)}
}

// predefined reports whether a name is one that Docker gives a meaning of its
// own.
func predefined(name string) bool {
	return slices.Contains([]string{Bridge, Host, None, "default", "container"}, name) || strings.HasPrefix(name, "container:")
}

// note writes into the journal what was done to a network. That it cannot be
// written is no reason to say that it was not done.
func (s *Set) note(action events.Action, n network.Network, more ...string) {
	a := map[string]string{"name": n.Name, "type": n.Driver}
	for i := 0; i+1 < len(more); i += 2 {
		a[more[i]] = more[i+1]
	}
	s.event(action, n.ID, a)
}

func (s *Set) event(action events.Action, id string, attributes map[string]string) {
	_ = journal.Open(s.Dir).Append(journal.Event{Type: string(events.NetworkEventType), Action: string(action), ID: id, Attributes: attributes})
}

func refusal(kind error, format string, args ...any) error {
	return &errdef.Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}
