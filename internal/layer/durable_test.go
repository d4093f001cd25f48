package layer

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/internal/state"
	"berth/internal/store"
	"berth/internal/sys"
)

// reboot makes the record of a layer look as if the machine had gone down
// since.
func reboot(t *testing.T, dir *state.Dir, diffID string) {
	t.Helper()
	m, err := store.ReadLayerMeta(dir, store.Plain, diffID)
	if err != nil {
		t.Fatal(err)
	}
	m.Unsynced = "another boot"
	if err := state.WriteJSON(filepath.Join(store.LayerPath(dir, store.Plain, diffID), "meta.json"), m); err != nil {
		t.Fatal(err)
	}
}

func TestSettle(t *testing.T) {
	set, dir := testSet(t)
	stream := tarOf(t, reg("a", "1"), reg("d/big", strings.Repeat("x", 300_000)), reg("a", "2"), symlink("l", "/etc/passwd"))
	m, err := set.Add(t.Context(), bytes.NewReader(stream), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Unsynced == "" || m.Unsynced != bootID() {
		t.Fatalf("a new layer is unsynced in boot %q", m.Unsynced)
	}
	if got, err := set.Meta(m.DiffID); err != nil || got.Unsynced == "" {
		t.Errorf("%+v, %v", got, err)
	}
	for range 2 {
		if err := set.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := set.Meta(m.DiffID); err != nil || got.Unsynced != "" {
			t.Errorf("settled: %+v, %v", got, err)
		}
	}
	if err := os.Mkdir(dir.Path("layers", "no-layer"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := set.Settle(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPowerLoss: of a layer that was not synced before the machine went down
// either all is there or none.
func TestPowerLoss(t *testing.T) {
	stream := tarOf(t, reg("a", "12345"), reg("d/b", "678"))
	for name, c := range map[string]struct {
		lose func(folder string) error
		ok   bool
	}{
		"nothing":          {func(string) error { return nil }, true},
		"a file's content": {func(f string) error { return os.Truncate(f+"/tree/a", 0) }, false},
		"a part of it":     {func(f string) error { return os.WriteFile(f+"/tree/d/b", []byte("6\x00\x00"), 0o644) }, false},
		"the recipe":       {func(f string) error { return os.Truncate(f+"/recipe", 0) }, false},
		"the owners":       {func(f string) error { return os.WriteFile(f+"/owners.json", nil, 0o600) }, false},
		"the record":       {func(f string) error { return os.Truncate(f+"/meta.json", 0) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			set, dir := testSet(t)
			m, err := set.Add(t.Context(), bytes.NewReader(stream), Options{})
			if err != nil {
				t.Fatal(err)
			}
			reboot(t, dir, m.DiffID)
			if err := c.lose(store.LayerPath(dir, store.Plain, m.DiffID)); err != nil {
				t.Fatal(err)
			}
			got, err := set.Meta(m.DiffID)
			if (err == nil) != c.ok || set.Has(m.DiffID) != c.ok {
				t.Fatalf("%+v, %v", got, err)
			}
			if c.ok {
				if on, err := store.ReadLayerMeta(dir, store.Plain, m.DiffID); err != nil || on.Unsynced != "" {
					t.Errorf("the record still says %+v, %v", on, err)
				}
				return
			}
			if name != "the record" && (!errors.Is(err, store.ErrNotFound) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("got %v", err)
			}
			claim, err := set.Claim(t.Context(), m.DiffID)
			if err != nil || claim == nil {
				t.Fatalf("it cannot be fetched again: %v", err)
			}
			defer claim.Close()
			if _, err := claim.Add(t.Context(), bytes.NewReader(stream), Options{}); err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(filepath.Join(set.Path(m.DiffID), "a")); string(b) != "12345" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

// TestSyncTree asks file systems of each kind there is here.
func TestSyncTree(t *testing.T) {
	for _, dir := range []string{tempDir(t), "/dev/shm"} {
		fd, err := sys.OpenAt(unix.AT_FDCWD, dir, openDir, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := syncTree(t.Context(), fd); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		unix.Close(fd)
	}
}

func TestDurableAdd(t *testing.T) {
	s, _ := testSet(t)
	m, err := s.Add(t.Context(), bytes.NewReader(tarOf(t, reg("a", "content"))), Options{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	if m, err = s.Meta(m.DiffID); err != nil || m.Unsynced != "" {
		t.Errorf("%q, %v", m.Unsynced, err)
	}
}
