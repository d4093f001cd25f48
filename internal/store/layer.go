package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"berth/internal/state"
)

// LayerPath returns the folder of an unpacked layer, which may not exist. The
// digest must be one that [Hex] accepts.
func LayerPath(dir *state.Dir, diffID string) string {
	hex, _ := Hex(diffID)
	return dir.Path("layers", hex)
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
func ReadLayerMeta(dir *state.Dir, diffID string) (LayerMeta, error) {
	var m LayerMeta
	if _, ok := Hex(diffID); !ok {
		return m, fmt.Errorf("%q is not the digest of a layer", diffID)
	}
	err := state.ReadJSON(LayerPath(dir, diffID)+"/meta.json", &m)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("layer %s: %w", diffID, ErrNotFound)
	}
	return m, err
}

// LayerSize returns the bytes in the files of an image's layers, as far as
// they are unpacked. A layer that occurs twice counts twice, as in Docker.
func (s *Store) LayerSize(img Image) int64 {
	var n int64
	for _, id := range img.Layers {
		if m, err := ReadLayerMeta(s.dir, id); err == nil {
			n += m.Size
		}
	}
	return n
}

// Layers returns the records of all unpacked layers by their diff IDs.
func (s *Store) Layers() (map[string]LayerMeta, error) {
	entries, err := os.ReadDir(s.dir.Path("layers"))
	if err != nil {
		return nil, err
	}
	out := make(map[string]LayerMeta, len(entries))
	for _, e := range entries {
		if !isHex64(e.Name()) {
			continue // a claim
		}
		if m, err := ReadLayerMeta(s.dir, "sha256:"+e.Name()); err == nil {
			out["sha256:"+e.Name()] = m
		}
	}
	return out, nil
}
