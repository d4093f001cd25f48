package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// splitRoot makes a data root in two parts.
func splitRoot(t *testing.T, all bool) *Dir {
	t.Helper()
	dir := t.TempDir()
	d, err := Split(filepath.Join(dir, "shared"), filepath.Join(dir, "local"), all)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestSplit(t *testing.T) {
	d := splitRoot(t, false)
	for part, side := range map[string]string{
		"oci": d.Root(), "layers": d.Root(), "volumes": d.Root(), "downloads": d.Root(), "version": d.Root(),
		"containers": d.Local(), "names": d.Local(), "journal": d.Local(), "bin": d.Local(), "tmp": d.Local(), "seccomp": d.Local(), "layers-ids": d.Local(),
	} {
		if got := d.Path(part, "x"); got != filepath.Join(side, part, "x") {
			t.Errorf("%s lies at %s", part, got)
		}
	}
	again, err := Open(d.Root())
	if err != nil || again.Local() != d.Local() || !again.IsSplit() {
		t.Fatalf("opened again: %+v, %v", again, err)
	}
	if !d.Shares("layers") || d.Shares("layers-ids") || d.Shares("containers") {
		t.Error("others see what is not theirs, or not what is")
	}
	all := splitRoot(t, true)
	if got := all.Path("layers", "x"); got != filepath.Join(all.Local(), "layers", "x") {
		t.Errorf("all of it: layers lie at %s", got)
	}
	if again, err = Open(all.Root()); err != nil || again.Path("oci") != all.Path("oci") {
		t.Errorf("all of it, opened again: %v", err)
	}
}

// TestSplitLost is a machine that has forgotten its part, and one whose part
// somebody else has put there.
func TestSplitLost(t *testing.T) {
	d := splitRoot(t, false)
	if err := os.Chmod(d.Local(), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d.Root()); err == nil || !strings.Contains(err.Error(), "BERTH_LOCAL") {
		t.Errorf("a part that is open to others: %v", err)
	}
	if err := os.RemoveAll(d.Local()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d.Root()); !errors.Is(err, ErrUnplaced) {
		t.Errorf("a part that is gone: %v", err)
	}
	if err := os.Symlink(t.TempDir(), d.Local()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d.Root()); err == nil || errors.Is(err, ErrUnplaced) {
		t.Errorf("a link for the part: %v", err)
	}
}

// TestGuard is what systemd-tmpfiles does to every folder it comes to.
func TestGuard(t *testing.T) {
	d := splitRoot(t, false)
	f, err := os.Open(d.Local())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatalf("before: %v", err)
	}
	unix.Flock(int(f.Fd()), unix.LOCK_UN)
	d.Guard()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		t.Errorf("guarded: %v", err)
	}
}

// TestSplitTemp renames from temporary folders to both parts.
func TestSplitTemp(t *testing.T) {
	d := splitRoot(t, false)
	for _, part := range []string{"layers", "layers-ids", "containers"} {
		if err := os.MkdirAll(d.Path(part), 0o700); err != nil {
			t.Fatal(err)
		}
		tmp, err := d.TempFor(part)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Dir(tmp.Path()) != d.TempPath(part) || !d.Lives(tmp.Path()) {
			t.Errorf("for %s: %s", part, tmp.Path())
		}
		if err := os.Mkdir(tmp.Path("x"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp.Path("x"), d.Path(part, "x")); err != nil {
			t.Error(err)
		}
		tmp.Close()
		if err := d.Discard(d.Path(part, "x")); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(d.Path(part, "x")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", part, err)
		}
	}
	trash, err := d.TrashFor("layers")
	if err != nil {
		t.Fatal(err)
	}
	mine, err := d.Adopt(filepath.Base(trash.Path()))
	if err != nil {
		t.Fatal(err)
	}
	mine.Close()
}

// TestSplitOthersTemp: processes of another machine cannot be seen, so what
// they make stays until it is old.
func TestSplitOthersTemp(t *testing.T) {
	d := splitRoot(t, false)
	theirs := filepath.Join(d.TempPath("layers"), "1.2.feed-123")
	if err := os.Mkdir(theirs, 0o700); err != nil {
		t.Fatal(err)
	}
	file := d.Path("oci", ".index.json.tmp-999999999.1")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Sweep(); n != 0 || err != nil {
		t.Errorf("%d swept, %v", n, err)
	}
	old := time.Now().Add(-2 * forsaken)
	for _, p := range []string{theirs, file} {
		if _, err := os.Stat(p); err != nil {
			t.Error(err)
		}
		if err := os.Chtimes(p, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := d.Sweep(); n != 1 || err != nil {
		t.Errorf("old: %d swept, %v", n, err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an old file is still there: %v", err)
	}
}

// TestAnnounce is two machines with one root.
func TestAnnounce(t *testing.T) {
	d := splitRoot(t, false)
	if err := os.Mkdir(d.Path("containers", "c1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.Announce("c1", []byte("record")); err != nil {
		t.Fatal(err)
	}
	other := &Dir{root: d.root, split: newSplit(filepath.Join(t.TempDir(), "other"), false)}
	other.split.host = "other"
	paths, err := other.Announced()
	if err != nil || len(paths) != 1 || filepath.Base(paths[0]) != "c1" {
		t.Fatalf("the other machine sees %v, %v", paths, err)
	}
	if own, err := d.Announced(); err != nil || len(own) != 0 {
		t.Errorf("its own are listed: %v, %v", own, err)
	}
	if err := d.Discard(d.Path("containers", "c1")); err != nil {
		t.Fatal(err)
	}
	if paths, err = other.Announced(); err != nil || len(paths) != 0 {
		t.Errorf("after it has gone: %v, %v", paths, err)
	}
	// A killed create: the announcement is there, the container is not.
	if err := d.Announce("c2", []byte("record")); err != nil {
		t.Fatal(err)
	}
	d.Sweep()
	if paths, _ = other.Announced(); len(paths) != 1 {
		t.Errorf("a young one: %v", paths)
	}
	old := time.Now().Add(-2 * time.Hour)
	os.Chtimes(paths[0], old, old)
	d.Sweep()
	if paths, _ = other.Announced(); len(paths) != 0 {
		t.Errorf("an old one: %v", paths)
	}
}
