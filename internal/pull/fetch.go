package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"berth/internal/download"
	"berth/internal/layer"
	"berth/internal/registry/ref"
	"berth/internal/state"
	"berth/internal/sys"
)

const (
	// connections to registries at once, and for one layer.
	connections         = 16
	connectionsPerLayer = 8
	// smallLayer is what takes longer to ask for than to fetch. Small ones
	// do not wait for large ones.
	smallLayer = 4 << 20
	// smallWorkers is how many small layers are fetched at once, largeMax
	// how many large ones: those need memory.
	smallWorkers = 6
	largeMin     = 3
	largeMax     = 8
	// indexFile is where a layer's folder has the checkpoints of the decoder.
	indexFile = "index"
	// verdictLimit is how much more of a layer is read to find out whether
	// it was damaged on its way.
	verdictLimit = 64 << 20
)

// all fetches the tasks at once, the biggest first, and returns the layers
// that are new here. The first failure ends the others.
func (j *job) all(ctx context.Context, r ref.Ref, tasks []task) (added []string, err error) {
	slices.SortStableFunc(tasks, func(a, b task) int { return cmp.Compare(b.desc.Size, a.desc.Size) })
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	do := func(t task) {
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
	small := max(0, slices.IndexFunc(tasks, func(t task) bool { return t.desc.Size <= smallLayer }))
	if len(tasks) > 0 && tasks[len(tasks)-1].desc.Size > smallLayer {
		small = len(tasks)
	}
	large, little := queue(tasks[:small]), queue(tasks[small:])
	var wg sync.WaitGroup
	for range min(len(tasks), max(largeMin, min(runtime.GOMAXPROCS(0), largeMax))) {
		wg.Go(func() {
			drain(large, do)
			drain(little, do)
		})
	}
	for range min(len(little), smallWorkers) {
		wg.Go(func() { drain(little, do) })
	}
	wg.Wait()
	return added, context.Cause(ctx)
}

func queue(tasks []task) chan task {
	q := make(chan task, len(tasks))
	for _, t := range tasks {
		q <- t
	}
	close(q)
	return q
}

func drain(q chan task, do func(task)) {
	for t := range q {
		do(t)
	}
}

// one fetches and unpacks one layer, unless somebody else does meanwhile.
func (j *job) one(ctx context.Context, r ref.Ref, t task) (isNew bool, err error) {
	if t.blobOnly {
		return false, j.blob(ctx, r, t)
	}
	claim, err := j.layers.Claim(ctx, t.diffID)
	if err != nil {
		return false, j.room(err)
	}
	if claim == nil {
		if j.keep && !j.kept(t.desc.Digest) {
			return false, j.blob(ctx, r, t)
		}
		j.forget(map[string]bool{t.desc.Digest: true})
		j.progress.Layer(t.id, "Already exists", 0, 0)
		return false, nil
	}
	defer claim.Close()
	err = j.transfer(ctx, r, t, claim)
	if errors.Is(err, download.ErrStale) {
		// What an earlier pull had left was no good. It is gone now.
		err = j.transfer(ctx, r, t, claim)
	}
	if err != nil {
		return false, err
	}
	j.progress.Layer(t.id, "Pull complete", t.desc.Size, t.desc.Size)
	return true, nil
}

// transfer fetches and unpacks a claimed layer.
func (j *job) transfer(ctx context.Context, r ref.Ref, t task, claim *layer.Claim) error {
	src, err := j.open(ctx, r, t)
	if err != nil {
		return j.room(err)
	}
	defer src.Close()
	err = j.unpack(ctx, claim, src)
	if err == nil && j.keep {
		err = src.Keep(j.store.BlobPath(t.desc.Digest))
	}
	if err != nil {
		return j.explain(ctx, r, t, src, err)
	}
	return nil
}

// unpack makes the claimed layer out of its packed form.
func (j *job) unpack(ctx context.Context, claim *layer.Claim, src *source) error {
	in, err := unpacked(src, sys.Space{Dir: j.layers.Folder()}, j.gate)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = claim.Add(ctx, in, layer.Options{Extra: func(folder string) error {
		b, err := in.index()
		if err != nil || b == nil {
			return err
		}
		return state.WriteVolatile(filepath.Join(folder, indexFile), b, 0o600)
	}})
	return err
}

// blob fetches the packed form of a layer that is unpacked already.
func (j *job) blob(ctx context.Context, r ref.Ref, t task) error {
	src, err := j.open(ctx, r, t)
	if err != nil {
		return j.room(err)
	}
	defer src.Close()
	if err := src.toEnd(t.desc.Size); err != nil {
		return j.explain(ctx, r, t, src, err)
	}
	if err := src.Keep(j.store.BlobPath(t.desc.Digest)); err != nil {
		return j.room(err)
	}
	j.progress.Layer(t.id, "Pull complete", t.desc.Size, t.desc.Size)
	return nil
}

// open starts the transfer of a layer, or goes on with an earlier one.
func (j *job) open(ctx context.Context, r ref.Ref, t task) (*source, error) {
	from, err := j.client.Ranges(r, t.desc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &source{progress: j.progress, task: t, cancel: cancel}
	j.progress.Layer(t.id, "Downloading", 0, t.desc.Size)
	s.Download, err = download.Open(ctx, from, download.Options{
		Dir: j.store.Dir().Path("downloads"), Digest: t.desc.Digest, Size: t.desc.Size, Limit: j.limit, Progress: s.arrived,
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return s, nil
}

// explain finds out why a layer could not be unpacked: a damaged transfer
// mostly shows as nonsense in the archive first. What has come of a layer that
// is no good is not kept.
func (j *job) explain(ctx context.Context, r ref.Ref, t task, src *source, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if isFull(err) {
		return fmt.Errorf("cannot unpack layer %s of %s: %w", t.id, r.Familiar(), &fullError{dir: j.layers.Folder(), cause: err})
	}
	if lost(ctx, err) {
		if e := src.toEnd(0); e != nil && e != errEnough {
			return e // as the transfer itself words it
		}
		return err
	}
	if e := src.toEnd(verdictLimit); e != nil && e != errEnough {
		return e
	}
	src.Close()
	download.Remove(j.store.Dir().Path("downloads"), func(l download.Left) bool { return l.Digest != t.desc.Digest })
	return fmt.Errorf("cannot unpack layer %s of %s: %w", t.id, r.Familiar(), err)
}
