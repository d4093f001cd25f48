package store

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"berth/internal/state"
)

// keptImage lists an image whose only layer's blob is kept.
func keptImage(t *testing.T, s *Store, dir *state.Dir, name string, blob []byte) (Image, string) {
	t.Helper()
	a := image(t, name, addLayer(t, dir, name, 1))
	var m Manifest
	if err := json.Unmarshal(a.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	digest := Digest(blob)
	m.Layers = []Descriptor{{MediaType: MediaTypeLayer + "+gzip", Digest: digest, Size: int64(len(blob))}}
	a.Manifest, _ = json.Marshal(m)
	if err := os.WriteFile(s.BlobPath(digest), blob, 0o600); err != nil {
		t.Fatal(err)
	}
	return mustAdd(t, s, a, name), digest
}

func TestKeptBlobs(t *testing.T) {
	s, dir := testStore(t)
	big := make([]byte, bigBlob+1)
	a, kept := keptImage(t, s, dir, "a", big)
	_, other := keptImage(t, s, dir, "b", []byte("other"))
	stray := Digest([]byte("stray"))
	if err := os.WriteFile(s.BlobPath(stray), []byte("stray"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := collect(t, s, nil); !slices.Equal(out.Blobs, []string{stray}) || len(out.Layers) != 0 {
		t.Errorf("%+v", out)
	}
	f, n, err := s.OpenBlob(kept)
	if err != nil || n != int64(len(big)) {
		t.Fatalf("%d, %v", n, err)
	}
	if m, err := io.Copy(io.Discard, f); m != n || err != nil {
		t.Errorf("%d, %v", m, err)
	}
	f.Close()
	blobs, err := s.Blobs(a)
	if err != nil || len(blobs) != 3 || blobs[kept] != n || blobs[other] != 0 || blobs[a.ID] == 0 || blobs[a.ManifestDigest] == 0 {
		t.Errorf("%v, %v", blobs, err)
	}
	c, err := s.Collector()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(a.ID); err != nil {
		t.Fatal(err)
	}
	out, err := c.Collect(nil)
	if err != nil || len(out.Blobs) != 3 || out.Bytes < n {
		t.Errorf("%+v, %v", out, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, ok := s.HasBlob(kept); ok {
		t.Error("the blob of an image that is gone is still there")
	}
	if n, ok := s.HasBlob(other); !ok || n != 5 {
		t.Errorf("%d, %v", n, ok)
	}
	if _, _, err := s.OpenBlob(kept); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, ok := s.HasBlob("sha256:../../../version"); ok {
		t.Error("that is no digest")
	}
	if left, _ := filepath.Glob(dir.Path("tmp", "*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// A lease keeps a blob that no manifest names yet, and one on everything keeps
// what it cannot name.
// A small blob is kept by a process that does not hold the store: a collector
// in the middle of that leaves what is being written alone.
func TestCollectWhileABlobIsKept(t *testing.T) {
	s, _ := testStore(t)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			c, err := s.Collector()
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := c.Collect(nil); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	for i := range 200 {
		blob := []byte{byte(i)}
		lease, err := s.Lease([]string{Digest(blob)})
		if err != nil {
			t.Fatal(err)
		}
		if err := state.WriteFile(s.BlobPath(Digest(blob)), blob, 0o600); err != nil {
			t.Error(err)
			break
		}
		if _, ok := s.HasBlob(Digest(blob)); !ok {
			t.Error("a leased blob was collected")
		}
		lease.Close()
	}
	close(stop)
	<-done
	// What a dead process has left goes.
	left := filepath.Join(filepath.Dir(s.BlobPath(Digest(nil))), ".x.tmp-999999999.1")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	collect(t, s, nil)
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left over: %v", err)
	}
}

func TestLeasedBlobs(t *testing.T) {
	s, dir := testStore(t)
	digest := Digest([]byte("x"))
	put := func() {
		if err := os.WriteFile(s.BlobPath(digest), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	layer := addLayer(t, dir, "l", 1)
	for _, lease := range []func() (*Lease, error){
		func() (*Lease, error) { return s.Lease([]string{digest, layer}) },
		s.LeaseAll,
	} {
		put()
		l, err := lease()
		if err != nil {
			t.Fatal(err)
		}
		if out := collect(t, s, nil); len(out.Blobs)+len(out.Layers) != 0 {
			t.Errorf("%+v", out)
		}
		l.Close()
	}
	if out := collect(t, s, nil); len(out.Blobs) != 1 || len(out.Layers) != 1 {
		t.Errorf("%+v", out)
	}
}

// What takes long to remove is handed on.
func TestCollectHandsTrashOn(t *testing.T) {
	s, dir := testStore(t)
	layer := addLayer(t, dir, "l", 1)
	if err := state.WriteJSON(LayerPath(dir, Plain, layer)+"/meta.json", LayerMeta{V: 1, DiffID: layer, Files: manyFiles + 1}); err != nil {
		t.Fatal(err)
	}
	var asked string
	dir.RemoveLater(func(name string) error { asked = name; return nil })
	c, err := s.Collector()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.Collect(nil); err != nil || len(out.Layers) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	trash, err := dir.Adopt(asked)
	if err != nil {
		t.Fatalf("asked to remove %q: %v", asked, err)
	}
	if err := trash.Close(); err != nil {
		t.Error(err)
	}
}
