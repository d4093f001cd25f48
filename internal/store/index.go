package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"berth/internal/registry/ref"
	"berth/internal/state"
)

const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

func (s *Store) readIndex() (index, error) {
	var ix index
	err := state.ReadJSON(s.dir.Path("oci", "index.json"), &ix)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return ix, fmt.Errorf("cannot read the list of images: %w", err)
	}
	return ix, nil
}

// edit replaces index.json by what change makes of it. Change returns false
// when there is nothing to write.
func (s *Store) edit(change func(ix *index) (bool, error)) error {
	tx, err := state.Lock(s.dir.Path("oci", "index.lock"))
	if err != nil {
		return err
	}
	defer tx.Unlock()
	ix, err := s.readIndex()
	if err != nil {
		return err
	}
	if dirty, err := change(&ix); err != nil || !dirty {
		return err
	}
	return s.writeIndex(tx, ix)
}

// writeIndex needs the lock on the index.
func (s *Store) writeIndex(_ *state.Tx, ix index) error {
	layout := s.dir.Path("oci", "oci-layout")
	if ix.SchemaVersion == 0 {
		if err := state.WriteFile(layout, []byte(layoutFile), 0o600); err != nil {
			return err
		}
	}
	ix.SchemaVersion, ix.MediaType = 2, MediaTypeIndex
	if ix.Manifests == nil {
		ix.Manifests = []Descriptor{}
	}
	b, err := json.Marshal(ix)
	if err != nil {
		return err
	}
	return state.WriteFile(s.dir.Path("oci", "index.json"), append(b, '\n'), 0o600)
}

// Tag makes the full name stand for the manifest d, which must be stored; of
// the descriptor only the digest is needed. A
// name with a digest may stand for several manifests: one per platform of what
// the registry calls by that digest. What the name stood for before keeps its
// other names, or none.
func (s *Store) Tag(name string, d Descriptor) error {
	hold, err := s.Hold()
	if err != nil {
		return err
	}
	defer hold.Unlock()
	return s.tagAll([]string{name}, d)
}

// fullName completes a name and drops the tag of one that has a digest, which
// decides.
func fullName(name string) (string, error) {
	r, err := ref.Parse(name)
	if err != nil {
		return "", fmt.Errorf("cannot tag %q: %w", name, err)
	}
	if r.Digest != "" {
		r.Tag = ""
	}
	return r.String(), nil
}

// Untag takes a full name away. What it stood for stays, without a name if
// that was the last. It reports whether the name existed.
func (s *Store) Untag(name string) (existed bool, err error) {
	err = s.edit(func(ix *index) (bool, error) {
		existed = ix.unset(name)
		return existed, nil
	})
	return existed, err
}

// complete checks that a descriptor leads to a stored image, and fills in what
// the manifest says.
func (s *Store) complete(d Descriptor) (Descriptor, error) {
	m, size, err := s.manifest(d.Digest)
	if err != nil {
		return d, err
	}
	if d.MediaType == "" {
		d.MediaType = m.MediaType
	}
	d.Size = size
	if _, ok := Hex(m.Config.Digest); !ok {
		return d, fmt.Errorf("manifest %s names no image configuration", d.Digest)
	}
	d.Annotations = maps.Clone(d.Annotations)
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[AnnotationID] = m.Config.Digest
	d.Annotations[AnnotationTagged] = time.Now().UTC().Format(time.RFC3339)
	return d, nil
}

func nameOf(d Descriptor) string { return d.Annotations[AnnotationName] }

// isDigestName tells names with a digest from names with a tag.
func isDigestName(name string) bool { return strings.Contains(name, "@") }

// set binds name to d; an empty name keeps d alive without one.
func (ix *index) set(name string, d Descriptor) {
	if name == "" && ix.has(d.Digest) {
		return
	}
	displaced := Descriptor{}
	ix.Manifests = slices.DeleteFunc(ix.Manifests, func(old Descriptor) bool {
		switch {
		case old.Digest == d.Digest && (nameOf(old) == "" || nameOf(old) == name):
			return true
		case name != "" && nameOf(old) == name && !isDigestName(name):
			displaced = old
			return true
		}
		return false
	})
	if name != "" {
		d.Annotations = maps.Clone(d.Annotations)
		if d.Annotations == nil {
			d.Annotations = map[string]string{}
		}
		d.Annotations[AnnotationName] = name
	}
	ix.Manifests = append(ix.Manifests, d)
	ix.keep(displaced)
}

// unset removes every entry called name.
func (ix *index) unset(name string) bool {
	var gone []Descriptor
	ix.Manifests = slices.DeleteFunc(ix.Manifests, func(d Descriptor) bool {
		if name == "" || nameOf(d) != name {
			return false
		}
		gone = append(gone, d)
		return true
	})
	for _, d := range gone {
		ix.keep(d)
	}
	return len(gone) > 0
}

// keep lists d without a name unless it still has one.
func (ix *index) keep(d Descriptor) {
	if d.Digest == "" || ix.has(d.Digest) {
		return
	}
	d.Annotations = maps.Clone(d.Annotations)
	delete(d.Annotations, AnnotationName)
	ix.Manifests = append(ix.Manifests, d)
}

func (ix *index) has(digest string) bool {
	return slices.ContainsFunc(ix.Manifests, func(d Descriptor) bool { return d.Digest == digest })
}
