package store

import (
	"encoding/json"
	"fmt"
	"strings"

	"berth/internal/state"
)

// Addition is an image to list: its documents as the registry or the builder
// made them, byte for byte.
type Addition struct {
	Names       []string // full names with a tag or a digest; may be empty
	MediaType   string   // of the manifest; empty: as the manifest says
	Manifest    []byte
	Config      []byte
	Annotations map[string]string // noted in the index beside each name
}

// MissingLayersError says that an image cannot be listed because some of its
// layers are not unpacked.
type MissingLayersError struct{ DiffIDs []string }

func (e *MissingLayersError) Error() string {
	return fmt.Sprintf("%d layers of the image are not unpacked (%s)", len(e.DiffIDs), strings.Join(e.DiffIDs, ", "))
}

// Hold keeps collectors away until it is unlocked: images, blobs and layers
// that are there stay. Hold it over a look-up and the writing down of what was
// found, never over the network, a wait or an exec.
func (s *Store) Hold() (*state.Tx, error) {
	return state.RLock(s.dir.Path("oci", "collect.lock"))
}

// Add lists an image under its names. All its layers must be unpacked, else it
// answers [*MissingLayersError] and has changed nothing that counts. Adding an
// image again is free of harm.
func (s *Store) Add(a Addition) (Image, error) {
	var m Manifest
	if err := json.Unmarshal(a.Manifest, &m); err != nil {
		return Image{}, fmt.Errorf("manifest of the image is not valid: %w", err)
	}
	id := Digest(a.Config)
	if m.Config.Digest != id {
		return Image{}, fmt.Errorf("manifest of the image names the configuration %s, but got %s", m.Config.Digest, id)
	}
	layers, err := DiffIDs(a.Config)
	if err != nil {
		return Image{}, err
	}
	hold, err := s.Hold()
	if err != nil {
		return Image{}, err
	}
	defer hold.Unlock()
	if missing := s.missing(layers); len(missing) > 0 {
		return Image{}, &MissingLayersError{DiffIDs: missing}
	}
	if _, err := s.Put(m.Config.MediaType, a.Config); err != nil {
		return Image{}, err
	}
	mediaType := a.MediaType
	if mediaType == "" {
		mediaType = m.MediaType
	}
	d, err := s.Put(mediaType, a.Manifest)
	if err != nil {
		return Image{}, err
	}
	d.Annotations = a.Annotations
	if err := s.tagAll(a.Names, d); err != nil {
		return Image{}, err
	}
	return s.Find(id)
}

// missing returns the layers that are not unpacked.
func (s *Store) missing(layers []string) []string {
	var out []string
	for _, l := range layers {
		if _, err := FindLayer(s.dir, l); err != nil {
			out = append(out, l)
		}
	}
	return out
}

// tagAll gives d all names in one change of the index.
func (s *Store) tagAll(names []string, d Descriptor) error {
	full := make([]string, 0, len(names))
	for _, n := range names {
		r, err := fullName(n)
		if err != nil {
			return err
		}
		full = append(full, r)
	}
	d, err := s.complete(d)
	if err != nil {
		return err
	}
	return s.edit(func(ix *index) (bool, error) {
		for _, n := range full {
			ix.set(n, d)
		}
		if len(full) == 0 {
			ix.set("", d)
		}
		return true, nil
	})
}
