package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/state"
)

func testStore(t testing.TB) (*Store, *state.Dir) {
	t.Helper()
	dir, err := state.Open(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return Open(dir), dir
}

// addLayer pretends that a layer has been unpacked.
func addLayer(t testing.TB, dir *state.Dir, seed string, size int64) string {
	t.Helper()
	id := Digest([]byte(seed))
	if err := os.MkdirAll(LayerPath(dir, Plain, id)+"/tree", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := state.WriteJSON(LayerPath(dir, Plain, id)+"/meta.json", LayerMeta{V: 1, DiffID: id, Size: size}); err != nil {
		t.Fatal(err)
	}
	return id
}

// image makes the documents of an image.
func image(t testing.TB, label string, layers ...string) Addition {
	t.Helper()
	config, err := json.Marshal(map[string]any{
		"os": "linux", "architecture": "amd64", "created": "2024-05-06T07:08:09Z",
		"config": map[string]any{"Cmd": []string{"sh"}, "Labels": map[string]string{"l": label}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": layers},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := Manifest{SchemaVersion: 2, MediaType: MediaTypeManifest, Layers: []Descriptor{},
		Config: Descriptor{MediaType: MediaTypeConfig, Digest: Digest(config), Size: int64(len(config))}}
	manifest, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return Addition{Manifest: manifest, Config: config}
}

func mustAdd(t testing.TB, s *Store, a Addition, names ...string) Image {
	t.Helper()
	a.Names = names
	img, err := s.Add(a)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestPutGet(t *testing.T) {
	s, dir := testStore(t)
	d, err := s.Put(MediaTypeConfig, []byte("{}"))
	if err != nil || d.Digest != Digest([]byte("{}")) || d.Size != 2 || d.MediaType != MediaTypeConfig {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := s.Put(MediaTypeConfig, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if b, err := s.Get(d.Digest); string(b) != "{}" {
		t.Fatalf("%q, %v", b, err)
	}
	if _, err := s.Get(Digest([]byte("other"))); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	for _, bad := range []string{"", "sha256:", "sha256:../../../version", "md5:00", strings.Repeat("a", 64)} {
		if _, err := s.Get(bad); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("digest %q: %v", bad, err)
		}
	}
	hex, _ := Hex(d.Digest)
	path := dir.Path("oci", "blobs", "sha256", hex)
	if err := os.WriteFile(path, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := s.Get(d.Digest); !errors.As(err, &damaged) {
		t.Errorf("damaged: %v", err)
	}
	if _, err := s.Put(MediaTypeConfig, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(d.Digest); err != nil {
		t.Errorf("a damaged blob is not replaced: %v", err)
	}
	if _, err := s.Put(MediaTypeConfig, make([]byte, maxBlob+1)); err == nil {
		t.Error("no limit")
	}
}

func TestAddAndFind(t *testing.T) {
	s, dir := testStore(t)
	l1, l2 := addLayer(t, dir, "1", 100), addLayer(t, dir, "2", 20)
	a := image(t, "a", l1, l2)
	a.Annotations = map[string]string{"berth.test": "yes"}
	listDigest := Digest([]byte("list"))
	img := mustAdd(t, s, a, "busybox", "docker.io/library/busybox@"+listDigest)
	other := mustAdd(t, s, image(t, "b", l1), "ghcr.io/x/y:v1", "busybox:other")

	if img.ID != Digest(a.Config) || img.ManifestDigest != Digest(a.Manifest) {
		t.Errorf("%+v", img)
	}
	if !slices.Equal(img.Names, []string{"docker.io/library/busybox:latest"}) ||
		!slices.Equal(img.RepoDigests, []string{"docker.io/library/busybox@" + listDigest}) {
		t.Errorf("names %q, digests %q", img.Names, img.RepoDigests)
	}
	if !slices.Equal(img.Layers, []string{l1, l2}) || s.LayerSize(img) != 120 {
		t.Errorf("layers %q, size %d", img.Layers, s.LayerSize(img))
	}
	if img.Config.Config.Cmd[0] != "sh" || img.Platform().String() != "linux/amd64" || img.Created.Year() != 2024 || img.Annotations["berth.test"] != "yes" || time.Since(img.Tagged) > time.Minute {
		t.Errorf("%+v", img)
	}
	hex, _ := Hex(img.ID)
	for _, c := range []struct {
		ref  string
		want string
		err  error
	}{
		{"busybox", img.ID, nil},
		{"busybox:latest", img.ID, nil},
		{"library/busybox", img.ID, nil},
		{"docker.io/busybox", img.ID, nil},
		{"busybox@" + listDigest, img.ID, nil},
		{"busybox:anything@" + listDigest, img.ID, nil},
		{"busybox@" + img.ManifestDigest, img.ID, nil},
		{"ghcr.io/x/y@" + img.ManifestDigest, "", ErrNotFound},
		{"ghcr.io/x/y:v1", other.ID, nil},
		{"ghcr.io/x/y", "", ErrNotFound},
		{"busybox:other", other.ID, nil},
		{img.ID, img.ID, nil},
		{hex, img.ID, nil},
		{hex[:12], img.ID, nil},
		{"sha256:" + hex[:7], img.ID, nil},
		{"", "", ErrNotFound},
		{"sha256:", "", ErrNotFound},
		{"no/such:thing", "", ErrNotFound},
		{"UPPER", "", ErrNotFound},
		{hex + "0", "", ErrNotFound},
		{strings.Repeat("0", 64), "", ErrNotFound},
	} {
		got, err := s.Find(c.ref)
		if got.ID != c.want || !errors.Is(err, c.err) {
			t.Errorf("Find(%q): %q, %v", c.ref, got.ID, err)
		}
	}
	if images, err := s.Images(); err != nil || len(images) != 2 {
		t.Errorf("%d images, %v", len(images), err)
	}
	checkLayout(t, dir)
}

// checkLayout looks at the files as another program would.
func checkLayout(t *testing.T, dir *state.Dir) {
	t.Helper()
	b, err := os.ReadFile(dir.Path("oci", "oci-layout"))
	if err != nil || string(b) != layoutFile {
		t.Errorf("oci-layout: %q, %v", b, err)
	}
	var ix index
	if err := state.ReadJSON(dir.Path("oci", "index.json"), &ix); err != nil {
		t.Fatal(err)
	}
	if ix.SchemaVersion != 2 || ix.MediaType != MediaTypeIndex {
		t.Errorf("%+v", ix)
	}
	for _, d := range ix.Manifests {
		hex, _ := Hex(d.Digest)
		info, err := os.Stat(dir.Path("oci", "blobs", "sha256", hex))
		if err != nil || info.Size() != d.Size || d.MediaType != MediaTypeManifest {
			t.Errorf("%+v: %v", d, err)
		}
	}
}

func TestNameBeatsPrefix(t *testing.T) {
	s, dir := testStore(t)
	l := addLayer(t, dir, "1", 1)
	a := mustAdd(t, s, image(t, "a", l))
	hex, _ := Hex(a.ID)
	b := mustAdd(t, s, image(t, "b", l), hex[:8])
	if got, err := s.Find(hex[:8]); err != nil || got.ID != b.ID {
		t.Errorf("%v, %v", got.ID, err)
	}
	if got, err := s.Find(hex[:9]); err != nil || got.ID != a.ID {
		t.Errorf("%v, %v", got.ID, err)
	}
}

func TestAmbiguousPrefix(t *testing.T) {
	s, dir := testStore(t)
	l := addLayer(t, dir, "1", 1)
	first := map[byte]bool{}
	for i := 0; ; i++ {
		hex, _ := Hex(mustAdd(t, s, image(t, fmt.Sprint(i), l)).ID)
		if first[hex[0]] {
			if _, err := s.Find(hex[:1]); !errors.Is(err, ErrAmbiguous) {
				t.Errorf("%v", err)
			}
			return
		}
		first[hex[0]] = true
	}
}

func TestTagMoves(t *testing.T) {
	s, dir := testStore(t)
	l := addLayer(t, dir, "1", 1)
	old := mustAdd(t, s, image(t, "old", l), "app:v1")
	mustAdd(t, s, image(t, "new", l), "app:v1")
	got, err := s.Find(old.ID)
	if err != nil || len(got.Names) != 0 {
		t.Errorf("%+v, %v", got.Names, err)
	}
	// A name brings an image without names back among the named, once.
	if err := s.Tag("back", Descriptor{MediaType: MediaTypeManifest, Digest: old.ManifestDigest}); err != nil {
		t.Fatal(err)
	}
	ix, _ := s.readIndex()
	if len(ix.Manifests) != 2 {
		t.Errorf("%+v", ix.Manifests)
	}
	if existed, err := s.Untag("docker.io/library/back:latest"); !existed || err != nil {
		t.Errorf("%v, %v", existed, err)
	}
	if existed, err := s.Untag("docker.io/library/back:latest"); existed || err != nil {
		t.Errorf("%v, %v", existed, err)
	}
	if got, err = s.Find(old.ID); err != nil || len(got.Names) != 0 {
		t.Errorf("%+v, %v", got.Names, err)
	}
	for _, bad := range []string{"", "A", "a:b:c", "a@sha256:12"} {
		if err := s.Tag(bad, Descriptor{Digest: old.ManifestDigest}); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
	if err := s.Tag("x", Descriptor{Digest: Digest([]byte("nothing"))}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a tag for nothing: %v", err)
	}
}

// One digest of a registry can mean an image for each platform.
func TestDigestNamesTwoPlatforms(t *testing.T) {
	s, dir := testStore(t)
	l := addLayer(t, dir, "1", 1)
	list := "busybox@" + Digest([]byte("list"))
	a := mustAdd(t, s, image(t, "amd64", l), "busybox", list)
	b := mustAdd(t, s, image(t, "arm64", l), "busybox", list)
	for _, id := range []string{a.ID, b.ID} {
		if got, err := s.Find(id); err != nil || len(got.RepoDigests) != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if got, err := s.Find(list); err != nil || got.ID != b.ID {
		t.Errorf("%v, %v: the newest should win", got.ID, err)
	}
}

func TestAddRefuses(t *testing.T) {
	s, dir := testStore(t)
	l := addLayer(t, dir, "1", 1)
	gone := Digest([]byte("gone"))
	var missing *MissingLayersError
	if _, err := s.Add(image(t, "a", l, gone)); !errors.As(err, &missing) || !slices.Equal(missing.DiffIDs, []string{gone}) {
		t.Errorf("a missing layer: %v", err)
	}
	a := image(t, "a", l)
	a.Config = append(a.Config, ' ')
	if _, err := s.Add(a); err == nil {
		t.Error("a configuration that the manifest does not name")
	}
	if _, err := s.Add(image(t, "a", "sha256:../../x")); err == nil {
		t.Error("a layer that is no digest")
	}
	if _, err := s.Add(Addition{Manifest: []byte("{"), Config: []byte("{}")}); err == nil {
		t.Error("a manifest that is no JSON")
	}
	a = image(t, "a", l)
	a.Names = []string{"ok", "Not OK"}
	if _, err := s.Add(a); err == nil {
		t.Error("a name that is none")
	}
	if images, _ := s.Images(); len(images) != 0 {
		t.Errorf("%d images", len(images))
	}
}

func TestDamagedImage(t *testing.T) {
	s, dir := testStore(t)
	l := addLayer(t, dir, "1", 1)
	img := mustAdd(t, s, image(t, "a", l), "a")
	hex, _ := Hex(img.ID)
	if err := os.WriteFile(dir.Path("oci", "blobs", "sha256", hex), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := s.Find("a"); !errors.As(err, &damaged) {
		t.Errorf("%v", err)
	}
	if images, err := s.Images(); err != nil || len(images) != 1 || images[0].Damage == nil || images[0].Names[0] != "docker.io/library/a:latest" {
		t.Errorf("%+v, %v", images, err)
	}
	c, err := s.Collector()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Collect(nil); err == nil {
		t.Error("collected without knowing what is needed")
	}
	if got, err := c.Find("a"); err != nil || got.ID != img.ID {
		t.Errorf("%+v, %v", got, err)
	}
	if err := c.Delete(img.ID); err != nil {
		t.Error(err)
	}
	if out, err := c.Collect(nil); err != nil || len(out.Layers) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
}

// Many processes tag at once. A lock belongs to an open file, so goroutines
// with stores of their own compete as processes do.
func TestManyTaggers(t *testing.T) {
	s, dir := testStore(t)
	l := addLayer(t, dir, "1", 1)
	img := mustAdd(t, s, image(t, "a", l))
	d := Descriptor{MediaType: MediaTypeManifest, Digest: img.ManifestDigest}
	const taggers, each = 20, 10
	var wg sync.WaitGroup
	for i := range taggers {
		wg.Go(func() {
			s := Open(dir)
			for j := range each {
				if err := s.Tag(fmt.Sprintf("app%d:v%d", i, j), d); err != nil {
					t.Error(err)
				}
				if j%3 == 0 {
					if _, err := s.Untag(fmt.Sprintf("docker.io/library/app%d:v%d", i, j)); err != nil {
						t.Error(err)
					}
				}
				if got, err := s.Find(img.ID); err != nil || got.ID != img.ID {
					t.Errorf("a reader saw %v, %v", got.ID, err)
				}
			}
		})
	}
	wg.Wait()
	got, err := s.Find(img.ID)
	if err != nil || len(got.Names) != taggers*(each-4) {
		t.Errorf("%d names, %v", len(got.Names), err)
	}
}
