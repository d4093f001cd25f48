package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/state"
	"berth/internal/store"
)

// Set is the unpacked layers of one data root, of one kind. What is there in the
// other kind only is no member, but can be made one ([Set.Ensure]), and its
// stream can be had ([Set.Tar]).
type Set struct {
	dir    *state.Dir
	kind   store.Kind
	inside Inside
}

// Inside does in the account's user namespace what needs power over ids that are
// not the caller's.
type Inside interface {
	// Add is [Set.Add] for ranged layers. Opt.Extra is not called.
	Add(ctx context.Context, r io.Reader, opt Options) (Meta, error)
	// Tar is [Set.Tar] of a ranged layer.
	Tar(ctx context.Context, diffID string, w io.Writer) error
}

// Open returns the plain layers of a data root. It touches nothing.
func Open(dir *state.Dir) *Set { return OpenKind(dir, store.Plain, nil) }

// OpenKind returns the layers of one kind. The work on ranged ones is handed to
// inside; nil means that this process is in the namespace itself, or has no
// business with such layers.
func OpenKind(dir *state.Dir, kind store.Kind, inside Inside) *Set {
	return &Set{dir: dir, kind: kind, inside: inside}
}

// Folder is one on the file system of the layers, where there has to be room.
func (s *Set) Folder() string {
	if s.kind == store.Plain {
		return s.dir.Path("layers")
	}
	return filepath.Dir(s.dir.TempPath(string(s.kind))) // theirs may be missing yet
}

// Kind returns the kind of the set's layers.
func (s *Set) Kind() store.Kind { return s.kind }

// as is the same data root with the layers of another kind.
func (s *Set) as(kind store.Kind) *Set { return OpenKind(s.dir, kind, s.inside) }

// elsewhere reports whether the files are for another process to work on.
func (s *Set) elsewhere() bool { return s.kind == store.Ranged && s.inside != nil }

// Meta is what is recorded of an unpacked layer.
type Meta = store.LayerMeta

// Has reports whether the layer is there and whole.
func (s *Set) Has(diffID string) bool {
	_, err := s.Meta(diffID)
	return err == nil
}

// Find returns the record of a layer of whichever kind, or [store.ErrNotFound].
func (s *Set) Find(diffID string) (Meta, error) {
	m, err := s.Meta(diffID)
	if errors.Is(err, store.ErrNotFound) {
		if m, oerr := s.as(s.kind.Other()).Meta(diffID); oerr == nil {
			return m, nil
		}
	}
	return m, err
}

// Whole returns nil if all layers are there, each of whichever kind.
func (s *Set) Whole(diffIDs []string) error {
	for _, id := range diffIDs {
		if _, err := s.Find(id); err != nil {
			return fmt.Errorf("%w: pull the image again", err)
		}
	}
	return nil
}

// Path returns the folder that holds the files of a layer, whether or not it
// is there.
func (s *Set) Path(diffID string) string {
	return filepath.Join(store.LayerPath(s.dir, s.kind, diffID), "tree")
}

// Stack returns the folders of layers in the order an overlay mount wants
// them, top first, from diff IDs listed bottom first. It leaves out what is
// hidden below an opaque layer: the kernel does not ask the top folders of
// its stack whether they are.
func (s *Set) Stack(diffIDs []string) ([]string, error) {
	var trees []string
	for i := len(diffIDs) - 1; i >= 0; i-- {
		m, err := s.Meta(diffIDs[i])
		if err != nil {
			return nil, fmt.Errorf("%w: pull the image again", err)
		}
		trees = append(trees, s.Path(diffIDs[i]))
		if m.Opaque {
			break
		}
	}
	return trees, nil
}

// OverlayFits reports whether an overlay mount can show the layers. One that
// was unpacked where the file system or the kernel lacks something has its
// whiteouts in a form that only [View] understands.
func (s *Set) OverlayFits(diffIDs []string) bool {
	for _, id := range diffIDs {
		if m, err := s.Meta(id); err == nil && m.ByName {
			return false
		}
	}
	return true
}

// Add unpacks the tar stream r as a layer. Opt.DiffID, when given, must be
// the digest of the stream. The layer appears whole or not at all. If it is
// there already, the stream is still read and checked.
func (s *Set) Add(ctx context.Context, r io.Reader, opt Options) (Meta, error) {
	if opt.DiffID != "" {
		if _, ok := store.Hex(opt.DiffID); !ok {
			return Meta{}, fmt.Errorf("%q is not the digest of a layer", opt.DiffID)
		}
	}
	if s.elsewhere() {
		return s.inside.Add(ctx, r, opt)
	}
	tmp, err := s.dir.TempFor(string(s.kind))
	if err != nil {
		return Meta{}, err
	}
	defer tmp.Close()
	if err := os.Mkdir(tmp.Path("layer"), 0o700); err != nil {
		return Meta{}, err
	}
	tree := tmp.Path("layer", "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return Meta{}, err
	}
	opt.recipe = tmp.Path("layer")
	res, err := Unpack(ctx, tree, r, opt)
	if err != nil {
		return Meta{}, err
	}
	if opt.Extra != nil {
		if err := opt.Extra(tmp.Path("layer")); err != nil {
			return Meta{}, err
		}
	}
	m := Meta{V: 1, DiffID: res.DiffID, TarSize: res.TarSize, Size: res.Size, Files: res.Files, Created: time.Now().UTC(),
		Owner: state.Self(), Opaque: res.Opaque, ByName: res.ByName, Rootless: res.Rootless, Unsynced: bootID()}
	if err := finish(ctx, tmp.Path("layer"), m, res.Owners); err != nil {
		return Meta{}, err
	}
	err = s.install(tmp.Path("layer"), m.DiffID)
	if err == nil && opt.Durable {
		err = s.settleOne(ctx, m.DiffID)
	}
	return m, err
}

// finish writes the records of a layer whose files are all there. Nothing
// waits for the disk, unless the kernel does not say which boot this is.
func finish(ctx context.Context, folder string, m Meta, o Owners) error {
	if err := o.write(filepath.Join(folder, ownersFile)); err != nil {
		return err
	}
	if m.Unsynced == "" {
		return settle(ctx, folder, m)
	}
	return state.WriteVolatileJSON(filepath.Join(folder, "meta.json"), m)
}

// install renames a finished folder into place. Somebody else may have been
// faster, with the same bytes; a folder without its record, which only a power
// loss can leave, gives way.
func (s *Set) install(folder, diffID string) error {
	if err := s.makeFolder(); err != nil {
		return err
	}
	target := store.LayerPath(s.dir, s.kind, diffID)
	for range 3 {
		err := os.Rename(folder, target)
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
			return fmt.Errorf("cannot install layer: %w", err)
		}
		if s.Has(diffID) {
			return nil
		}
		if err := s.dir.Discard(target); err != nil {
			return fmt.Errorf("cannot replace a broken layer: %w", err)
		}
	}
	return fmt.Errorf("cannot install layer %s: its folder keeps coming back", diffID)
}

// makeFolder makes the folder of the layers if that did not come with the data
// root.
func (s *Set) makeFolder() error {
	if s.kind == store.Plain {
		return nil
	}
	err := os.Mkdir(s.dir.Path(string(s.kind)), 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// Claim is the sole right to fetch and unpack one layer, so that two pulls of
// it share the work.
type Claim struct {
	set  *Set
	id   string
	path string
	tx   *state.Tx
}

// Claim waits until no other process or goroutine works on the layer. It
// returns nil when the layer is there.
func (s *Set) Claim(ctx context.Context, diffID string) (*Claim, error) {
	hex, ok := store.Hex(diffID)
	if !ok {
		return nil, fmt.Errorf("%q is not the digest of a layer", diffID)
	}
	if err := s.makeFolder(); err != nil {
		return nil, err
	}
	path := s.dir.Path(string(s.kind), ".claim-"+hex)
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		if s.Has(diffID) {
			return nil, nil
		}
		tx, err := state.TryLock(path)
		if err == nil {
			c := &Claim{set: s, id: diffID, path: path, tx: tx}
			if s.Has(diffID) {
				c.Close()
				return nil, nil
			}
			return c, nil
		}
		if !errors.Is(err, state.ErrLocked) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// Add unpacks the claimed layer from its tar stream; see [Set.Add].
func (c *Claim) Add(ctx context.Context, r io.Reader, opt Options) (Meta, error) {
	opt.DiffID = c.id
	return c.set.Add(ctx, r, opt)
}

// Close gives the claim back. It may be called more than once.
func (c *Claim) Close() {
	if c == nil || c.tx == nil {
		return
	}
	// Removed while held, so that nobody can hold a file that is gone
	// without noticing (state.Lock checks).
	os.Remove(c.path)
	c.tx.Unlock()
	c.tx = nil
}
