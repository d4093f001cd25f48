package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// BlobPath returns where a blob lies or would lie. The digest must be one that
// [Hex] accepts. Whoever puts a layer's blob there renames a file that has been
// verified, and holds a [Lease] on the digest until a manifest that names it is
// listed.
func (s *Store) BlobPath(digest string) string { return s.blobPath(digest) }

// HasBlob reports whether a blob is kept, and how long it is.
func (s *Store) HasBlob(digest string) (size int64, ok bool) {
	if _, valid := Hex(digest); !valid {
		return 0, false
	}
	info, err := os.Lstat(s.blobPath(digest))
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	return info.Size(), true
}

// OpenBlob opens a kept blob of whatever size; who reads it compares it with
// its digest. A blob that is not kept answers [ErrNotFound].
func (s *Store) OpenBlob(digest string) (*os.File, int64, error) {
	if _, ok := Hex(digest); !ok {
		return nil, 0, fmt.Errorf("%q is not a sha256 digest", digest)
	}
	f, err := os.Open(s.blobPath(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("blob %s: %w", digest, ErrNotFound)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// Blobs returns the blobs that an image has in the store and their sizes: its
// manifests, its configuration and what is kept of its layers' blobs.
func (s *Store) Blobs(img Image) (map[string]int64, error) {
	ix, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	note := func(digest string) {
		if n, ok := s.HasBlob(digest); ok {
			out[digest] = n
		}
	}
	note(img.ID)
	for _, d := range ix.Manifests {
		if s.idOf(d) != img.ID {
			continue
		}
		note(d.Digest)
		if m, err := s.Manifest(d.Digest); err == nil {
			for _, l := range m.Layers {
				note(l.Digest)
			}
		}
	}
	return out, nil
}
