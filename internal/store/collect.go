package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"berth/internal/state"
)

// Collector is the right to remove things: while it is open nobody links
// anything to anything. Open it, decide, close it; nothing slow in between.
type Collector struct {
	s     *Store
	hold  *state.Tx
	index *state.Tx
	trash *state.Temp
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
// used. Things are renamed out of sight at once; Close deletes them after
// letting everybody in again.
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
	if err := c.s.leased(layers); err != nil {
		return out, err
	}
	if c.trash == nil {
		if c.trash, err = c.s.dir.Temp(); err != nil {
			return out, err
		}
	}
	err = c.collectLayers(&out, func(id string) bool { return layers[id] || used[id] })
	if err != nil {
		return out, err
	}
	return out, c.collectBlobs(&out, blobs)
}

// reachable returns the blobs and the layers that listed images need. A
// damaged image might need anything, so it ends the collection: better a full
// disk than a lost layer.
func (s *Store) reachable(ix index) (blobs, layers map[string]bool, err error) {
	blobs, layers = map[string]bool{}, map[string]bool{}
	for _, d := range ix.Manifests {
		blobs[d.Digest] = true
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

func (c *Collector) collectLayers(out *Collected, keep func(diffID string) bool) error {
	entries, err := os.ReadDir(c.s.dir.Path("layers"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		id := "sha256:" + e.Name()
		if !isHex64(e.Name()) || keep(id) {
			continue
		}
		m, _ := ReadLayerMeta(c.s.dir, id)
		err := os.Rename(LayerPath(c.s.dir, id), c.trash.Path(e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		out.Layers = append(out.Layers, id)
		out.Bytes += m.Size
	}
	return nil
}

func (c *Collector) collectBlobs(out *Collected, keep map[string]bool) error {
	dir := c.s.dir.Path("oci", "blobs", "sha256")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		digest := "sha256:" + e.Name()
		if keep[digest] {
			continue
		}
		// Names that are no digest are left over from a writer that was
		// killed: writers hold the store.
		info, err := e.Info()
		if err != nil {
			continue
		}
		if err := os.Remove(dir + "/" + e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if isHex64(e.Name()) {
			out.Blobs = append(out.Blobs, digest)
			out.Bytes += info.Size()
		}
	}
	return nil
}

// Close lets everybody in again and deletes what was collected.
func (c *Collector) Close() error {
	c.index.Unlock()
	c.hold.Unlock()
	if c.trash == nil {
		return nil
	}
	trash := c.trash
	c.trash = nil
	return trash.Close()
}
