package shared

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/store"
)

const (
	name  = "docker.io/library/app:1"
	other = "docker.io/library/app:2"
)

// image is an archive as save writes it, of one image with one layer.
func image(t *testing.T, name, arch, layer string) (*bytes.Buffer, string) {
	t.Helper()
	config := []byte(`{"architecture":"` + arch + `","os":"linux","created":"2001-02-03T04:05:06Z"}`)
	put := func(b []byte) store.Descriptor { return store.Descriptor{Digest: store.Digest(b), Size: int64(len(b))} }
	manifest, err := json.Marshal(store.Manifest{SchemaVersion: 2, Config: put(config), Layers: []store.Descriptor{put([]byte(layer))}})
	if err != nil {
		t.Fatal(err)
	}
	d := put(manifest)
	d.Annotations = map[string]string{annotationName: name}
	ix, err := json.Marshal(index{SchemaVersion: 2, Manifests: []store.Descriptor{d}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	files := [][2]string{{"index.json", string(ix)}}
	for _, b := range []string{string(config), string(manifest), layer} {
		files = append(files, [2]string{blobName(store.Digest([]byte(b))), b})
	}
	for _, f := range files {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f[0], Mode: 0o644, Size: int64(len(f[1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, f[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return &out, store.Digest([]byte(layer))
}

func add(t *testing.T, s *Store, name, arch, layer string) string {
	t.Helper()
	in, digest := image(t, name, arch, layer)
	if err := s.Add(in); err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestAddAndWrite(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	s := Open(filepath.Join(t.TempDir(), "store"))
	if list, err := s.Images(); len(list) != 0 || err != nil || s.Has(name) {
		t.Errorf("nothing there: %v, %v", list, err)
	}
	add(t, s, name, "amd64", "old")
	layer := add(t, s, name, "amd64", "layer")
	add(t, s, name, "arm64", "other machine")
	add(t, s, other, "amd64", "layer")
	list, err := s.Images()
	if err != nil || len(list) != 3 || list[0].Name != name || list[0].Size != 5 || !list[0].Created.Equal(time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)) {
		t.Errorf("%+v, %v", list, err)
	}
	if info, err := os.Stat(s.blob(layer)); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v: others could not read it", info, err)
	}
	for _, arch := range []string{"arm64", "amd64"} {
		img, size, err := s.Find(name, func(p store.Platform) int {
			if p.Architecture == arch {
				return 1
			}
			return 0
		})
		if err != nil || img.Config.Architecture != arch || len(img.Names) != 1 || (size == 5) != (arch == "amd64") {
			t.Errorf("for %s: %+v, %d bytes, %v", arch, img, size, err)
		}
	}
	if _, _, err := s.Find("docker.io/library/app:3", func(store.Platform) int { return 0 }); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("found: %v", err)
	}
	var out bytes.Buffer
	if err := s.Write(context.Background(), name, &out); err != nil {
		t.Fatal(err)
	}
	again := Open(t.TempDir())
	if err := again.Add(&out); err != nil {
		t.Fatal(err)
	}
	if list, err := again.Images(); len(list) != 2 || err != nil || again.Has(other) {
		t.Errorf("%+v, %v", list, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Write(ctx, name, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestAddRefuses(t *testing.T) {
	s := Open(t.TempDir())
	in, digest := image(t, name, "amd64", "layer")
	bad := bytes.Replace(in.Bytes(), []byte("layer\x00"), []byte("lAyer\x00"), 1)
	if err := s.Add(bytes.NewReader(bad)); err == nil || !strings.Contains(err.Error(), digest+" is not what it is called") {
		t.Errorf("%v", err)
	}
	if list, _ := s.Images(); len(list) != 0 {
		t.Errorf("listed: %+v", list)
	}
	left := filepath.Join(s.dir, "blobs", "sha256", ".new-999999999.1-x")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	in, _ = image(t, "", "amd64", "layer")
	if err := s.Add(in); err == nil || !strings.Contains(err.Error(), "only images with a tag") {
		t.Errorf("%v", err)
	}
	if entries, _ := filepath.Glob(filepath.Join(s.dir, "blobs", "sha256", ".new-*")); len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}
}

// TestLinkedFolder writes where another of the folder's writers has put a link in
// the place of a part of it.
func TestLinkedFolder(t *testing.T) {
	for _, part := range []string{"blobs", "blobs/sha256"} {
		s, outside := Open(t.TempDir()), t.TempDir()
		link := filepath.Join(s.dir, part)
		if err := errors.Join(os.MkdirAll(filepath.Dir(link), 0o775), os.Symlink(outside, link)); err != nil {
			t.Fatal(err)
		}
		in, _ := image(t, name, "amd64", "layer")
		if err := s.Add(in); err == nil || !strings.Contains(err.Error(), s.dir) {
			t.Errorf("%s: %v", part, err)
		}
		if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
			t.Errorf("%s: written outside: %v, %v", part, entries, err)
		}
	}
}

// TestHostileFolder reads what somebody else may have put there.
func TestHostileFolder(t *testing.T) {
	for what, spoil := range map[string]func(t *testing.T, s *Store, path string){
		"another text": func(t *testing.T, s *Store, path string) {
			if err := os.WriteFile(path, []byte("{}"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"a pipe": func(t *testing.T, s *Store, path string) {
			if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o644)); err != nil {
				t.Fatal(err)
			}
		},
		"a link": func(t *testing.T, s *Store, path string) {
			if err := errors.Join(os.Rename(path, path+".x"), os.Symlink(path+".x", path)); err != nil {
				t.Fatal(err)
			}
		},
		"nothing": func(t *testing.T, s *Store, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		s := Open(t.TempDir())
		add(t, s, name, "amd64", "layer")
		ix, err := s.index()
		if err != nil {
			t.Fatal(err)
		}
		spoil(t, s, s.blob(ix.Manifests[0].Digest))
		if err := s.Write(context.Background(), name, io.Discard); err == nil {
			t.Errorf("%s: written", what)
		}
		if img, _, err := s.Find(name, func(store.Platform) int { return 0 }); err == nil {
			t.Errorf("%s: believed: %+v", what, img)
		}
		if list, err := s.Images(); len(list) != 0 || err != nil {
			t.Errorf("%s: %+v, %v", what, list, err)
		}
	}
}
