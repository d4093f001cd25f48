package engine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/events"

	"berth/internal/roster"
	"berth/internal/transfer"
)

// removing is a writer that removes a container as soon as it hears of it.
type removing struct {
	t *testing.T
	e *Engine
	c string
}

func (r *removing) Write(b []byte) (int, error) {
	if r.c == "" {
		return len(b), nil
	}
	// As a removal begins: the record goes out of sight with all the rest.
	if err := os.Rename(r.e.containerDir(r.c), filepath.Join(r.t.TempDir(), "gone")); err != nil {
		r.t.Error(err)
	}
	r.c = ""
	return len(b), nil
}

// What is read of a container that is being removed may lack anything, so it
// counts for nothing.
func TestReadWhileRemoved(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("another account has a stage read, which tests are not")
	}
	e := openAt(t, filepath.Join(t.TempDir(), "root"))
	id := strings.Repeat("a", 64)
	withContainer(t, e, id)
	put(t, e.containerDir(id, upperDir, "file"), "text")
	if err := e.ContainerExport(t.Context(), id, &removing{}); err != nil {
		t.Fatal(err)
	}
	if err := e.ContainerExport(t.Context(), id, &removing{t, e, id}); !errors.Is(err, ErrNotFound) {
		t.Errorf("exported while it was removed: %v", err)
	}
	withContainer(t, e, id)
	root, err := transfer.OpenFolder(e.containerDir(id))
	if err != nil {
		t.Fatal(err)
	}
	f := &Files{Session: transfer.Local(root), still: func(err error) error { return e.stillThere(id, err) }, note: func(events.Action) {}}
	defer f.Close()
	if err := f.StreamOut(t.Context(), "/"+roster.RecordFile, &removing{}, CopyOptions{}); err != nil {
		t.Error(err)
	}
	if err := f.StreamOut(t.Context(), "/"+roster.RecordFile, &removing{t, e, id}, CopyOptions{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("copied while it was removed: %v", err)
	}
}
