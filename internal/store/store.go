package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"berth/internal/state"
)

// maxBlob bounds what is read of a blob: manifests and configurations are
// kilobytes.
const maxBlob = 32 << 20

// Errors that callers tell apart.
var (
	// ErrNotFound says that the store has no such image or blob.
	ErrNotFound = errors.New("not in the store")
	// ErrAmbiguous says that an ID prefix fits several images.
	ErrAmbiguous = errors.New("ambiguous image ID")
)

// DamagedError says that a stored blob is not what its name promises.
type DamagedError struct {
	Digest string
	Cause  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("stored blob %s is damaged: %v; remove the image and pull it again", e.Digest, e.Cause)
}

func (e *DamagedError) Unwrap() error { return e.Cause }

// Store is the image layout of one data root.
type Store struct{ dir *state.Dir }

// Open returns the store of a data root. It touches nothing.
func Open(dir *state.Dir) *Store { return &Store{dir: dir} }

// Dir returns the data root that the store lies in.
func (s *Store) Dir() *state.Dir { return s.dir }

// Digest returns the sha256 digest of b.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Put stores a manifest or a configuration and returns its descriptor. It is
// on disk when Put returns, and storing it again is free. A blob that no entry
// of the index leads to lives until the next collection: call Put under
// [Store.Hold], or use [Store.Add].
func (s *Store) Put(mediaType string, b []byte) (Descriptor, error) {
	if len(b) > maxBlob {
		return Descriptor{}, fmt.Errorf("cannot store a document of %d bytes: manifests and image configurations are limited to %d", len(b), maxBlob)
	}
	d := Descriptor{MediaType: mediaType, Digest: Digest(b), Size: int64(len(b))}
	if old, err := s.Get(d.Digest); err == nil && len(old) == len(b) {
		return d, nil
	}
	return d, state.WriteFile(s.blobPath(d.Digest), b, 0o600)
}

// Get returns a stored blob after comparing it with its digest.
func (s *Store) Get(digest string) ([]byte, error) {
	if _, ok := Hex(digest); !ok {
		return nil, fmt.Errorf("%q is not a sha256 digest", digest)
	}
	f, err := os.Open(s.blobPath(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", digest, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBlob+1))
	if err != nil {
		return nil, err
	}
	if got := Digest(b); got != digest {
		return nil, &DamagedError{Digest: digest, Cause: fmt.Errorf("its digest is %s", got)}
	}
	return b, nil
}

// Manifest returns a stored manifest.
func (s *Store) Manifest(digest string) (Manifest, error) {
	m, _, err := s.manifest(digest)
	return m, err
}

func (s *Store) manifest(digest string) (m Manifest, size int64, err error) {
	b, err := s.Get(digest)
	if err != nil {
		return m, 0, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, 0, &DamagedError{Digest: digest, Cause: err}
	}
	if m.MediaType == "" {
		m.MediaType = MediaTypeManifest
	}
	return m, int64(len(b)), nil
}

// blobPath is called only with digests that Hex has accepted.
func (s *Store) blobPath(digest string) string {
	hex, _ := Hex(digest)
	return s.dir.Path("oci", "blobs", "sha256", hex)
}
