package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"berth/internal/errdef"
	"berth/internal/registry"
	"berth/internal/registry/ref"
	"berth/internal/store"
)

// maxUploads is how many layers travel at once, as in Docker.
const maxUploads = 5

// maxPacking is how many layers are packed at once. Each takes all cores; the
// second fills them while the first waits for the network.
const maxPacking = 2

// maxMounts is how many repositories are tried to mount a layer from.
const maxMounts = 3

const (
	layerGzip    = "application/vnd.oci.image.layer.v1.tar+gzip"
	dockerPrefix = "application/vnd.docker."
)

// task is one layer to send.
type task struct {
	diffID string
	desc   store.Descriptor // that the manifest has for it
	id     string           // how progress calls it
	forms  []*form
}

// all sends the layers of an image that were not sent yet. It returns how many
// of them were packed anew.
func (j *job) all(ctx context.Context, dst *registry.Target, r ref.Ref, img store.Image, base version) (repacked int, err error) {
	var tasks []task
	for i, id := range slices.Backward(img.Layers) { // Docker lists the top first
		t := task{diffID: id, desc: base.doc.Layers[i], id: ref.ShortDigest(id), forms: j.forms.of(id, base.doc.Layers[i])}
		if _, done := j.sent[id]; done {
			j.progress.Layer(t.id, "Layer already exists", 0, 0)
			continue
		}
		if slices.ContainsFunc(tasks, func(o task) bool { return o.diffID == id }) {
			continue
		}
		j.progress.Layer(t.id, "Preparing", 0, 0)
		tasks = append(tasks, t)
	}
	for _, t := range tasks[min(len(tasks), maxUploads):] {
		j.progress.Layer(t.id, "Waiting", 0, 0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan task, len(tasks))
	for _, t := range tasks {
		queue <- t
	}
	close(queue)
	var wg sync.WaitGroup
	for range min(len(tasks), maxUploads) {
		wg.Go(func() {
			for t := range queue {
				if ctx.Err() != nil {
					return
				}
				desc, anew, err := j.layer(ctx, dst, r, t)
				if err != nil {
					cancel(err) // counts only when it is the first
					return
				}
				j.mu.Lock()
				j.sent[t.diffID] = desc
				repacked += rank(anew)
				j.mu.Unlock()
			}
		})
	}
	wg.Wait()
	return repacked, context.Cause(ctx)
}

// layer sees to it that the repository has a layer, and returns what it is
// called there and whether that is another name than it came with.
func (j *job) layer(ctx context.Context, dst *registry.Target, r ref.Ref, t task) (desc store.Descriptor, anew bool, err error) {
	if len(t.desc.URLs) > 0 {
		j.progress.Layer(t.id, "Skipped foreign layer", 0, 0)
		return t.desc, false, nil
	}
	for _, f := range t.forms {
		there, err := dst.Has(ctx, f.desc.Digest)
		if err != nil {
			return desc, false, err
		}
		if there {
			j.progress.Layer(t.id, "Layer already exists", 0, 0)
			return f.desc, false, nil
		}
	}
	for _, f := range t.forms {
		from, err := j.mount(ctx, dst, r, f)
		if err != nil {
			return desc, false, err
		}
		if from != "" {
			j.progress.Layer(t.id, "Mounted from "+from, 0, 0)
			return f.desc, false, nil
		}
	}
	for _, way := range []func(context.Context, *registry.Target, ref.Ref, task) (store.Descriptor, error){j.kept, j.through} {
		desc, err := way(ctx, dst, r, t)
		var content *registry.ContentError
		if err == nil {
			j.progress.Layer(t.id, "Pushed", 0, 0)
			return desc, false, nil
		}
		if !errors.Is(err, errNoWay) && !errors.As(err, &content) || ctx.Err() != nil {
			return desc, false, err
		}
	}
	if desc, err = j.again(ctx, dst, t); err != nil {
		return desc, false, fmt.Errorf("cannot push layer %s of %s: %w", t.id, r.Familiar(), err)
	}
	j.progress.Layer(t.id, "Pushed", 0, 0)
	// A layer that was made here has been packed by nobody before.
	came := slices.ContainsFunc(t.forms, func(f *form) bool { return len(f.homes) > 0 })
	return desc, came || t.desc.Digest != t.diffID, nil
}

// errNoWay says that a way to send a layer is not open.
var errNoWay = errors.New("no way")

// mount has the registry take a form from one of its other repositories, and
// returns which.
func (j *job) mount(ctx context.Context, dst *registry.Target, r ref.Ref, f *form) (from string, err error) {
	tried := []string{r.Path}
	for _, h := range f.homes {
		if h.Domain != r.Domain || slices.Contains(tried, h.Path) || len(tried) > maxMounts {
			continue
		}
		tried = append(tried, h.Path)
		ok, err := dst.Mount(ctx, f.desc.Digest, h.Path)
		if err != nil {
			return "", err
		}
		if ok {
			return h.Path, nil
		}
	}
	return "", nil
}

// kept sends a form whose packed layer is in the store.
func (j *job) kept(ctx context.Context, dst *registry.Target, _ ref.Ref, t task) (store.Descriptor, error) {
	for _, f := range t.forms {
		if size, ok := j.store.HasBlob(f.desc.Digest); ok && size == f.desc.Size {
			_, err := dst.Upload(ctx, f.desc.Digest, func(context.Context) (io.ReadCloser, error) {
				file, _, err := j.store.OpenBlob(f.desc.Digest)
				return file, err
			}, j.pushing(t, f.desc.Size))
			return f.desc, err
		}
	}
	return store.Descriptor{}, errNoWay
}

// through sends a form from a registry that has it.
func (j *job) through(ctx context.Context, dst *registry.Target, _ ref.Ref, t task) (store.Descriptor, error) {
	last := errNoWay
	for _, f := range t.forms {
		for _, home := range f.homes {
			if j.isLost(home) {
				continue
			}
			d := registry.Descriptor{MediaType: f.desc.MediaType, Digest: f.desc.Digest, Size: f.desc.Size}
			_, err := dst.Upload(ctx, d.Digest, func(ctx context.Context) (io.ReadCloser, error) {
				return j.client.Blob(ctx, home, d)
			}, j.pushing(t, d.Size))
			var content *registry.ContentError
			if !errors.As(err, &content) {
				return f.desc, err
			}
			if last = err; errors.Is(err, registry.ErrUnreachable) || errors.Is(err, registry.ErrDenied) {
				j.mu.Lock()
				j.lost[home.Name()] = err // not to be waited for with every layer
				j.mu.Unlock()
			}
		}
	}
	return store.Descriptor{}, last
}

func (j *job) isLost(home ref.Ref) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lost[home.Name()] != nil
}

// again makes the tar stream of the layer again and packs it.
func (j *job) again(ctx context.Context, dst *registry.Target, t task) (store.Descriptor, error) {
	select {
	case j.packing <- struct{}{}:
		defer func() { <-j.packing }()
	case <-ctx.Done():
		return store.Descriptor{}, ctx.Err()
	}
	total := int64(0)
	if m, err := store.FindLayer(j.store.Dir(), t.diffID); err == nil {
		total = m.TarSize
	}
	report := j.pushing(t, total)
	d, err := dst.Upload(ctx, "", func(ctx context.Context) (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			p := newPacker(w)
			err := j.layers.Tar(ctx, t.diffID, &counter{w: p, report: report})
			if e := p.Close(); err == nil {
				err = e
			}
			w.CloseWithError(err) // nil is io.EOF
		}()
		return r, nil
	}, func(int64) {})
	return store.Descriptor{MediaType: layerGzip, Digest: d.Digest, Size: d.Size}, err
}

// counter counts what is written.
type counter struct {
	w      io.Writer
	n      int64
	report func(int64)
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	c.report(c.n)
	return n, err
}

func (j *job) pushing(t task, total int64) func(int64) {
	j.progress.Layer(t.id, "Pushing", 0, total)
	return func(n int64) { j.progress.Layer(t.id, "Pushing", n, total) }
}

// remade returns a manifest that is base with other layers.
func remade(base version, layers []store.Descriptor) (version, error) {
	v := version{doc: base.doc}
	v.doc.Layers = make([]store.Descriptor, len(layers))
	docker := strings.HasPrefix(v.doc.MediaType, dockerPrefix)
	for i, l := range layers {
		l.MediaType = typeFor(docker, l.MediaType)
		v.doc.Layers[i] = l
	}
	var err error
	v.raw, err = json.Marshal(v.doc)
	return v, err
}

// typeFor says a layer's media type in the words of Docker or of OCI: a
// manifest should not mix them.
func typeFor(docker bool, mediaType string) string {
	const (
		oci  = "application/vnd.oci.image.layer.v1.tar"
		ours = dockerPrefix + "image.rootfs.diff.tar"
	)
	packing, isOCI := strings.CutPrefix(mediaType, oci)
	if docker && isOCI {
		return ours + strings.Replace(packing, "+", ".", 1)
	}
	packing, isDocker := strings.CutPrefix(mediaType, ours)
	if !docker && isDocker {
		return oci + strings.Replace(packing, ".", "+", 1)
	}
	return mediaType
}

// classify gives an error the kind that the engine's callers look for.
func classify(err error) error {
	var e *errdef.Error
	var kind error
	switch {
	case err == nil || errors.As(err, &e):
		return err
	case errors.Is(err, registry.ErrNotFound), errors.Is(err, registry.ErrDenied):
		kind = errdef.ErrNotFound
	case errors.Is(err, registry.ErrUnsupported):
		kind = errdef.ErrNotSupported
	default:
		return err
	}
	return &errdef.Error{Kind: kind, Text: err.Error()}
}
