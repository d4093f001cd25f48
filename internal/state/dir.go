package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Layouts of a data root that this program reads and writes.
const (
	Version      = 1 // everything in one place
	VersionSplit = 2 // what belongs to one machine lies elsewhere, see split.go
)

// Dir is a data root: the folder below which one account keeps everything.
type Dir struct {
	root   string
	split  *split                  // nil: everything lies below root
	later  func(name string) error // see RemoveLater; nil removes at once
	inside inside                  // see SetInside
}

// inside is what works on trees with files of other ids, which an account's
// containers make where it has id ranges. It is asked only where our own rights
// end.
type inside struct {
	remove func(path string) error
	size   func(path string) (int64, error)
}

// SetInside says how trees with files of other ids are removed, and how the
// sizes of the plain files in them are added up; nil for what nobody can do.
func (d *Dir) SetInside(remove func(path string) error, size func(path string) (int64, error)) {
	d.inside = inside{remove, size}
}

// Open returns the data root at path and makes it when it is missing. It
// refuses a root that a newer berth has written, and answers [ErrUnplaced] for
// one that is split and has no part for this machine yet.
func Open(path string) (*Dir, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("data root %q is not an absolute path", path)
	}
	d := &Dir{root: filepath.Clean(path)}
	b, err := os.ReadFile(d.Path("version"))
	if errors.Is(err, fs.ErrNotExist) {
		return d, d.create(Version)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read data root: %w", err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("data root %s: its version file holds %q, not a number", d.root, b)
	}
	switch {
	case v > VersionSplit:
		return nil, fmt.Errorf("data root %s was written by a newer berth (layout %d, this one knows %d): use that version or another --root", d.root, v, VersionSplit)
	case v == VersionSplit:
		return d, d.findLocal()
	}
	return d, nil
}

// create makes the folders. The root is closed to other accounts: layers hold
// files with the set-user-ID bit that must not be reachable by anyone else.
func (d *Dir) create(layout int) error {
	if err := os.MkdirAll(d.root, 0o700); err != nil {
		return fmt.Errorf("cannot make data root: %w", err)
	}
	folders := []string{"oci/blobs/sha256", "layers", "containers", "names", "volumes", "tmp"}
	for _, sub := range folders {
		if err := os.MkdirAll(d.Path(sub), 0o700); err != nil {
			return fmt.Errorf("cannot make data root: %w", err)
		}
	}
	if err := os.MkdirAll(d.TempPath("layers"), 0o700); err != nil {
		return fmt.Errorf("cannot make data root: %w", err)
	}
	return WriteFile(d.Path("version"), []byte(strconv.Itoa(layout)+"\n"), 0o600)
}

// Root returns the absolute path of the data root.
func (d *Dir) Root() string { return d.root }

// Path joins elements below the data root, on the side where the first one
// belongs.
func (d *Dir) Path(elem ...string) string {
	side := d.root
	if len(elem) > 0 {
		side = d.side(elem[0])
	}
	return filepath.Join(append([]string{side}, elem...)...)
}
