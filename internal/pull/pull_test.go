package pull

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/download"
	"berth/internal/errdef"
	"berth/internal/images"
	"berth/internal/registry"
	rt "berth/internal/registry/registrytest"
	"berth/internal/store"
	"berth/internal/sys"
)

func TestPull(t *testing.T) {
	s := rt.Start(t, rt.Options{})
	base := packed(t, "gzip", "base", noise(3<<20, 1))
	amd := rt.Build(t, "linux/amd64", true, base, packed(t, "", "plain", "plain"), packed(t, "zstd", "z", noise(2<<20, 2)), base)
	arm := rt.Build(t, "linux/arm64", true, base, packed(t, "gzip", "arm", "arm"))
	s.Push(t, "team/app", "", amd)
	s.Push(t, "team/app", "", arm)
	kind, list := rt.List(true, amd, arm)
	s.PushManifest(t, "team/app", "1", kind, list)
	name := s.Addr + "/team/app:1"
	r := newRoot(t)

	rec := &recorder{}
	res, err := r.pull(images.PullOptions{Ref: name, Platform: "linux/amd64", Progress: rec})
	if err != nil {
		t.Fatal(err)
	}
	want := images.PullResult{Ref: name, Digest: rt.Digest(list), ImageID: amd.ID}
	if res != want {
		t.Errorf("got %+v, want %+v", res, want)
	}
	if !slices.Equal(rec.messages, []string{"1: Pulling from team/app"}) {
		t.Errorf("messages: %q", rec.messages)
	}
	for _, l := range amd.Layers {
		got := slices.DeleteFunc(slices.Clone(rec.layers[l.Digest[7:19]]), func(s string) bool { return s == "Extracting" })
		if len(got) < 4 || got[0] != "Pulling fs layer" || got[len(got)-2] != "Download complete" || got[len(got)-1] != "Pull complete" {
			t.Errorf("layer %s: %q", l.Digest[7:19], got)
		}
	}
	if got := r.read(amd.DiffIDs[0], "base"); got != noise(3<<20, 1) {
		t.Error("the first layer has other content")
	}
	if r.read(amd.DiffIDs[1], "plain") != "plain" || r.read(amd.DiffIDs[2], "z") != noise(2<<20, 2) {
		t.Error("the other layers have other content")
	}
	img, err := r.store.Find(name)
	if err != nil || img.ID != amd.ID || !slices.Equal(img.RepoDigests, []string{s.Addr + "/team/app@" + rt.Digest(list)}) {
		t.Errorf("stored: %+v, %v", img, err)
	}
	if blobs := r.names("oci/blobs/sha256", ""); len(blobs) != 2 {
		t.Errorf("blobs kept: %v, want manifest and configuration", blobs)
	}
	r.tidy()

	// Again: nothing new. Another platform: the shared layer is there.
	if res := r.mustPull(name); !res.UpToDate || res.Digest != want.Digest || res.ImageID != want.ImageID {
		t.Errorf("again: %+v", res)
	}
	rec = &recorder{}
	res, err = r.pull(images.PullOptions{Ref: name, Platform: "linux/arm64", Progress: rec})
	if err != nil || res.UpToDate || res.ImageID != arm.ID {
		t.Errorf("arm64: %+v, %v", res, err)
	}
	if got := rec.layers[arm.Layers[0].Digest[7:19]]; !slices.Equal(got, []string{"Already exists"}) {
		t.Errorf("shared layer: %q", got)
	}
	if img, err := r.store.Find(name); err != nil || img.ID != arm.ID {
		t.Errorf("the name stands for %s, %v", img.ID, err)
	}

	// By digest, without asking anybody.
	s.Stop()
	res, err = r.pull(images.PullOptions{Ref: s.Addr + "/team/app@" + rt.Digest(list), Platform: "linux/arm64"})
	if err != nil || !res.UpToDate {
		t.Errorf("by digest: %+v, %v", res, err)
	}
	_, err = r.pull(images.PullOptions{Ref: name})
	line(t, err, registry.ErrUnreachable, "cannot reach registry "+s.Addr+": connection refused")
}

func TestPullMovedTag(t *testing.T) {
	f := rt.NewFake(t)
	one := rt.Build(t, "linux/amd64", false, packed(t, "gzip", "a", "1"))
	two := rt.Build(t, "linux/amd64", false, packed(t, "gzip", "a", "2"))
	f.Add("app", "latest", one)
	r := newRoot(t)
	r.mustPull(f.Addr + "/app")
	f.Seen()
	if res := r.mustPull(f.Addr + "/app"); !res.UpToDate {
		t.Error("not up to date")
	}
	if seen := f.Seen(); !slices.Equal(seen, []string{"HEAD /v2/app/manifests/latest"}) {
		t.Errorf("an image that is up to date took %q", seen)
	}
	f.Add("app", "latest", two)
	if res := r.mustPull(f.Addr + "/app"); res.UpToDate || res.ImageID != two.ID {
		t.Errorf("moved tag: %+v", res)
	}
	// The same image in another manifest is nothing new, but the digest is.
	same := *two
	same.SetManifest(append([]byte(" "), two.Manifest...))
	f.Add("app", "latest", &same)
	if res := r.mustPull(f.Addr + "/app"); !res.UpToDate || res.Digest != same.Digest {
		t.Errorf("repacked: %+v", res)
	}
	// A lost layer comes back.
	if err := os.RemoveAll(store.LayerPath(r.dir, store.Plain, two.DiffIDs[0])); err != nil {
		t.Fatal(err)
	}
	if r.mustPull(f.Addr + "/app"); r.read(two.DiffIDs[0], "a") != "2" {
		t.Error("the lost layer did not come back")
	}
	r.tidy()
}

func TestPullAllTags(t *testing.T) {
	s := rt.Start(t, rt.Options{})
	var built []*rt.Image
	for i := range 3 {
		built = append(built, rt.Build(t, "linux/amd64", false, packed(t, "gzip", "base", "base"), packed(t, "gzip", "n", fmt.Sprint(i))))
		s.Push(t, "app", fmt.Sprintf("t%d", i), built[i])
	}
	r := newRoot(t)
	rec := &recorder{}
	res, err := r.pull(images.PullOptions{Ref: s.Addr + "/app", AllTags: true, Progress: rec})
	if err != nil || res.UpToDate || res.Digest != built[2].Digest || res.Ref != s.Addr+"/app" {
		t.Errorf("got %+v, %v", res, err)
	}
	want := []string{"t0: Pulling from app", "Digest: " + built[0].Digest, "t1: Pulling from app", "Digest: " + built[1].Digest, "t2: Pulling from app"}
	if !slices.Equal(rec.messages, want) {
		t.Errorf("messages: %q", rec.messages)
	}
	for i, img := range built {
		if got, err := r.store.Find(fmt.Sprintf("%s/app:t%d", s.Addr, i)); err != nil || got.ID != img.ID {
			t.Errorf("t%d: %s, %v", i, got.ID, err)
		}
	}
	if res, err := r.pull(images.PullOptions{Ref: s.Addr + "/app", AllTags: true}); err != nil || !res.UpToDate {
		t.Errorf("again: %+v, %v", res, err)
	}
	_, err = r.pull(images.PullOptions{Ref: s.Addr + "/app:t1", AllTags: true})
	line(t, err, errdef.ErrInvalid, "tag can't be used with --all-tags/-a")
	_, err = r.pull(images.PullOptions{Ref: s.Addr + "/none", AllTags: true})
	line(t, err, errdef.ErrNotFound, "repository "+s.Addr+"/none not found")
}

func TestPullRefuses(t *testing.T) {
	f := rt.NewFake(t)
	f.Add("app", "latest", rt.Build(t, "linux/amd64", false, packed(t, "gzip", "a", "1")))
	r := newRoot(t)
	for _, tc := range []struct {
		ref, platform string
		kind          error
		want          string
	}{
		{"BusyBox", "", errdef.ErrInvalid, "must be lowercase"},
		{"", "", errdef.ErrInvalid, "invalid reference format"},
		{f.Addr + "/app", "a/b/c/d", errdef.ErrInvalid, "invalid platform"},
		{f.Addr + "/app", "linux/arm64", errdef.ErrNotFound, "does not match the platform"},
		{f.Addr + "/app:x", "", errdef.ErrNotFound, "manifest for " + f.Addr + "/app:x not found: manifest unknown"},
	} {
		_, err := r.pull(images.PullOptions{Ref: tc.ref, Platform: tc.platform})
		line(t, err, tc.kind, tc.want)
	}
	r.empty()
}

// Images that are not what they say leave one line and nothing else.
func TestPullBadLayers(t *testing.T) {
	good := packed(t, "gzip", "good", noise(100<<10, 3))
	next := packed(t, "gzip", "next", noise(3<<20, 4))
	gz := func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		w.Write(b)
		w.Close()
		return out.Bytes()
	}
	for _, tc := range []struct {
		what string
		bad  func(f *rt.Fake, img *rt.Image) // spoils the second layer of img
		kind error
		want string
	}{
		{"flipped byte", func(f *rt.Fake, img *rt.Image) {
			b := bytes.Clone(img.Blobs[img.Layers[1].Digest])
			b[len(b)/2] ^= 1
			f.SetBlob(img.Layers[1].Digest, b)
		}, download.ErrDigest, "is damaged"},
		{"truncated", func(f *rt.Fake, img *rt.Image) {
			f.SetBlob(img.Layers[1].Digest, img.Blobs[img.Layers[1].Digest][:5000])
		}, registry.ErrDigest, "has 5000 bytes, its manifest says"},
		{"missing", func(f *rt.Fake, img *rt.Image) {
			f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, img.Layers[1].Digest) {
					rt.Refuse(w, 404, "BLOB_UNKNOWN", "gone")
					return true
				}
				return false
			})
		}, errdef.ErrNotFound, "has lost it"},
		{"other diff ID", func(f *rt.Fake, img *rt.Image) { respoil(f, img, img.Blobs[img.Layers[0].Digest]) }, nil, "but the image says"},
		{"no tar", func(f *rt.Fake, img *rt.Image) { respoil(f, img, gz(bytes.Repeat([]byte("junk"), 1000))) }, nil, "cannot unpack layer"},
		{"no gzip", func(f *rt.Fake, img *rt.Image) { respoil(f, img, []byte("this is not gzip")) }, nil, "cannot unpack layer"},
		{"broken gzip", func(f *rt.Fake, img *rt.Image) {
			respoil(f, img, append([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00"), "\xff\xff\xff\xff"...))
		}, nil, "cannot unpack layer"},
		{"gzip with an appendix", func(f *rt.Fake, img *rt.Image) {
			respoil(f, img, append(bytes.Clone(img.Blobs[img.Layers[1].Digest]), "an appendix that is long"...))
		}, nil, "its gzip is damaged"},
		{"cut gzip", func(f *rt.Fake, img *rt.Image) {
			b := img.Blobs[img.Layers[1].Digest]
			respoil(f, img, b[:len(b)-4])
		}, nil, "the stream ends too early"},
		{"xz", func(f *rt.Fake, img *rt.Image) { respoil(f, img, []byte("\xfd7zXZ\x00....")) }, nil, "packed with bzip2 or xz"},
		{"broken zstd", func(f *rt.Fake, img *rt.Image) { respoil(f, img, []byte("\x28\xb5\x2f\xfd....")) }, nil, "its zstd is damaged"},
		{"zstd with a huge window", func(f *rt.Fake, img *rt.Image) {
			respoil(f, img, []byte("\x28\xb5\x2f\xfd\x00\xf0\x01\x00\x00"))
		}, nil, "its zstd is damaged"},
		{"climbs out", func(f *rt.Fake, img *rt.Image) {
			respoil(f, img, gz(rt.Tar(t, rt.File{Name: "../../../etc/passwd", Body: "x"})))
		}, nil, "cannot be unpacked"},
	} {
		f := rt.NewFake(t)
		img := rt.Build(t, "linux/amd64", false, good, next)
		f.Add("app", "latest", img)
		tc.bad(f, img)
		r := newRoot(t)
		_, err := r.pull(images.PullOptions{Ref: f.Addr + "/app"})
		if err == nil {
			t.Errorf("%s: no error", tc.what)
		}
		line(t, err, tc.kind, tc.want)
		r.empty()
	}
}

// respoil replaces the second layer's blob in blob store and manifest, so that
// its digest is right and its content wrong.
func respoil(f *rt.Fake, img *rt.Image, blob []byte) {
	old := img.Layers[1]
	from := string(rt.Must(json.Marshal(old)))
	old.Digest, old.Size = rt.Digest(blob), int64(len(blob))
	img.SetManifest([]byte(strings.Replace(string(img.Manifest), from, string(rt.Must(json.Marshal(old))), 1)))
	img.Blobs[old.Digest] = blob
	f.Add("app", "latest", img)
}

// An image that shares a layer with a bad one keeps it.
func TestUndoSparesOthers(t *testing.T) {
	f := rt.NewFake(t)
	shared, own := packed(t, "gzip", "shared", "s"), packed(t, "gzip", "own", "o")
	good := rt.Build(t, "linux/amd64", false, shared)
	bad := rt.Build(t, "linux/amd64", false, shared, packed(t, "gzip", "bad", "b"), own)
	f.Add("good", "latest", good)
	f.Add("bad", "latest", bad)
	f.SetBlob(bad.Layers[1].Digest, make([]byte, bad.Layers[1].Size))
	r := newRoot(t)
	r.mustPull(f.Addr + "/good")
	_, err := r.pull(images.PullOptions{Ref: f.Addr + "/bad"})
	line(t, err, download.ErrDigest, "is damaged")
	if l := r.layers(); !slices.Equal(l, []string{good.DiffIDs[0][7:]}) {
		t.Errorf("layers: %v", l)
	}
	// With a new container about, layers are left to the collector, which
	// knows what containers use.
	if err := os.Mkdir(r.dir.Path("containers", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err = r.pull(images.PullOptions{Ref: f.Addr + "/bad"}); err == nil {
		t.Fatal("no error")
	}
	if l := r.layers(); !slices.Contains(l, good.DiffIDs[0][7:]) {
		t.Errorf("layers: %v", l)
	}
	r.tidy()
}

// Several pulls of one image at once share the work and all end well.
func TestPullTogether(t *testing.T) {
	f := rt.NewFake(t)
	var layers []rt.Layer
	for i := range 8 {
		layers = append(layers, packed(t, "gzip", fmt.Sprint("f", i), noise(200<<10, uint32(i+1))))
	}
	img := rt.Build(t, "linux/amd64", false, layers...)
	f.Add("app", "latest", img)
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		time.Sleep(10 * time.Millisecond)
		return false
	})
	r := newRoot(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := r.pull(images.PullOptions{Ref: f.Addr + "/app"}); err != nil {
				t.Error(err)
			}
		})
	}
	cmd := runHelper(t, false, r.dir.Root(), f.Addr+"/app")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("other process: %v: %s", err, out)
	}
	wg.Wait()
	blobs := map[string]int{}
	for _, s := range f.Seen() {
		if _, d, ok := strings.Cut(s, "/blobs/"); ok && d != img.ID {
			blobs[d]++
		}
	}
	for d, n := range blobs {
		if n != 1 {
			t.Errorf("layer %s was fetched %d times", d, n)
		}
	}
	r.tidy()
	if len(r.layers()) != 8 {
		t.Errorf("%d layers", len(r.layers()))
	}
}

// slow sends half of each layer and then nothing, until it is told to go on.
func slow(f *rt.Fake, half chan<- struct{}, goOn <-chan struct{}) {
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		rec := &halfWriter{ResponseWriter: w, half: half, wait: func() {
			select {
			case <-goOn:
			case <-r.Context().Done():
			}
		}}
		f.Serve(rec, r)
		return true
	})
}

type halfWriter struct {
	http.ResponseWriter
	half chan<- struct{}
	wait func()
}

func (h *halfWriter) Write(p []byte) (int, error) {
	if len(p) < 10000 { // the configuration
		return h.ResponseWriter.Write(p)
	}
	n, err := h.ResponseWriter.Write(p[:len(p)/2])
	if err != nil {
		return n, err
	}
	h.ResponseWriter.(http.Flusher).Flush()
	h.half <- struct{}{}
	h.wait()
	m, err := h.ResponseWriter.Write(p[len(p)/2:])
	return n + m, err
}

func TestPullCancelled(t *testing.T) {
	f := rt.NewFake(t)
	f.Add("app", "latest", rt.Build(t, "linux/amd64", false, packed(t, "gzip", "a", noise(1<<20, 1)), packed(t, "zstd", "b", noise(1<<20, 2))))
	half := make(chan struct{}, 100)
	slow(f, half, nil)
	r := newRoot(t)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-half
		<-half
		cancel()
	}()
	start := time.Now()
	_, err := New(registry.Options{}).Pull(ctx, r.store, images.PullOptions{Ref: f.Addr + "/app"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	r.empty()
}

func TestPullKilled(t *testing.T) {
	f := rt.NewFake(t)
	img := rt.Build(t, "linux/amd64", false, packed(t, "gzip", "a", noise(1<<20, 1)), packed(t, "gzip", "b", noise(1<<20, 2)))
	f.Add("app", "latest", img)
	half := make(chan struct{}, 100)
	slow(f, half, nil)
	r := newRoot(t)
	cmd := runHelper(t, false, r.dir.Root(), f.Addr+"/app")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-half
	<-half
	cmd.Process.Kill()
	cmd.Wait()
	if images, err := r.store.Images(); err != nil || len(images) > 0 {
		t.Errorf("images: %v, %v", images, err)
	}
	if n, err := r.dir.Sweep(); err != nil || n == 0 {
		t.Errorf("swept %d, %v", n, err)
	}
	if left := r.names("tmp", ""); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
	f.SetHook(nil)
	r.mustPull(f.Addr + "/app")
	if r.read(img.DiffIDs[1], "b") != noise(1<<20, 2) {
		t.Error("other content")
	}
	r.tidy()
}

// A network that breaks for good keeps the layers that came, so that the next
// pull goes on from there.
func TestPullGoesOn(t *testing.T) {
	f := rt.NewFake(t)
	img := rt.Build(t, "linux/amd64", false, packed(t, "gzip", "a", noise(2<<20, 1)), packed(t, "gzip", "b", "small"))
	f.Add("app", "latest", img)
	small := img.Layers[1].Digest
	done := make(chan struct{})
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, img.Layers[0].Digest) {
			<-done
			panic(http.ErrAbortHandler)
		}
		return false
	})
	r := newRoot(t)
	rec := &recorder{hear: func(id, status string, _, _ int64) {
		if id == small[7:19] && status == "Pull complete" {
			close(done)
		}
	}}
	_, err := r.pull(images.PullOptions{Ref: f.Addr + "/app", Progress: rec})
	line(t, err, registry.ErrUnreachable, "closed without an answer")
	r.tidy()
	f.SetHook(nil)
	rec = &recorder{}
	if _, err := r.pull(images.PullOptions{Ref: f.Addr + "/app", Progress: rec}); err != nil {
		t.Fatal(err)
	}
	if got := rec.layers[small[7:19]]; !slices.Equal(got, []string{"Already exists"}) {
		t.Errorf("finished layer: %q", got)
	}
}

func TestPullDiskFull(t *testing.T) {
	f := rt.NewFake(t)
	little := packed(t, "gzip", "little", "little")
	f.Add("noise", "latest", rt.Build(t, "linux/amd64", false, little, packed(t, "gzip", "a", noise(12<<20, 1))))
	// A tar whose content is made while it is sent would be endless.
	// What a bomb holds, its last bytes need not say.
	f.Add("bomb", "latest", rt.Build(t, "linux/amd64", false, little, packed(t, "gzip", "zeros", string(make([]byte, 60<<20)))))
	f.Add("small", "latest", rt.Build(t, "linux/amd64", false, little))
	for name, size := range map[string]string{"noise": "6m", "bomb": "20m", "small": "4m"} {
		dir := t.TempDir()
		out, err := runHelper(t, true, dir, f.Addr+"/"+name, size).CombinedOutput()
		text := string(out)
		if name == "small" {
			if err != nil {
				t.Errorf("%s: %v: %s", name, err, text)
			}
			continue
		}
		// What is sure to be too much is refused before anything comes.
		// Else what has come stays for the next try.
		want, layers := "noise:latest: it needs at least 12.59MB in "+filepath.Join(dir, "layers"), "tmp 0\nlayers 0\n"
		if name == "bomb" {
			want, layers = fmt.Sprintf("no space left in %s: free some", filepath.Join(dir, "layers")), "tmp 0\nlayers 1\n"
		}
		if err == nil || !strings.Contains(text, want) || !strings.Contains(text, layers+"oci/blobs/sha256 0\n") || strings.Count(text, "\n") != 4 {
			t.Errorf("%s: %v: %s", name, err, text)
		}
	}
}

func FuzzUnpacked(f *testing.F) {
	f.Add([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	f.Add([]byte("plain"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := unpacked(&replay{cur: b, release: func() {}, src: atEnd{}}, sys.Space{Dir: "/"}, nil)
		if err != nil {
			return
		}
		defer in.Close()
		io.Copy(io.Discard, io.LimitReader(in, 16<<20))
	})
}

// atEnd is a stream of which nothing is left.
type atEnd struct{}

func (atEnd) NextOwned() ([]byte, func(), error) { return nil, nil, io.EOF }
