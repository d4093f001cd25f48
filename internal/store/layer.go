package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"berth/internal/state"
)

// Kind says to whom the files of unpacked layers belong on the disk. Its value
// is the folder of the data root that they lie in. A layer may be there in both
// kinds, which is of no account to what it is.
type Kind string

const (
	// Plain layers are those of root, who gives files to whom they belong, and
	// those of accounts whose containers have one id, to which all belongs.
	Plain Kind = "layers"
	// Ranged layers have the owners that an account's id ranges give them:
	// for containers with more ids than the account's own.
	Ranged Kind = "layers-ids"
)

// Kinds returns all kinds.
func Kinds() [2]Kind { return [2]Kind{Plain, Ranged} }

// Other returns the kind that is not k.
func (k Kind) Other() Kind {
	if k == Ranged {
		return Plain
	}
	return Ranged
}

// LayerPath returns the folder of an unpacked layer, which may not exist. The
// digest must be one that [Hex] accepts.
func LayerPath(dir *state.Dir, kind Kind, diffID string) string {
	hex, _ := Hex(diffID)
	return dir.Path(string(kind), hex)
}

// LayerMeta is the record meta.json in the folder of an unpacked layer. Its
// presence says that the layer is whole. Package layer writes it.
type LayerMeta struct {
	V      int    `json:"v"`
	DiffID string `json:"diffID"`
	Size   int64  `json:"size"`  // bytes in regular files
	Files  int64  `json:"files"` // entries of all kinds
	// TarSize is the length of the tar stream; 0 in a layer that was unpacked
	// before berth could make the stream again.
	TarSize int64       `json:"tarSize,omitempty"`
	Created time.Time   `json:"created"`
	Owner   state.Owner `json:"owner"` // who unpacked it
	// Opaque layers hide all layers below them.
	Opaque bool `json:"opaque,omitempty"`
	// ByName layers hide things in a form that overlay does not know.
	ByName bool `json:"byName,omitempty"`
	// Unsynced is the boot ID of the machine while the layer may not have
	// come to disk yet. Package layer knows what to do after another boot.
	Unsynced string `json:"unsynced,omitempty"`
	// Rootless layers have all their files owned by the account that
	// unpacked them; owners.json has the truth.
	Rootless bool `json:"rootless,omitempty"`
}

// ReadLayerMeta reads the record of an unpacked layer. A layer that is not
// there answers [ErrNotFound].
func ReadLayerMeta(dir *state.Dir, kind Kind, diffID string) (LayerMeta, error) {
	var m LayerMeta
	if _, ok := Hex(diffID); !ok {
		return m, fmt.Errorf("%q is not the digest of a layer", diffID)
	}
	err := state.ReadJSON(LayerPath(dir, kind, diffID)+"/meta.json", &m)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("layer %s: %w", diffID, ErrNotFound)
	}
	return m, err
}

// FindLayer reads the record of a layer of whichever kind.
func FindLayer(dir *state.Dir, diffID string) (LayerMeta, error) {
	m, err := ReadLayerMeta(dir, Plain, diffID)
	if errors.Is(err, ErrNotFound) {
		m, err = ReadLayerMeta(dir, Ranged, diffID)
	}
	return m, err
}

// LayerSize returns the bytes in the files of an image's layers, as far as
// they are unpacked. A layer that occurs twice counts twice, as in Docker.
func (s *Store) LayerSize(img Image) int64 {
	var n int64
	for _, id := range img.Layers {
		if m, err := FindLayer(s.dir, id); err == nil {
			n += m.Size
		}
	}
	return n
}

// Layers returns the records of all unpacked layers, by kind and diff ID.
func (s *Store) Layers() (map[Kind]map[string]LayerMeta, error) {
	out := map[Kind]map[string]LayerMeta{}
	for _, kind := range Kinds() {
		ids, err := s.unpacked(kind)
		if err != nil {
			return nil, err
		}
		out[kind] = make(map[string]LayerMeta, len(ids))
		for _, id := range ids {
			if m, err := ReadLayerMeta(s.dir, kind, id); err == nil {
				out[kind][id] = m
			}
		}
	}
	return out, nil
}

// unpacked lists the diff IDs that have a folder, whole or not.
func (s *Store) unpacked(kind Kind) ([]string, error) {
	entries, err := os.ReadDir(s.dir.Path(string(kind)))
	if kind == Ranged && errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it comes with the first of them
	}
	var ids []string
	for _, e := range entries {
		if isHex64(e.Name()) { // else it is a claim
			ids = append(ids, "sha256:"+e.Name())
		}
	}
	return ids, err
}
