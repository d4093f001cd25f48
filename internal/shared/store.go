package shared

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/store"
)

// annotationName is where an entry of the index has the full name of its image,
// as archives do.
const annotationName = "io.containerd.image.name"

// maxDocument bounds manifests, configurations and the index, in bytes.
const maxDocument = 32 << 20

// Store is a folder with images.
type Store struct{ dir string }

// Open returns the images in a folder. It touches nothing.
func Open(dir string) *Store { return &Store{dir: dir} }

// Dir is the folder.
func (s *Store) Dir() string { return s.dir }

type index struct {
	SchemaVersion int                `json:"schemaVersion"`
	MediaType     string             `json:"mediaType"`
	Manifests     []store.Descriptor `json:"manifests"`
}

// Image is an image in the folder, under one of its names.
type Image struct {
	Name    string // full
	ID      string
	Size    int64 // of the packed layers, in bytes
	Created time.Time
}

func (s *Store) blob(digest string) string {
	hex, _ := store.Hex(digest)
	return filepath.Join(s.dir, "blobs", "sha256", hex)
}

// open opens a plain file of the folder. Somebody else may write there, so it
// follows no link and waits at no pipe.
func open(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a plain file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func readFile(path string) ([]byte, error) {
	f, _, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err == nil && len(b) > maxDocument {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxDocument)
	}
	return b, err
}

// document reads a blob that must be what it is called.
func (s *Store) document(digest string, into any) ([]byte, error) {
	if _, ok := store.Hex(digest); !ok {
		return nil, fmt.Errorf("%q is not a sha256 digest", digest)
	}
	b, err := readFile(s.blob(digest))
	if err == nil && store.Digest(b) != digest {
		err = fmt.Errorf("blob %s in %s is not what it is called", digest, s.dir)
	}
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	return b, err
}

// index reads the list of images. A folder that is not there yet has none.
func (s *Store) index() (index, error) {
	var ix index
	b, err := readFile(filepath.Join(s.dir, "index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return ix, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &ix)
	}
	if err != nil {
		return ix, fmt.Errorf("cannot read the images in %s: %w", s.dir, err)
	}
	return ix, nil
}

// Images lists the images that can be read, by name.
func (s *Store) Images() ([]Image, error) {
	ix, err := s.index()
	if err != nil {
		return nil, err
	}
	var out []Image
	for _, d := range ix.Manifests {
		name := d.Annotations[annotationName]
		var m store.Manifest
		var c struct{ Created time.Time }
		if _, err := s.document(d.Digest, &m); err != nil || name == "" {
			continue
		}
		if _, err := s.document(m.Config.Digest, &c); err != nil {
			continue
		}
		img := Image{Name: name, ID: m.Config.Digest, Created: c.Created}
		for _, l := range m.Layers {
			img.Size += l.Size
		}
		out = append(out, img)
	}
	return out, nil
}

// Find reads what there is to know of an image without its layers, for the
// platform that fits best, and the bytes that its packed layers take.
func (s *Store) Find(name string, fit func(store.Platform) int) (img store.Image, size int64, err error) {
	ix, err := s.index()
	if err != nil {
		return img, 0, err
	}
	best := -1
	for _, d := range ix.Manifests {
		if d.Annotations[annotationName] != name {
			continue
		}
		var m store.Manifest
		if _, err := s.document(d.Digest, &m); err != nil {
			return img, 0, err
		}
		one := store.Image{ID: m.Config.Digest, ManifestDigest: d.Digest, Names: []string{name}, Annotations: d.Annotations}
		config, err := s.document(m.Config.Digest, &one.Config)
		if err != nil {
			return img, 0, err
		}
		if one.Layers, err = store.DiffIDs(config); err != nil {
			return img, 0, err
		}
		if one.Config.Created != nil {
			one.Created = *one.Config.Created
		}
		n := fit(one.Platform())
		if n <= best {
			continue
		}
		best, img, size = n, one, 0
		for _, l := range m.Layers {
			size += l.Size
		}
	}
	if best < 0 {
		err = fmt.Errorf("image %s in %s: %w", name, s.dir, store.ErrNotFound)
	}
	return img, size, err
}

// Has reports whether there is an image of a full name.
func (s *Store) Has(name string) bool {
	ix, err := s.index()
	return err == nil && slices.ContainsFunc(ix.Manifests, func(d store.Descriptor) bool { return d.Annotations[annotationName] == name })
}

// Write writes all that has a full name, for whatever platforms, as an archive
// that can be loaded: documents first, so that a reader of the stream knows
// which layers it needs.
func (s *Store) Write(ctx context.Context, name string, w io.Writer) error {
	ix, err := s.index()
	if err != nil {
		return err
	}
	ix.Manifests = slices.DeleteFunc(ix.Manifests, func(d store.Descriptor) bool { return d.Annotations[annotationName] != name })
	out := newArchive(ctx, w)
	if err := out.document("index.json", ix); err != nil {
		return err
	}
	var layers []string
	for _, d := range ix.Manifests {
		var m store.Manifest
		manifest, err := s.document(d.Digest, &m)
		if err != nil {
			return err
		}
		var c any
		config, err := s.document(m.Config.Digest, &c)
		if err != nil {
			return err
		}
		if err := errors.Join(out.bytes(blobName(d.Digest), manifest), out.bytes(blobName(m.Config.Digest), config)); err != nil {
			return err
		}
		for _, l := range m.Layers {
			if _, ok := store.Hex(l.Digest); ok && !slices.Contains(layers, l.Digest) {
				layers = append(layers, l.Digest)
			}
		}
	}
	for _, digest := range layers {
		if err := out.file(blobName(digest), s.blob(digest)); err != nil {
			return err
		}
	}
	return out.Close()
}
