package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"berth/internal/state"
)

// Collector is the right to remove things: while it is open nobody links
// anything to anything. Open it, decide, close it; nothing slow in between.
type Collector struct {
	s     *Store
	hold  *state.Tx
	index *state.Tx
	trash map[Kind]*state.Temp // blobs go with the plain layers
	files int64                // in trash
}

// Collected says what a collection removed.
type Collected struct {
	Layers []string // diff IDs
	Blobs  []string // digests
	Bytes  int64    // in the files of those
}

// Collector waits until nobody holds the store and opens a collector.
func (s *Store) Collector() (*Collector, error) {
	hold, err := state.Lock(s.dir.Path("oci", "collect.lock"))
	if err != nil {
		return nil, err
	}
	index, err := state.Lock(s.dir.Path("oci", "index.lock"))
	if err != nil {
		hold.Unlock()
		return nil, err
	}
	return &Collector{s: s, hold: hold, index: index}, nil
}

// Find is [Store.Find] that also finds damaged images.
func (c *Collector) Find(text string) (Image, error) {
	ix, err := c.s.readIndex()
	if err != nil {
		return Image{}, err
	}
	return c.s.find(ix, text)
}

// Images is [Store.Images].
func (c *Collector) Images() ([]Image, error) { return c.s.Images() }

// Untag takes full names away. An image that loses its last one stays, without
// a name.
func (c *Collector) Untag(names ...string) error {
	return c.edit(func(ix *index) {
		for _, n := range names {
			ix.unset(n)
		}
	})
}

// Delete takes an image with all its names off the list.
func (c *Collector) Delete(id string) error {
	return c.edit(func(ix *index) {
		ix.Manifests = slices.DeleteFunc(ix.Manifests, func(d Descriptor) bool { return c.s.idOf(d) == id })
	})
}

func (c *Collector) edit(change func(ix *index)) error {
	ix, err := c.s.readIndex()
	if err != nil {
		return err
	}
	change(&ix)
	return c.s.writeIndex(c.index, ix)
}

// Collect removes the layers that no image, no living lease and no container
// uses, and the blobs that no image uses. The layers of containers are in
// used. Blobs of layers stay as long as a listed manifest names them. Things
// are renamed out of sight at once; Close deletes them after letting everybody
// in again.
func (c *Collector) Collect(used map[string]bool) (Collected, error) {
	var out Collected
	ix, err := c.s.readIndex()
	if err != nil {
		return out, err
	}
	blobs, layers, err := c.s.reachable(ix)
	if err != nil {
		return out, err
	}
	leases, err := c.s.leased()
	if err != nil {
		return out, err
	}
	for _, kind := range Kinds() {
		err = c.collectLayers(&out, kind, func(id string) bool { return layers[id] || used[id] || leases.holds(id) })
		if err != nil {
			return out, err
		}
	}
	return out, c.collectBlobs(&out, func(digest string) bool { return blobs[digest] || leases.holds(digest) })
}

// reachable returns the blobs and the layers that listed images need. A
// damaged image might need anything, so it ends the collection: better a full
// disk than a lost layer.
func (s *Store) reachable(ix index) (blobs, layers map[string]bool, err error) {
	blobs, layers = map[string]bool{}, map[string]bool{}
	for _, d := range ix.Manifests {
		blobs[d.Digest] = true
		m, err := s.Manifest(d.Digest)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot tell what image %s needs, so nothing was removed: %w", s.idOf(d), err)
		}
		for _, l := range m.Layers { // as far as they are kept
			blobs[l.Digest] = true
		}
	}
	for _, id := range s.ids(ix) {
		blobs[id] = true
		img := s.load(ix, id, "")
		if img.Damage != nil {
			return nil, nil, fmt.Errorf("cannot tell what image %s needs, so nothing was removed: %w", id, img.Damage)
		}
		for _, l := range img.Layers {
			layers[l] = true
		}
	}
	return blobs, layers, nil
}

func (c *Collector) collectLayers(out *Collected, kind Kind, keep func(diffID string) bool) error {
	ids, err := c.s.unpacked(kind)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if keep(id) {
			continue
		}
		m, _ := ReadLayerMeta(c.s.dir, kind, id)
		hex, _ := Hex(id)
		err := c.discard(kind, LayerPath(c.s.dir, kind, id), string(kind)+"-"+hex)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !slices.Contains(out.Layers, id) { // of both kinds
			out.Layers = append(out.Layers, id)
		}
		out.Bytes += m.Size
		c.files += m.Files
	}
	return nil
}

// discard renames a path out of sight.
func (c *Collector) discard(kind Kind, path, name string) error {
	if c.trash[kind] == nil {
		trash, err := c.s.dir.TrashFor(string(kind))
		if err != nil {
			return err
		}
		if c.trash == nil {
			c.trash = map[Kind]*state.Temp{}
		}
		c.trash[kind] = trash
	}
	return os.Rename(path, c.trash[kind].Path(name))
}

func (c *Collector) collectBlobs(out *Collected, keep func(digest string) bool) error {
	dir := c.s.dir.Path("oci", "blobs", "sha256")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		digest := "sha256:" + e.Name()
		if isHex64(e.Name()) && keep(digest) {
			continue
		}
		// Names that are no digest are left over from a writer that was
		// killed, unless it lives: who keeps a layer's blob only leases it.
		if _, alive := state.TempFile(e.Name()); alive {
			continue
		}
		info, err := e.Info()
		if err != nil || c.s.dir.IsSplit() && !isHex64(e.Name()) && time.Since(info.ModTime()) < 24*time.Hour {
			continue // another machine may be writing it
		}
		if info.Size() > bigBlob {
			err = c.discard(Plain, dir+"/"+e.Name(), "blob-"+e.Name())
			c.files += info.Size() / bigBlob
		} else {
			err = os.Remove(dir + "/" + e.Name())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if isHex64(e.Name()) {
			out.Blobs = append(out.Blobs, digest)
			out.Bytes += info.Size()
		}
	}
	return nil
}

const (
	// manyFiles is where removing takes longer than starting a process for
	// it.
	manyFiles = 2000
	// bigBlob is where removing one file takes longer than removing a small
	// one does; it counts as that many.
	bigBlob = 4 << 20
)

// Close lets everybody in again and deletes what was collected: a lot of it
// later, by another process (see [state.Temp.CloseLater]).
func (c *Collector) Close() error {
	c.index.Unlock()
	c.hold.Unlock()
	var errs []error
	for _, trash := range c.trash {
		if c.files > manyFiles {
			errs = append(errs, trash.CloseLater())
		} else {
			errs = append(errs, trash.Close())
		}
	}
	c.trash = nil
	return errors.Join(errs...)
}
