package disk

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/state"
)

func options(local string, env ...string) Options {
	return Options{User: os.Geteuid() != 0, Local: local, Getenv: func(key string) string {
		for _, kv := range env {
			if k, v, _ := strings.Cut(kv, "="); k == key {
				return v
			}
		}
		return ""
	}}
}

func TestKinds(t *testing.T) {
	for magic, want := range map[uint32]Kind{
		unix.EXT4_SUPER_MAGIC: {Name: "extfs"},
		unix.NFS_SUPER_MAGIC:  {Name: "nfs", Shared: true},
		unix.FUSE_SUPER_MAGIC: {Name: "fuse", Shared: true},
		0x0bd00bd0:            {Name: "lustre", Shared: true},
		0x47504653:            {Name: "gpfs", Shared: true},
		0x19830326:            {Name: "beegfs", Shared: true},
		0xff534d42:            {Name: "cifs", Shared: true},
		unix.TMPFS_MAGIC:      {Name: "tmpfs", Memory: true},
		0x1234:                {Name: "0x1234"},
	} {
		if got := kindOf(magic); got != want {
			t.Errorf("%#x: %+v, want %+v", magic, got, want)
		}
	}
	if k := KindOf("/proc/self/no/such/file"); k.Name != "0x9fa0" {
		t.Errorf("below a folder that exists: %+v", k)
	}
}

func TestOpenPlain(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a", "root")
	for range 2 {
		d, text, err := Open(root, options("/nowhere"))
		if err != nil || text != "" || d.IsSplit() || d.Local() != root {
			t.Fatalf("%+v, %q, %v", d, text, err)
		}
	}
}

// TestTrialsLeft: what killed trials have left goes, what may still be one stays.
func TestTrialsLeft(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-25 * time.Hour)
	for name, at := range map[string]time.Time{"old": old, "young": time.Now()} {
		path := filepath.Join(dir, trial+name)
		if err := errors.Join(os.MkdirAll(filepath.Join(path, "folder"), 0o700), os.Chtimes(path, old, at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), nil, 0o600); err != nil || os.Chtimes(filepath.Join(dir, "other"), old, old) != nil {
		t.Fatal(err)
	}
	if can := Try(dir, os.Geteuid() != 0); can.Files != nil {
		t.Errorf("%+v", can)
	}
	SharesBlocks(dir, dir)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 || entries[0].Name() != trial+"young" || entries[1].Name() != "other" {
		t.Errorf("in the folder there is %v, %v", entries, err)
	}
}

// TestSettle decides for file systems that are not there.
func TestSettle(t *testing.T) {
	good := Ability{}
	noMarks := Ability{Marks: unix.EOPNOTSUPP}
	nothing := Ability{Files: unix.EPERM}
	nfs, ext := Kind{Name: "nfs", Shared: true}, Kind{Name: "extfs"}
	for _, c := range []struct {
		name string
		kind Kind
		can  Ability
		all  bool // layers go as well
	}{
		{"shared", nfs, good, false},
		{"shared without marks", nfs, noMarks, true},
		{"shared and useless", nfs, nothing, true},
		{"local without marks", ext, noMarks, true},
	} {
		root, local := t.TempDir(), t.TempDir()
		got, err := choose(root, options(local), c.kind, c.can, false)
		if err != nil || !strings.HasPrefix(got.path, filepath.Join(local, "berth-")) || got.inside {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
		if all := c.can.Files != nil || c.can.Marks != nil && got.can.Overlay(); all != c.all {
			t.Errorf("%s: all is %v", c.name, all)
		}
		if text := explain(root, c.kind, c.can, got, c.all); strings.Contains(text, "\n") || !strings.Contains(text, got.path) || !strings.Contains(text, c.kind.Name) {
			t.Errorf("%s: %q", c.name, text)
		}
	}
}

func TestAsked(t *testing.T) {
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		"relative": "absolute", open: "open to others", file: "not a directory",
	} {
		if _, err := asked("/root", options(dir)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	// Somebody else's link at our place.
	base := t.TempDir()
	c, err := asked("/root", options(base))
	if err != nil {
		t.Fatal(err)
	}
	if other, err := asked("/other", options(base)); err != nil || other.path == c.path {
		t.Errorf("two roots: %v, %v", other, err)
	}
	if err := os.RemoveAll(filepath.Dir(c.path)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), filepath.Dir(c.path)); err != nil {
		t.Fatal(err)
	}
	if _, err := asked("/root", options(base)); err == nil || !strings.Contains(err.Error(), "this account alone") {
		t.Errorf("a link at our place: %v", err)
	}
}

func TestCandidates(t *testing.T) {
	tmp := t.TempDir()
	if got := candidates(options("", "TMPDIR="+tmp)); !slices.Equal(got, []string{tmp, "/var/tmp", "/tmp"}) {
		t.Errorf("%v", got)
	}
	if got := candidates(options("", "TMPDIR="+tmp, "SLURM_JOB_ID=5", "USER=../etc")); !slices.Equal(got, []string{"/var/tmp", "/tmp"}) {
		t.Errorf("in a job: %v", got)
	}
}

// TestMoves names another place when there are containers, and when there are
// none.
func TestMoves(t *testing.T) {
	root, one, two := t.TempDir(), t.TempDir(), t.TempDir()
	c, err := asked(root, options(one))
	if err != nil {
		t.Fatal(err)
	}
	d, err := state.Split(root, c.path, false)
	if err != nil {
		t.Fatal(err)
	}
	if d, text, err := Open(root, options(one)); err != nil || text != "" || d.Local() != c.path {
		t.Errorf("the same: %q, %v", text, err)
	}
	if err := os.Mkdir(d.Path("containers", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if d, text, err := Open(root, options(two)); err != nil || text == "" || d.Local() != c.path {
		t.Errorf("with a container: %q, %v", text, err)
	}
	if err := os.Remove(d.Path("containers", "x")); err != nil {
		t.Fatal(err)
	}
	if d, text, err := Open(root, options(two)); err != nil || text == "" || !strings.HasPrefix(d.Local(), two) {
		t.Errorf("without: %s, %q, %v", d.Local(), text, err)
	}
}
