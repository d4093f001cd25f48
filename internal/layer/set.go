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

// Set is the unpacked layers of one data root.
type Set struct{ dir *state.Dir }

// Open returns the layers of a data root. It touches nothing.
func Open(dir *state.Dir) *Set { return &Set{dir: dir} }

// Meta is what is recorded of an unpacked layer.
type Meta = store.LayerMeta

// Has reports whether the layer is there and whole.
func (s *Set) Has(diffID string) bool {
	_, err := s.Meta(diffID)
	return err == nil
}

// Path returns the folder that holds the files of a layer, whether or not it
// is there.
func (s *Set) Path(diffID string) string {
	return filepath.Join(store.LayerPath(s.dir, diffID), "tree")
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
	tmp, err := s.dir.Temp()
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
	target := store.LayerPath(s.dir, diffID)
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
	path := s.dir.Path("layers", ".claim-"+hex)
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
