package pull

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/download"
	"berth/internal/images"
	"berth/internal/inflate"
	"berth/internal/registry"
	rt "berth/internal/registry/registrytest"
	"berth/internal/store"
)

// meter counts the bytes that are sent of blobs and, when it is told to, sends
// nothing more after so many.
type meter struct {
	sent  atomic.Int64
	limit atomic.Int64 // 0: none
	full  atomic.Pointer[func()]
}

func newMeter(f *rt.Fake) *meter {
	m := &meter{}
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		f.Serve(&meteredWriter{ResponseWriter: w, m: m, r: r}, r)
		return true
	})
	return m
}

type meteredWriter struct {
	http.ResponseWriter
	m *meter
	r *http.Request
}

func (w *meteredWriter) Write(p []byte) (int, error) {
	if limit := w.m.limit.Load(); limit > 0 && w.m.sent.Load() > limit {
		(*w.m.full.Load())()
		<-w.r.Context().Done()
		return 0, w.r.Context().Err()
	}
	n, err := w.ResponseWriter.Write(p)
	w.m.sent.Add(int64(n))
	return n, err
}

// bytesOf is how much is to be sent of an image at least.
func bytesOf(img *rt.Image) (n int64) {
	for _, b := range img.Blobs {
		n += int64(len(b))
	}
	return n
}

// What has come of a layer when the user has enough, or the network is gone,
// is not fetched again.
func TestPullResumesWithinLayer(t *testing.T) {
	f := rt.NewFake(t)
	img := rt.Build(t, "linux/amd64", false, packed(t, "gzip", "a", noise(24<<20, 1)), packed(t, "gzip", "b", "small"))
	f.Add("app", "latest", img)
	m := newMeter(f)
	r := newRoot(t)
	ctx, cancel := context.WithCancel(context.Background())
	stop := func() { time.AfterFunc(200*time.Millisecond, cancel) }
	m.full.Store(&stop)
	m.limit.Store(16 << 20)
	_, err := New(registry.Options{}).Pull(ctx, r.store, images.PullOptions{Ref: f.Addr + "/app"})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	left, err := download.List(r.dir.Path("downloads"))
	if err != nil || len(left) != 1 || left[0].Digest != img.Layers[0].Digest || left[0].Have < 8<<20 {
		t.Fatalf("left: %+v, %v", left, err)
	}
	m.limit.Store(0)
	m.sent.Store(0)
	r.mustPull(f.Addr + "/app")
	if sent, whole := m.sent.Load(), bytesOf(img); sent > whole-left[0].Have+1<<20 {
		t.Errorf("%d of %d bytes came again, though %d were there", sent, whole, left[0].Have)
	}
	if r.read(img.DiffIDs[0], "a") != noise(24<<20, 1) {
		t.Error("other content")
	}
	if left := r.names("downloads", ""); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	r.tidy()
}

// A layer that is no good for its image leaves nothing that the next pull
// would go on from.
func TestPullForgetsBadLayer(t *testing.T) {
	f := rt.NewFake(t)
	img := rt.Build(t, "linux/amd64", false, packed(t, "gzip", "a", "a"), packed(t, "gzip", "b", noise(12<<20, 1)))
	f.Add("app", "latest", img)
	respoil(f, img, []byte("\x1f\x8b\x08\x00"+noise(12<<20, 2)))
	r := newRoot(t)
	if _, err := r.pull(images.PullOptions{Ref: f.Addr + "/app"}); err == nil || !strings.Contains(err.Error(), "its gzip is damaged") {
		t.Fatalf("got %v", err)
	}
	if left := r.names("downloads", ""); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestKeepBlobs(t *testing.T) {
	f := rt.NewFake(t)
	img := rt.Build(t, "linux/amd64", false, packed(t, "gzip", "a", noise(9<<20, 1)), packed(t, "zstd", "b", "small"))
	f.Add("app", "latest", img)
	m := newMeter(f)
	r := newRoot(t)
	name := f.Addr + "/app"
	r.mustPull(name)
	raw, err := os.ReadFile(filepath.Join(store.LayerPath(r.dir, store.Plain, img.DiffIDs[0]), "index"))
	var ix inflate.Index
	if err != nil || ix.UnmarshalBinary(raw) != nil || ix.Points() < 2 {
		t.Errorf("index of a gzip layer: %d bytes, %d points, %v", len(raw), ix.Points(), err)
	}
	for _, l := range img.Layers {
		if _, ok := r.store.HasBlob(l.Digest); ok {
			t.Errorf("blob %s was kept unasked", l.Digest)
		}
	}
	m.sent.Store(0)
	res, err := r.pull(images.PullOptions{Ref: name, KeepBlobs: true})
	if err != nil {
		t.Fatal(err)
	}
	if sent := m.sent.Load(); sent < bytesOf(img)-100_000 {
		t.Errorf("only %d bytes came", sent)
	}
	for _, l := range img.Layers {
		blob, n, err := r.store.OpenBlob(l.Digest)
		if err != nil || n != l.Size {
			t.Fatalf("%d, %v", n, err)
		}
		if l.Digest == img.Layers[0].Digest { // the checkpoints lead into it
			part := make([]byte, 100)
			all, err := ix.Open(blob, n, inflate.Options{})
			if err == nil {
				_, err = all.ReadAt(part, 9<<20-2000)
			}
			if err != nil || !strings.Contains(noise(9<<20, 1), string(part)) {
				t.Errorf("read in part: %v", err)
			}
		}
		blob.Close()
	}
	m.sent.Store(0)
	again, err := r.pull(images.PullOptions{Ref: name, KeepBlobs: true})
	if err != nil || !again.UpToDate || again.ImageID != res.ImageID || m.sent.Load() > 0 {
		t.Errorf("%+v, %v, %d bytes", again, err, m.sent.Load())
	}
	r2 := newRoot(t)
	if _, err := r2.pull(images.PullOptions{Ref: name, KeepBlobs: true}); err != nil {
		t.Fatal(err)
	}
	if _, ok := r2.store.HasBlob(img.Layers[0].Digest); !ok || len(r2.layers()) != 2 {
		t.Error("a first pull did not keep the blobs, too")
	}
}

// A part that an earlier pull left, and that turns out to be no good, costs a
// second transfer and not the pull.
func TestPullStalePart(t *testing.T) {
	f := rt.NewFake(t)
	img := rt.Build(t, "linux/amd64", false, packed(t, "gzip", "a", noise(12<<20, 1)))
	f.Add("app", "latest", img)
	good := img.Blobs[img.Layers[0].Digest]
	bad := bytes.Clone(good)
	bad[1000] ^= 1
	f.SetBlob(img.Layers[0].Digest, bad)
	r := newRoot(t)
	m := newMeter(f)
	ctx, cancel := context.WithCancel(context.Background())
	stop := func() { time.AfterFunc(200*time.Millisecond, cancel) }
	m.full.Store(&stop)
	m.limit.Store(6 << 20)
	if _, err := New(registry.Options{}).Pull(ctx, r.store, images.PullOptions{Ref: f.Addr + "/app"}); err == nil {
		t.Fatal("no error")
	}
	if left := r.names("downloads", ""); len(left) == 0 {
		t.Fatal("nothing is left to go on from")
	}
	m.limit.Store(0)
	f.SetBlob(img.Layers[0].Digest, good)
	r.mustPull(f.Addr + "/app")
	r.tidy()
}
