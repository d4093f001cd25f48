package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"berth/internal/layer"
	"berth/internal/registry"
	"berth/internal/registry/ref"
	"berth/internal/store"
)

// task is one layer to fetch.
type task struct {
	desc   registry.Descriptor
	diffID string
	id     string // how progress calls it
}

// shortID is what Docker shows of a digest.
func shortID(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return hex[:min(12, len(hex))]
}

// fetch brings the layers of img that are missing and lists the image.
func (j *job) fetch(ctx context.Context, r ref.Ref, img *registry.Image) (err error) {
	begun := time.Now()
	lease, err := j.store.Lease(img.DiffIDs)
	if err != nil {
		return j.room(err)
	}
	defer lease.Close()
	tasks := j.missing(img)
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
// each once.
func (j *job) missing(img *registry.Image) []task {
	var tasks []task
	for i, d := range img.Layers {
		t := task{desc: d, diffID: img.DiffIDs[i], id: shortID(d.Digest)}
		switch {
		case slices.Contains(img.DiffIDs[:i], t.diffID):
		case j.layers.Has(t.diffID):
			j.progress.Layer(t.id, "Already exists", 0, 0)
		default:
			j.progress.Layer(t.id, "Pulling fs layer", 0, d.Size)
			tasks = append(tasks, t)
		}
	}
	return tasks
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

// room words the lack of space.
func (j *job) room(err error) error {
	if isFull(err) {
		return &fullError{dir: j.store.Dir().Root(), cause: err}
	}
	return err
}

// all fetches the tasks at once, the biggest first, and returns the layers
// that are new here. The first failure ends the others.
func (j *job) all(ctx context.Context, r ref.Ref, tasks []task) (added []string, err error) {
	slices.SortStableFunc(tasks, func(a, b task) int { return cmp.Compare(b.desc.Size, a.desc.Size) })
	workers := min(len(tasks), 6, 2*runtime.NumCPU())
	for _, t := range tasks[min(len(tasks), workers):] {
		j.progress.Layer(t.id, "Waiting", 0, t.desc.Size)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan task, len(tasks))
	for _, t := range tasks {
		queue <- t
	}
	close(queue)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for t := range queue {
				if ctx.Err() != nil {
					return
				}
				isNew, err := j.one(ctx, r, t)
				if err != nil {
					cancel(err) // counts only when it is the first
					return
				}
				if isNew {
					mu.Lock()
					added = append(added, t.diffID)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return added, context.Cause(ctx)
}

// one fetches and unpacks one layer, unless somebody else does meanwhile.
func (j *job) one(ctx context.Context, r ref.Ref, t task) (isNew bool, err error) {
	claim, err := j.layers.Claim(ctx, t.diffID)
	if err != nil {
		return false, j.room(err)
	}
	if claim == nil {
		j.progress.Layer(t.id, "Already exists", 0, 0)
		return false, nil
	}
	defer claim.Close()
	src, err := j.open(ctx, r, t)
	if err != nil {
		return false, err
	}
	defer src.Close()
	in, err := unpacked(src, space{dir: j.store.Dir().Path("layers")})
	if err == nil {
		_, err = claim.Add(ctx, in, layer.Options{})
		in.Close()
	}
	if err != nil {
		return false, j.explain(ctx, r, t, src, err)
	}
	j.progress.Layer(t.id, "Pull complete", t.desc.Size, t.desc.Size)
	return true, nil
}

// open starts the transfer of a layer.
func (j *job) open(ctx context.Context, r ref.Ref, t task) (*source, error) {
	ctx, cancel := context.WithCancel(ctx)
	j.progress.Layer(t.id, "Downloading", 0, t.desc.Size)
	blob, err := j.client.Blob(ctx, r, t.desc)
	if err != nil {
		cancel()
		return nil, err
	}
	return newSource(blob, cancel, func(n int64, done bool) {
		status := "Downloading"
		if done {
			status = "Download complete"
		}
		j.progress.Layer(t.id, status, n, t.desc.Size)
	}), nil
}

// explain finds out why a layer could not be unpacked: a damaged transfer
// mostly shows as nonsense in the archive first.
func (j *job) explain(ctx context.Context, r ref.Ref, t task, src *source, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if isFull(err) {
		return fmt.Errorf("cannot unpack layer %s of %s: %w", t.id, r.Familiar(), &fullError{dir: j.store.Dir().Path("layers"), cause: err})
	}
	if e := src.verdict(); e != nil {
		return e
	}
	return fmt.Errorf("cannot unpack layer %s of %s: %w", t.id, r.Familiar(), err)
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
	entries, err := os.ReadDir(j.store.Dir().Path("layers"))
	if err != nil {
		return nil, err
	}
	keep := make(map[string]bool, len(entries))
	for _, e := range entries {
		if id := "sha256:" + e.Name(); !slices.Contains(given, id) {
			keep[id] = true
		}
	}
	return keep, nil
}

// containersSince reports whether a container may have been made since then:
// it could use layers of ours, and a container is not for this package to read.
func (j *job) containersSince(t time.Time) bool {
	dir := j.store.Dir().Path("containers")
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
