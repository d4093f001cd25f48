package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"berth/internal/registry/ref"
)

// Image is one image of the store with all its names.
type Image struct {
	ID             string   // digest of the configuration
	ManifestDigest string   // of the newest manifest that leads to it
	Names          []string // full names with a tag, sorted
	RepoDigests    []string // full names with a digest, sorted
	Layers         []string // diff IDs, bottom first
	Config         dockerspec.DockerOCIImage
	Created        time.Time // zero when the image does not say
	Tagged         time.Time // when the newest entry was made
	// Annotations are those of the entry that was asked for by name, else
	// of the newest.
	Annotations map[string]string
	// Damage is why the configuration could not be read; then only ID and
	// names are known.
	Damage error
}

// Platform returns what the image runs on.
func (i Image) Platform() Platform {
	p := i.Config.Platform
	return Platform{Architecture: p.Architecture, OS: p.OS, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures, Variant: p.Variant}
}

// Images returns all images, the newest first.
func (s *Store) Images() ([]Image, error) {
	ix, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var out []Image
	for _, id := range s.ids(ix) {
		out = append(out, s.load(ix, id, ""))
	}
	slices.SortStableFunc(out, func(a, b Image) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out, nil
}

// Find returns the image that text names: a name with or without tag, a name
// with a digest, an ID or the beginning of one. A name wins over the beginning
// of an ID. It answers [ErrNotFound] or [ErrAmbiguous].
func (s *Store) Find(text string) (Image, error) {
	ix, err := s.readIndex()
	if err != nil {
		return Image{}, err
	}
	img, err := s.find(ix, text)
	if err == nil {
		err = img.Damage
	}
	return img, err
}

// find is Find that also returns damaged images.
func (s *Store) find(ix index, text string) (Image, error) {
	if r, err := ref.Parse(text); err == nil {
		if d, ok := ix.named(r); ok {
			return s.load(ix, s.idOf(d), nameOf(d)), nil
		}
	}
	id, err := s.byPrefix(ix, text)
	if err != nil {
		return Image{}, err
	}
	return s.load(ix, id, ""), nil
}

// named returns the newest entry a name stands for. A digest may be that of
// an entry's manifest or of the list the registry picked it from.
func (ix *index) named(r ref.Ref) (Descriptor, bool) {
	for _, d := range slices.Backward(ix.Manifests) {
		name := nameOf(d)
		if r.Digest == "" {
			if name == r.String() {
				return d, true
			}
			continue
		}
		if name == r.Name()+"@"+r.Digest || d.Digest == r.Digest && repository(name) == r.Name() {
			return d, true
		}
	}
	return Descriptor{}, false
}

// repository returns a full name without its tag or digest.
func repository(name string) string {
	r, err := ref.ParseName(name)
	if err != nil {
		return ""
	}
	return r.Name()
}

func (s *Store) byPrefix(ix index, text string) (string, error) {
	prefix := strings.TrimPrefix(text, "sha256:")
	if !isHex(prefix) || len(prefix) > 64 {
		return "", fmt.Errorf("image %q: %w", text, ErrNotFound)
	}
	var hits []string
	for _, id := range s.ids(ix) {
		if hex, _ := Hex(id); strings.HasPrefix(hex, prefix) {
			hits = append(hits, id)
		}
	}
	switch len(hits) {
	case 0:
		return "", fmt.Errorf("image %q: %w", text, ErrNotFound)
	case 1:
		return hits[0], nil
	}
	return "", fmt.Errorf("image %q: %w: %d images begin with it", text, ErrAmbiguous, len(hits))
}

// ids returns the IDs of all images in the order of the index.
func (s *Store) ids(ix index) []string {
	seen := make(map[string]bool, len(ix.Manifests))
	var out []string
	for _, d := range ix.Manifests {
		if id := s.idOf(d); id != "" && !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}

// idOf returns the digest of the configuration that an entry leads to. Entries
// that another program added lack the note of it.
func (s *Store) idOf(d Descriptor) string {
	id := d.Annotations[AnnotationID]
	if _, ok := Hex(id); ok {
		return id
	}
	if m, err := s.Manifest(d.Digest); err == nil {
		if _, ok := Hex(m.Config.Digest); ok {
			return m.Config.Digest
		}
	}
	return ""
}

// load collects what the index and the configuration say about an image.
func (s *Store) load(ix index, id, asked string) Image {
	img := Image{ID: id}
	for _, d := range ix.Manifests {
		if s.idOf(d) != id {
			continue
		}
		name := nameOf(d)
		switch {
		case name == "":
		case isDigestName(name):
			img.RepoDigests = append(img.RepoDigests, name)
		default:
			img.Names = append(img.Names, name)
		}
		img.ManifestDigest = d.Digest
		if t, err := time.Parse(time.RFC3339, d.Annotations[AnnotationTagged]); err == nil && t.After(img.Tagged) {
			img.Tagged = t
		}
		if img.Annotations == nil || asked == "" || name == asked {
			img.Annotations = d.Annotations
		}
	}
	slices.Sort(img.Names)
	slices.Sort(img.RepoDigests)
	img.RepoDigests = slices.Compact(img.RepoDigests)
	img.Damage = s.loadConfig(&img)
	return img
}

func (s *Store) loadConfig(img *Image) error {
	b, err := s.Get(img.ID)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &img.Config); err != nil {
		return &DamagedError{Digest: img.ID, Cause: err}
	}
	img.Layers, err = DiffIDs(b)
	if err != nil {
		return &DamagedError{Digest: img.ID, Cause: err}
	}
	if t := img.Config.Created; t != nil {
		img.Created = *t
	}
	return nil
}

// DiffIDs returns the layers that an image configuration lists, bottom first,
// after checking that each is a digest.
func DiffIDs(config []byte) ([]string, error) {
	var c struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("image configuration is not valid: %w", err)
	}
	for _, id := range c.RootFS.DiffIDs {
		if _, ok := Hex(id); !ok {
			return nil, fmt.Errorf("image configuration lists the layer %q, which is not a sha256 digest", id)
		}
	}
	return c.RootFS.DiffIDs, nil
}
