package engine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"berth/internal/roster"
	"berth/internal/state"
)

// openAt opens an engine on a data root with no configuration but its own.
func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func openAt(t *testing.T, root string) *Engine {
	t.Helper()
	e, err := Open(Options{Root: root, Config: put(t, filepath.Join(t.TempDir(), "config.json"), "{}")})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// withContainer writes the record of a container that mounts volumes.
func withContainer(t *testing.T, e *Engine, id string, volumes ...string) {
	t.Helper()
	r := record{V: 1, ID: id, Name: "c" + id[:4], Config: &container.Config{}, HostConfig: &container.HostConfig{}}
	for _, v := range volumes {
		r.Mounts = append(r.Mounts, container.MountPoint{Type: mount.TypeVolume, Name: v, Destination: "/" + v})
	}
	if err := os.MkdirAll(e.containerDir(id), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := state.WriteJSON(e.containerDir(id, roster.RecordFile), &r); err != nil {
		t.Fatal(err)
	}
}

// TestVolumesInUse: the records of containers say what is in use, and what
// cannot be told is not removed.
func TestVolumesInUse(t *testing.T) {
	e := openAt(t, t.TempDir())
	for _, name := range []string{"data", "free"} {
		if _, err := e.VolumeCreate(t.Context(), VolumeCreateOptions{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	id := strings.Repeat("ab", 32)
	withContainer(t, e, id, "data")
	err := e.VolumeRemove(t.Context(), "data", true)
	if !errors.Is(err, ErrConflict) || err.Error() != "remove data: volume is in use - ["+id+"]" {
		t.Errorf("in use: %v", err)
	}
	if err := e.VolumeRemove(t.Context(), "none", false); !errors.Is(err, ErrNotFound) || err.Error() != "get none: no such volume" {
		t.Errorf("missing: %v", err)
	}
	if _, err := e.VolumeCreate(t.Context(), VolumeCreateOptions{Name: "a"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("too short: %v", err)
	}
	put(t, e.containerDir(id, roster.RecordFile), "{")
	if err := e.VolumeRemove(t.Context(), "free", true); err == nil {
		t.Error("removed although a container's record is damaged")
	}
}
