package push

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

	"berth/internal/errdef"
	"berth/internal/images"
	"berth/internal/pull"
	"berth/internal/registry"
	"berth/internal/registry/ref"
	rt "berth/internal/registry/registrytest"
	"berth/internal/state"
	"berth/internal/store"
)

func TestMain(m *testing.M) {
	os.Setenv("DOCKER_CONFIG", "/nonexistent")
	os.Exit(m.Run())
}

// root is a data root to push from.
type root struct {
	t     *testing.T
	dir   *state.Dir
	store *store.Store
}

func newRoot(t *testing.T) *root {
	t.Helper()
	dir, err := state.Open(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return &root{t: t, dir: dir, store: store.Open(dir)}
}

func (r *root) pull(name string) string {
	r.t.Helper()
	res, err := pull.New(registry.Options{}).Pull(context.Background(), r.store, images.PullOptions{Ref: name})
	if err != nil {
		r.t.Fatal(err)
	}
	return res.Digest
}

func (r *root) tag(old, name string) {
	r.t.Helper()
	img, err := r.store.Find(old)
	if err == nil {
		err = r.store.Tag(name, store.Descriptor{Digest: img.ManifestDigest})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *root) push(opt images.PushOptions) (images.PushResult, *recorder, error) {
	rec := &recorder{layers: map[string][]string{}}
	opt.Progress = rec
	res, err := New(registry.Options{}).Push(context.Background(), r.store, opt)
	if left, _ := os.ReadDir(r.dir.Path("tmp")); len(left) > 0 {
		r.t.Errorf("left in tmp: %v", left)
	}
	return res, rec, err
}

func (r *root) mustPush(name string) (images.PushResult, *recorder) {
	r.t.Helper()
	res, rec, err := r.push(images.PushOptions{Ref: name})
	if err != nil {
		r.t.Fatal(err)
	}
	return res, rec
}

// recorder keeps what a push says.
type recorder struct {
	mu       sync.Mutex
	messages []string
	layers   map[string][]string
}

func (r *recorder) Message(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, text)
}

func (r *recorder) Layer(id, status string, _, _ int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.layers[id]; len(s) == 0 || s[len(s)-1] != status {
		r.layers[id] = append(s, status)
	}
}

// last returns how it ended with the layer of an image.
func (r *recorder) last(diffID string) string {
	s := r.layers[ref.ShortDigest(diffID)]
	return strings.Join(s[len(s)-1:], "")
}

func image(t *testing.T, docker bool, bodies ...string) *rt.Image {
	t.Helper()
	var layers []rt.Layer
	for i, b := range bodies {
		packing := []string{"gzip", "zstd", ""}[i%3]
		layers = append(layers, rt.Layer{Tar: rt.Tar(t, rt.File{Name: fmt.Sprint("f", i), Body: b}), Packing: packing})
	}
	return rt.Build(t, "linux/amd64", docker, layers...)
}

// whole checks that a registry has an image, and can serve it.
func whole(t *testing.T, f *rt.Fake, repo, name string) (raw []byte, layers []rt.Descriptor) {
	t.Helper()
	kind, raw := f.Manifest(repo, name)
	var doc struct {
		MediaType string
		Config    rt.Descriptor
		Layers    []rt.Descriptor
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatalf("%s:%s: %v", repo, name, err)
	}
	if kind != doc.MediaType {
		t.Errorf("%s:%s: sent as %s, is %s", repo, name, kind, doc.MediaType)
	}
	for _, d := range append(doc.Layers, doc.Config) {
		if b, ok := f.Blob(repo, d.Digest); !ok || int64(len(b)) != d.Size || rt.Digest(b) != d.Digest {
			t.Errorf("%s:%s: blob %+v is not there", repo, name, d)
		}
	}
	return raw, doc.Layers
}

// What is pulled from one registry and pushed to another keeps its digests:
// layers are mounted, taken from the other registry or from kept blobs.
func TestPushKeepsDigests(t *testing.T) {
	for _, docker := range []bool{false, true} {
		src, dst := rt.NewFake(t), rt.NewFake(t)
		img := image(t, docker, "a", "b", "c")
		src.Add("team/app", "v1", img)
		r := newRoot(t)
		digest := r.pull(src.Addr + "/team/app:v1")
		r.tag(src.Addr+"/team/app:v1", dst.Addr+"/mine:v2")

		res, rec := r.mustPush(dst.Addr + "/mine:v2")
		if raw, _ := whole(t, dst, "mine", "v2"); res.Digest != digest || !bytes.Equal(raw, img.Manifest) {
			t.Errorf("pulled %s, pushed %s", digest, res.Digest)
		}
		want := []string{
			"The push refers to repository [" + dst.Addr + "/mine]",
			fmt.Sprintf("v2: digest: %s size: %d", img.Digest, len(img.Manifest)),
		}
		if !slices.Equal(rec.messages, want) {
			t.Errorf("said %q, want %q", rec.messages, want)
		}
		for _, id := range img.DiffIDs {
			if got := rec.layers[ref.ShortDigest(id)]; !slices.Equal(got, []string{"Preparing", "Pushing", "Pushed"}) {
				t.Errorf("layer: %q", got)
			}
		}
		if got, err := r.store.Find(dst.Addr + "/mine@" + digest); err != nil || !slices.Contains(got.RepoDigests, dst.Addr+"/mine@"+digest) {
			t.Errorf("%v, %v", got.RepoDigests, err)
		}

		// Again: nothing is sent.
		src.Seen()
		dst.Seen()
		_, rec = r.mustPush(dst.Addr + "/mine:v2")
		for _, s := range dst.Seen() {
			if strings.HasPrefix(s, "POST") || strings.HasPrefix(s, "PATCH") {
				t.Errorf("again: %s", s)
			}
		}
		if rec.last(img.DiffIDs[0]) != "Layer already exists" {
			t.Errorf("again: %q", rec.layers)
		}

		// To a third repository: mounted, and the first registry is not asked.
		r.tag(dst.Addr+"/mine:v2", dst.Addr+"/other:v3")
		_, rec = r.mustPush(dst.Addr + "/other:v3")
		if rec.last(img.DiffIDs[0]) != "Mounted from mine" {
			t.Errorf("elsewhere: %q", rec.layers)
		}
		whole(t, dst, "other", "v3")
		if s := src.Seen(); len(s) > 0 {
			t.Errorf("the first registry was asked %q", s)
		}
	}
}

func TestPushKeptBlobs(t *testing.T) {
	src, dst := rt.NewFake(t), rt.NewFake(t)
	img := image(t, false, "a", "b", "c")
	src.Add("app", "v1", img)
	r := newRoot(t)
	r.pull(src.Addr + "/app:v1")
	r.tag(src.Addr+"/app:v1", dst.Addr+"/app:v1")
	for _, l := range img.Layers {
		if err := os.WriteFile(r.store.BlobPath(l.Digest), img.Blobs[l.Digest], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// One of them is damaged: that one comes from its registry.
	damaged := bytes.Clone(img.Blobs[img.Layers[1].Digest])
	damaged[5] ^= 1
	if err := os.WriteFile(r.store.BlobPath(img.Layers[1].Digest), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	src.Seen()
	res, _ := r.mustPush(dst.Addr + "/app:v1")
	if raw, _ := whole(t, dst, "app", "v1"); res.Digest != img.Digest || !bytes.Equal(raw, img.Manifest) {
		t.Errorf("pushed %s", res.Digest)
	}
	if s := src.Seen(); !slices.Equal(s, []string{"GET /v2/app/blobs/" + img.Layers[1].Digest}) {
		t.Errorf("the first registry was asked %q", s)
	}
}

// Where nobody has the layers as they came, they are packed anew: the content
// is the same, the digest another, and the second time it is known.
func TestPushPacksAnew(t *testing.T) {
	for _, docker := range []bool{false, true} {
		src, dst := rt.NewFake(t), rt.NewFake(t)
		img := image(t, docker, strings.Repeat("a lot ", 500_000), "b", "c")
		src.Add("app", "v1", img)
		r := newRoot(t)
		r.pull(src.Addr + "/app:v1")
		r.tag(src.Addr+"/app:v1", dst.Addr+"/app:v1")
		src.SetHook(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(404); return true })
		res, rec := r.mustPush(dst.Addr + "/app:v1")
		if res.Digest == img.Digest || !strings.Contains(strings.Join(rec.messages, "\n"), "3 of 3 layers were packed anew") {
			t.Errorf("%s, said %q", res.Digest, rec.messages)
		}
		_, layers := whole(t, dst, "app", "v1")
		for i, l := range layers {
			b, _ := dst.Blob("app", l.Digest)
			z, err := gzip.NewReader(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if tar, err := io.ReadAll(z); err != nil || rt.Digest(tar) != img.DiffIDs[i] {
				t.Errorf("layer %d is another: %v", i, err)
			}
			if want := map[bool]string{true: dockerPrefix + "image.rootfs.diff.tar.gzip", false: layerGzip}[docker]; l.MediaType != want {
				t.Errorf("layer %d is of type %s", i, l.MediaType)
			}
		}
		again, rec := r.mustPush(dst.Addr + "/app:v1")
		if again.Digest != res.Digest || rec.last(img.DiffIDs[0]) != "Layer already exists" {
			t.Errorf("again: %s, %q", again.Digest, rec.layers)
		}
		// What was pushed can be pulled and is the same image.
		other := newRoot(t)
		other.pull(dst.Addr + "/app:v1")
		got, err := other.store.Find(dst.Addr + "/app:v1")
		if err != nil || got.ID != img.ID {
			t.Errorf("pulled again: %s, %v", got.ID, err)
		}
	}
}

func TestPushAllTags(t *testing.T) {
	src, dst := rt.NewFake(t), rt.NewFake(t)
	one, two := image(t, false, "shared", "one"), image(t, false, "shared", "two")
	src.Add("app", "one", one)
	src.Add("app", "two", two)
	r := newRoot(t)
	for _, tag := range []string{"two", "one"} {
		r.pull(src.Addr + "/app:" + tag)
		r.tag(src.Addr+"/app:"+tag, dst.Addr+"/app:"+tag)
	}
	res, rec, err := r.push(images.PushOptions{Ref: dst.Addr + "/app", AllTags: true})
	if err != nil {
		t.Fatal(err)
	}
	whole(t, dst, "app", "one")
	whole(t, dst, "app", "two")
	if res.Ref != dst.Addr+"/app" || len(rec.messages) != 3 || !strings.HasPrefix(rec.messages[1], "one: ") || !strings.HasPrefix(rec.messages[2], "two: ") {
		t.Errorf("%+v, said %q", res, rec.messages)
	}
}

func TestPushRefuses(t *testing.T) {
	f := rt.NewFake(t)
	img := image(t, false, "a")
	f.Add("app", "v1", img)
	r := newRoot(t)
	r.pull(f.Addr + "/app:v1")
	f.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/denied/") {
			rt.Refuse(w, 403, "DENIED", "requested access to the resource is denied")
			return true
		}
		if strings.Contains(r.URL.Path, "/picky/") && r.Method == "PUT" && strings.Contains(r.URL.Path, "/manifests/") {
			rt.Refuse(w, 400, "MANIFEST_INVALID", "no manifests of this kind")
			return true
		}
		return false
	})
	for _, name := range []string{"denied/app", "picky/app"} {
		r.tag(f.Addr+"/app:v1", f.Addr+"/"+name+":v1")
	}
	nobody := rt.FreeAddr(t)
	r.tag(f.Addr+"/app:v1", nobody+"/app:v1")
	for _, tc := range []struct {
		opt  images.PushOptions
		kind error
		want string
	}{
		{images.PushOptions{Ref: "UPPER"}, errdef.ErrInvalid, "must be lowercase"},
		{images.PushOptions{Ref: "app@" + img.Digest}, errdef.ErrInvalid, "cannot push a digest reference"},
		{images.PushOptions{Ref: "app:v1", AllTags: true}, errdef.ErrInvalid, "tag can't be used with --all-tags/-a"},
		{images.PushOptions{Ref: "app:v1", Platform: "nonsense/x/y/z"}, errdef.ErrInvalid, "platform"},
		{images.PushOptions{Ref: "nothing"}, errdef.ErrNotFound, "An image does not exist locally with the tag: nothing"},
		{images.PushOptions{Ref: f.Addr + "/app:v2"}, errdef.ErrNotFound, "tag does not exist: " + f.Addr + "/app:v2"},
		{images.PushOptions{Ref: "nothing", AllTags: true}, errdef.ErrNotFound, "An image does not exist locally with the tag: nothing"},
		{images.PushOptions{Ref: f.Addr + "/app:v1", Platform: "linux/s390x"}, errdef.ErrNotFound, "does not provide the specified platform (linux/s390x): it is for linux/amd64"},
		{images.PushOptions{Ref: f.Addr + "/denied/app:v1"}, errdef.ErrNotFound, "push access denied for " + f.Addr + "/denied/app, repository does not exist or may require 'berth login'"},
		{images.PushOptions{Ref: f.Addr + "/picky/app:v1"}, nil, "no manifests of this kind (HTTP status 400)"},
		{images.PushOptions{Ref: nobody + "/app:v1"}, nil, "connection refused: is a registry running there?"},
	} {
		_, _, err := r.push(tc.opt)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v, want %q", tc.opt, err, tc.want)
		}
		if tc.kind != nil && !errors.Is(err, tc.kind) {
			t.Errorf("%+v: %v is not %v", tc.opt, err, tc.kind)
		}
	}
}

// A push that is cancelled leaves nothing, here and in the registry. (With
// several layers the answer to the begin of an upload may be on its way.)
func TestPushCancelled(t *testing.T) {
	src, dst := rt.NewFake(t), rt.NewFake(t)
	src.Add("app", "v1", image(t, false, "a"))
	r := newRoot(t)
	r.pull(src.Addr + "/app:v1")
	r.tag(src.Addr+"/app:v1", dst.Addr+"/app:v1")
	ctx, cancel := context.WithCancel(context.Background())
	dst.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			cancel()
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}
		return false
	})
	_, err := New(registry.Options{}).Push(ctx, r.store, images.PushOptions{Ref: dst.Addr + "/app:v1"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := dst.Forget(); n > 0 {
		t.Errorf("%d uploads are left", n)
	}
	if left, _ := os.ReadDir(r.dir.Path("tmp")); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
}
