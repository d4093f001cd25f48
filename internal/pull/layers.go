package pull

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"berth/internal/download"
	"berth/internal/registry"
	"berth/internal/registry/ref"
	"berth/internal/store"
)

// task is one layer to fetch.
type task struct {
	desc     registry.Descriptor
	diffID   string
	id       string // how progress calls it
	blobOnly bool   // it is unpacked already, and its blob is to be kept
}

// fetch brings the layers of img that are missing and lists the image.
func (j *job) fetch(ctx context.Context, r ref.Ref, img *registry.Image) (err error) {
	begun := time.Now()
	needed := slices.Clone(img.DiffIDs)
	if j.keep {
		for _, d := range img.Layers {
			needed = append(needed, d.Digest)
		}
	}
	lease, err := j.store.Lease(needed)
	if err != nil {
		return j.room(err)
	}
	defer lease.Close()
	tasks := j.missing(img)
	if err := j.enough(ctx, r, tasks); err != nil {
		return err
	}
	added, err := j.all(ctx, r, tasks)
	if err == nil {
		err = j.list(r, img)
	}
	if err == nil || lost(ctx, err) {
		return err
	}
	lease.Close()
	if e := j.undo(added, begun); e != nil {
		err = fmt.Errorf("%w (and cannot remove the layers that came with it: %v)", err, e)
	}
	return err
}

// missing reports the layers of img that are there and returns the others,
// each once. A pull that was killed between the end of a layer and that of its
// part file has left the latter.
func (j *job) missing(img *registry.Image) []task {
	var tasks []task
	there := map[string]bool{} // by digest of the packed layer
	defer func() { j.forget(there) }()
	for i, d := range img.Layers {
		t := task{desc: d, diffID: img.DiffIDs[i], id: ref.ShortDigest(d.Digest)}
		switch {
		case slices.Contains(img.DiffIDs[:i], t.diffID):
		case j.there(t.diffID):
			if t.blobOnly = j.keep && !j.kept(t.desc.Digest); t.blobOnly {
				tasks = append(tasks, t)
				continue
			}
			there[d.Digest] = true
			j.progress.Layer(t.id, "Already exists", 0, 0)
		default:
			j.progress.Layer(t.id, "Pulling fs layer", 0, d.Size)
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// forget removes what is left of transfers of layers that are there.
func (j *job) forget(there map[string]bool) {
	if len(there) > 0 {
		_, _ = download.Remove(j.store.Dir().Path("downloads"), func(l download.Left) bool { return !there[l.Digest] })
	}
}

// list makes the image known under its name and its digest.
func (j *job) list(r ref.Ref, img *registry.Image) error {
	names := []string{r.WithDigest(img.Digest).String()}
	if r.Digest == "" {
		names = append(names, r.String())
	}
	_, err := j.store.Add(store.Addition{Names: names, MediaType: img.ManifestDesc.MediaType, Manifest: img.Manifest, Config: img.Config})
	return j.room(err)
}

// kept reports whether the packed form of a layer is there.
func (j *job) kept(digest string) bool {
	_, ok := j.store.HasBlob(digest)
	return ok
}

// room words the lack of space.
func (j *job) room(err error) error {
	if isFull(err) {
		return &fullError{dir: j.store.Dir().Root(), cause: err}
	}
	return err
}

// undo removes layers that this pull has brought for an image that turned out
// to be no good, unless somebody else counts on them by now.
func (j *job) undo(added []string, begun time.Time) error {
	if len(added) == 0 || j.containersSince(begun) {
		return nil
	}
	c, err := j.store.Collector()
	if err != nil {
		return err
	}
	defer c.Close()
	keep, err := j.othersThan(added)
	if err != nil {
		return err
	}
	_, err = c.Collect(keep)
	return err
}

// othersThan returns all unpacked layers but the given ones.
func (j *job) othersThan(given []string) (map[string]bool, error) {
	layers, err := j.store.Layers()
	if err != nil {
		return nil, err
	}
	keep := map[string]bool{}
	for _, ofKind := range layers {
		for id := range ofKind {
			keep[id] = !slices.Contains(given, id)
		}
	}
	return keep, nil
}

// containersSince reports whether a container may have been made since then:
// it could use layers of ours, and a container is not for this package to read.
func (j *job) containersSince(t time.Time) bool {
	dir := j.store.Dir().Path("containers")
	if others, err := j.store.Dir().Announced(); err != nil || len(others) > 0 {
		return true // they are not read either
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) == 0 {
		return false
	}
	info, err2 := os.Stat(dir)
	if err = errors.Join(err, err2); err != nil {
		return true
	}
	return info.ModTime().After(t.Add(-time.Minute))
}
