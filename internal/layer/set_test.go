package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/store"
)

func TestSetAdd(t *testing.T) {
	set, dir := testSet(t)
	stream := tarOf(t, with(reg("a", "hello"), func(h *tar.Header) { h.Uid = 9 }), reg("\xff", "x"), reg(".wh..wh..opq", ""))
	m, err := set.Add(t.Context(), bytes.NewReader(stream), Options{rootless: true})
	if err != nil {
		t.Fatal(err)
	}
	if m.DiffID != store.Digest(stream) || m.Size != 6 || !m.Opaque || !m.Rootless || !m.Owner.Alive() {
		t.Errorf("%+v", m)
	}
	if !set.Has(m.DiffID) {
		t.Error("the layer is not there")
	}
	if b, err := os.ReadFile(filepath.Join(set.Path(m.DiffID), "a")); string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	o, err := readOwners(set.Path(m.DiffID))
	if err != nil || len(o) != 1 || o["a"].UID != 9 {
		t.Errorf("owners: %+v, %v", o, err)
	}
	if again, err := set.Add(t.Context(), bytes.NewReader(stream), Options{}); err != nil || again.DiffID != m.DiffID {
		t.Errorf("again: %+v, %v", again, err)
	}
	// Broken: the folder is there, its record is not.
	if err := os.Remove(filepath.Join(store.LayerPath(dir, store.Plain, m.DiffID), "meta.json")); err != nil {
		t.Fatal(err)
	}
	if set.Has(m.DiffID) {
		t.Error("a broken layer counts")
	}
	if _, err := set.Add(t.Context(), bytes.NewReader(stream), Options{}); err != nil || !set.Has(m.DiffID) {
		t.Errorf("a broken layer is not replaced: %v", err)
	}
	checkEmpty(t, dir.Path("tmp"))
}

func checkEmpty(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("left behind: %s", filepath.Join(path, e.Name()))
	}
}

func TestSetAddRefused(t *testing.T) {
	set, dir := testSet(t)
	stream := tarOf(t, reg("a", "hello"), with(folder("closed"), func(h *tar.Header) { h.Mode = 0 }), reg("closed/x", "y"))
	other := "sha256:" + strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		r      io.Reader
		diffID string
	}{
		"wrong digest": {bytes.NewReader(stream), other},
		"no digest":    {bytes.NewReader(stream), "sha256:../../x"},
		"truncated":    {bytes.NewReader(stream[:len(stream)-3000]), store.Digest(stream)},
		"hostile":      {bytes.NewReader(tarOf(t, folder("d"), reg("../x", ""))), ""},
		"broken":       {io.MultiReader(bytes.NewReader(stream[:600]), failing{errors.New("boom")}), ""},
	} {
		if _, err := set.Add(t.Context(), c.r, Options{DiffID: c.diffID}); err == nil {
			t.Errorf("%s: no error", name)
		}
		checkEmpty(t, dir.Path("tmp"))
		checkEmpty(t, dir.Path("layers"))
	}
}

func TestSetStack(t *testing.T) {
	set, _ := testSet(t)
	var ids []string
	for _, l := range [][]tar.Header{{reg("bottom", "")}, {reg(".wh..wh..opq", ""), reg("middle", "")}, {reg("top", "")}} {
		m, err := set.Add(t.Context(), bytes.NewReader(tarOf(t, l...)), Options{})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.DiffID)
	}
	trees, err := set.Stack(ids)
	if err != nil || len(trees) != 2 || trees[0] != set.Path(ids[2]) || trees[1] != set.Path(ids[1]) {
		t.Errorf("%q, %v", trees, err)
	}
	v := mustView(t, "", []string{set.Path(ids[2]), set.Path(ids[1]), set.Path(ids[0])})
	if _, err := v.Stat("bottom"); !os.IsNotExist(err) {
		t.Errorf("what an opaque top hides shows: %v", err)
	}
	if _, err := set.Stack([]string{"sha256:" + strings.Repeat("0", 64)}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a missing layer: %v", err)
	}
}

// Many want the same layer: one of them unpacks, all have it.
func TestClaim(t *testing.T) {
	set, dir := testSet(t)
	stream := tarOf(t, reg("a", strings.Repeat("x", 500_000)))
	id := store.Digest(stream)
	var worked atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, err := set.Claim(t.Context(), id)
			if err != nil {
				t.Error(err)
				return
			}
			if c != nil {
				defer c.Close()
				worked.Add(1)
				time.Sleep(10 * time.Millisecond)
				if _, err := c.Add(t.Context(), bytes.NewReader(stream), Options{}); err != nil {
					t.Error(err)
				}
			}
			if !set.Has(id) {
				t.Error("the layer is not there")
			}
		})
	}
	wg.Wait()
	if worked.Load() != 1 {
		t.Errorf("%d of them unpacked", worked.Load())
	}
	entries, _ := os.ReadDir(dir.Path("layers"))
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

// One claims and fails; the next gets its turn. One waits in vain and is
// called off.
func TestClaimHandsOn(t *testing.T) {
	set, _ := testSet(t)
	id := "sha256:" + strings.Repeat("ab", 32)
	first, err := set.Claim(t.Context(), id)
	if err != nil || first == nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := set.Claim(ctx, id); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting: %v", err)
	}
	if _, err := first.Add(t.Context(), bytes.NewReader(tarOf(t, reg("a", ""))), Options{}); err == nil {
		t.Error("another layer is accepted")
	}
	first.Close()
	first.Close()
	second, err := set.Claim(t.Context(), id)
	if err != nil || second == nil {
		t.Fatalf("second: %v", err)
	}
	second.Close()
}

// Two unpack the same layer without asking each other.
func TestAddTwiceAtOnce(t *testing.T) {
	set, dir := testSet(t)
	stream := tarOf(t, reg("a", strings.Repeat("x", 500_000)), reg("d/e", "y"))
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, err := set.Add(t.Context(), bytes.NewReader(stream), Options{DiffID: store.Digest(stream)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	checkEmpty(t, dir.Path("tmp"))
	if !set.Has(store.Digest(stream)) {
		t.Error("the layer is not there")
	}
}

// FuzzOwners reads records that are not ours.
func FuzzOwners(f *testing.F) {
	f.Add([]byte(`{"v":1,"entries":[{"p":"a","u":1,"g":2,"m":35309,"x":{"security.capability":"AQ=="}},{"pb":"//8=","t":"c","ma":1}]}`))
	f.Add([]byte(`{"v":2}`))
	f.Add([]byte(`{"v":1,"entries":[{"p":"../x","t":"c"},{"p":""},{"p":"d/x","t":"b","m":4294967295,"u":4294967295}]}`))
	f.Fuzz(func(t *testing.T, record []byte) {
		dir := tempDir(t)
		tree := filepath.Join(dir, "tree")
		if err := errors.Join(os.MkdirAll(filepath.Join(tree, "d"), 0o755), os.WriteFile(filepath.Join(tree, "a"), nil, 0o644),
			os.WriteFile(filepath.Join(dir, ownersFile), record, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := readOwners(tree); err != nil {
			return
		}
		v := mustView(t, "", []string{tree})
		var b bytes.Buffer
		if err := v.Tar(t.Context(), &b, "/", TarOptions{}); err != nil {
			return // a tar stream cannot say all that a record can
		}
		r := tar.NewReader(&b)
		for {
			h, err := r.Next()
			if err != nil {
				if err != io.EOF {
					t.Fatal(err)
				}
				return
			}
			if strings.HasPrefix(h.Name, "..") || strings.HasPrefix(h.Name, "/") {
				t.Fatalf("an entry %q", h.Name)
			}
		}
	})
}
