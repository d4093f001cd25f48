package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"berth/internal/layer"
	"berth/internal/store"
)

func contents(t *testing.T, b []byte) (names []string, files map[string][]byte) {
	t.Helper()
	files = map[string][]byte{}
	tr := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return names, files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: %+v", h.Name, h)
		}
		names = append(names, h.Name)
		files[h.Name], _ = io.ReadAll(tr)
	}
}

func save(t *testing.T, s *store.Store, images ...Chosen) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Save(t.Context(), s, layer.Open(s.Dir()), images, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func find(t *testing.T, s *store.Store, f fakeImage) store.Image {
	t.Helper()
	img, err := s.Find(f.id())
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestSave: what was packed differently when it came has the same image ID and
// is a whole archive of both formats.
func TestSave(t *testing.T) {
	f, g := newFake(t, "amd64", "one", "two"), newFake(t, "arm64", "one")
	s := testStore(t)
	for _, b := range [][]byte{tarOf(t, f.layout(gz, "docker.io/library/f:1")...), tarOf(t, g.oldDocker("example.org/g:2", "g:3")...)} {
		if _, err := load(t, s, b, false, LoadOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	chosen := []Chosen{{Image: find(t, s, f), Names: []string{"docker.io/library/f:1"}}, {Image: find(t, s, g), Names: []string{"example.org/g:2", "docker.io/library/g:3"}}}
	b := save(t, s, chosen...)
	if !bytes.Equal(b, save(t, s, chosen...)) {
		t.Error("the same images make other bytes")
	}
	names, files := contents(t, b)
	if !slices.Equal(names[:6], []string{"oci-layout", "index.json", "manifest.json", "repositories", "blobs/", "blobs/sha256/"}) {
		t.Errorf("%q", names)
	}
	// Two configurations, two manifests, and the layer that both have once.
	if len(names) != 6+4+2 {
		t.Errorf("%q", names)
	}
	for _, l := range f.layers {
		if !bytes.Equal(files[blobFolder+hexOf(l)], l) {
			t.Errorf("layer %s is not what it was", hexOf(l))
		}
	}
	for name, body := range files {
		if hex, ok := strings.CutPrefix(name, blobFolder); ok && hex != "" && hex != hexOf(body) {
			t.Errorf("%s has the digest %s", name, hexOf(body))
		}
	}
	if got := string(files["repositories"]); got != `{"example.org/g":{"2":"`+hexOf(g.layers[0])+`"},"f":{"1":"`+hexOf(f.layers[1])+`"},"g":{"3":"`+hexOf(g.layers[0])+`"}}` {
		t.Error(got)
	}
	var list []dockerImage
	if err := json.Unmarshal(files["manifest.json"], &list); err != nil || len(list) != 2 || !slices.Equal(list[1].RepoTags, []string{"g:3", "example.org/g:2"}) {
		t.Errorf("%+v, %v", list, err)
	}
	for _, pipe := range []bool{false, true} {
		// Each half of the archive is whole by itself.
		for _, without := range []string{"", "manifest.json", "index.json"} {
			var members []member
			for _, n := range names {
				if n != without && !strings.HasSuffix(n, "/") {
					members = append(members, member{name: n, body: string(files[n])})
				}
			}
			other := testStore(t)
			if got, err := load(t, other, tarOf(t, members...), pipe, LoadOptions{}); err != nil || len(got) != 2 {
				t.Errorf("without %q: %+v, %v", without, got, err)
			}
			checkWhole(t, other, f, "docker.io/library/f:1")
			checkWhole(t, other, g, "docker.io/library/g:3", "example.org/g:2")
		}
	}
}

// A blob that was kept is saved as it is, and so is the manifest that names it.
func TestSaveKeptBlob(t *testing.T) {
	f := newFake(t, "amd64", "one")
	s := testStore(t)
	manifest, _ := f.oci(gz)
	if _, err := load(t, s, tarOf(t, f.layout(gz, "f:1")...), true, LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	packed := gz(f.layers[0])
	path := s.BlobPath(store.Digest(packed))
	if err := os.WriteFile(path, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	_, files := contents(t, save(t, s, Chosen{Image: find(t, s, f)}))
	if !bytes.Equal(files[blobFolder+hexOf(packed)], packed) || string(files[blobFolder+hexOf([]byte(manifest))]) != manifest {
		t.Error("the kept blob was not used")
	}
	packed[len(packed)-1]++
	if err := os.WriteFile(path, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	err := Save(t.Context(), s, layer.Open(s.Dir()), []Chosen{{Image: find(t, s, f)}}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("a damaged blob: %v", err)
	}
}

func TestSaveFails(t *testing.T) {
	f := newFake(t, "amd64", "one")
	s := testStore(t)
	if _, err := load(t, s, tarOf(t, f.layout(gz, "f:1")...), true, LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	img := find(t, s, f)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Save(ctx, s, layer.Open(s.Dir()), []Chosen{{Image: img}}, io.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	lost := store.Digest(f.layers[0])
	if err := os.Remove(store.LayerPath(s.Dir(), store.Plain, lost) + "/tree/one"); err != nil {
		t.Fatal(err)
	}
	if err := Save(t.Context(), s, layer.Open(s.Dir()), []Chosen{{Image: img}}, io.Discard); err == nil || !strings.Contains(err.Error(), lost) {
		t.Errorf("a layer that lost a file: %v", err)
	}
	if err := os.Remove(store.LayerPath(s.Dir(), store.Plain, lost) + "/meta.json"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Save(t.Context(), s, layer.Open(s.Dir()), []Chosen{{Image: img}}, &b); err == nil || !strings.Contains(err.Error(), "pull the image again") || b.Len() > 0 {
		t.Errorf("a missing layer: %v, after %d bytes", err, b.Len())
	}
}
