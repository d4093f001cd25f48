package published

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/state"
)

// board is one with a place of its own, which only root can make: it must be
// root's.
func board(t *testing.T) (*Board, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the place must belong to root")
	}
	place := t.TempDir()
	if err := os.Chmod(place, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	return &Board{places: []string{filepath.Join(place, "no", "such", "place"), place}}, place
}

func entry(digit, name string) Entry {
	return Entry{V: 1, ID: strings.Repeat(digit, 64), Name: name, Image: "busybox", Since: time.Unix(1e9, 0).UTC(), Shim: state.Self(),
		Ports: []Port{{"tcp", 8080, 80}}}
}

func TestPutAndList(t *testing.T) {
	b, place := board(t)
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	one, err := b.Put(entry("a", "one"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.Put(entry("b", "two"))
	if err != nil {
		t.Fatal(err)
	}
	list := b.List()
	if len(list) != 2 || list[0].UID != 0 || list[0].Ports[0].Public != 8080 || !list[0].Since.Equal(time.Unix(1e9, 0)) {
		t.Errorf("%+v", list)
	}
	own := filepath.Join(place, prefix+"0")
	for path, want := range map[string]fs.FileMode{own: 0o755 | fs.ModeDir, filepath.Join(own, entry("a", "").ID): 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v: others could not read it", path, info, err)
		}
	}
	if err := b.Rename(entry("b", "").ID, "zwei"); err != nil {
		t.Error(err)
	}
	one.Close()
	if list := b.List(); len(list) != 1 || list[0].Name != "zwei" {
		t.Errorf("%+v", list)
	}
	two.Close()
	var none *Posting
	none.Close()
	if list := b.List(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// TestLies puts what somebody hostile could into a folder of an account's.
func TestLies(t *testing.T) {
	b, place := board(t)
	const somebody = 54321
	folder := filepath.Join(place, prefix+"0") // another's name
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	id := func(digit string) string { return strings.Repeat(digit, 64) }
	dir, err := os.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	put := func(e Entry) {
		t.Helper()
		if err := write(dir, &e); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(filepath.Join(folder, e.ID), somebody, somebody); err != nil {
			t.Fatal(err)
		}
	}
	put(entry("a", "another's process")) // ours, not somebody's
	dead := entry("b", "dead")
	dead.Shim.Start++
	put(dead)
	if err := os.Symlink("/etc/passwd", filepath.Join(folder, id("c"))); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(folder, id("d")), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, id("e")), make([]byte, maxFile+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(folder, somebody, somebody); err != nil {
		t.Fatal(err)
	}
	if list := b.List(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	// Its own name taken by somebody, root still finds a place.
	p, err := b.Put(entry("f", "real"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if list := b.List(); len(list) != 1 || list[0].UID != 0 || list[0].Name != "real" {
		t.Errorf("%+v", list)
	}
}

// TestCrowd has somebody take all names that an account could want, and make
// folders until a reader has had enough.
func TestCrowd(t *testing.T) {
	b, place := board(t)
	const somebody = 54321
	for i := range 5000 {
		name := prefix + "0"
		if i > 0 {
			name = fmt.Sprintf("%s0.%d", prefix, i)
		}
		path := filepath.Join(place, name)
		if err := errors.Join(os.Mkdir(path, 0o755), os.Chown(path, somebody, somebody)); err != nil {
			t.Fatal(err)
		}
	}
	one, err := b.Put(entry("a", "one"))
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	two, err := b.Put(entry("b", "two"))
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	if list := b.List(); len(list) != 2 {
		t.Errorf("%+v", list)
	}
	if entries, _ := os.ReadDir(place); len(entries) != 5001 {
		t.Errorf("%d folders: the second entry has not gone where the first one is", len(entries))
	}
}

func TestUnsafePlace(t *testing.T) {
	b, place := board(t)
	if err := os.Chmod(place, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(entry("a", "one")); err == nil || !strings.Contains(err.Error(), "sticky") || strings.Contains(err.Error(), "\n\n") {
		t.Errorf("%v", err)
	}
}

func TestClean(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Entry)
		ok   bool
		want string
	}{
		{"plain", func(e *Entry) {}, true, "one"},
		{"escape", func(e *Entry) { e.Name = "a\x1b[2Jb\nc\u202ed\xff" }, true, "a?[2Jb?c?d?"},
		{"long", func(e *Entry) { e.Name = strings.Repeat("ä", 1000) }, true, strings.Repeat("ä", maxText/2)},
		{"no name", func(e *Entry) { e.Name = "" }, false, ""},
		{"version", func(e *Entry) { e.V = 2 }, false, ""},
		{"id", func(e *Entry) { e.ID = "../" + e.ID[3:] }, false, ""},
		{"many ports", func(e *Entry) { e.Ports = make([]Port, MaxPorts+1) }, false, ""},
		{"port", func(e *Entry) { e.Ports[0].Proto = "\x1b" }, false, ""},
		{"year", func(e *Entry) { e.Since = time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC) }, false, ""},
	} {
		e := entry("a", "one")
		c.edit(&e)
		if ok := e.clean(); ok != c.ok || ok && e.Name != c.want {
			t.Errorf("%s: %v, %q", c.name, ok, e.Name)
		}
	}
}

// TestMakePlace: the place has its mode from the first moment, whatever one who
// was killed has left.
func TestMakePlace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the place must belong to root")
	}
	for what, before := range map[string]func(place string) error{
		"nothing is there": func(string) error { return nil },
		"begun":            func(place string) error { return os.Mkdir(place+".new", 0o755) },
		"made meanwhile":   func(place string) error { return os.Mkdir(place, 0o700) },
	} {
		place := filepath.Join(t.TempDir(), "run", "published")
		if err := errors.Join(os.Mkdir(filepath.Dir(place), 0o700), before(place)); err != nil {
			t.Fatal(err)
		}
		makePlace(place)
		if err := isPlace(place); (err == nil) == (what == "made meanwhile") {
			t.Errorf("%s: %v", what, err)
		}
		if info, err := os.Stat(place); err != nil || what != "made meanwhile" && info.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
			t.Errorf("%s: %v, %v", what, info, err)
		}
		if _, err := os.Lstat(place + ".new"); err == nil {
			t.Errorf("%s: what was begun is still there", what)
		}
	}
}

// TestMounted: what an account has mounted on its folder, or on a file in it, is
// not looked into, as it need not answer.
func TestMounted(t *testing.T) {
	b, place := board(t)
	var left []*Posting
	for _, digit := range []string{"a", "b"} {
		p, err := b.Put(entry(digit, digit))
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, p)
	}
	own := filepath.Join(place, prefix+"0")
	mount := func(on string) {
		t.Helper()
		if err := unix.Mount(on, on, "", unix.MS_BIND, ""); err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { unix.Unmount(on, unix.MNT_DETACH) })
	}
	mount(filepath.Join(own, entry("a", "").ID))
	if list := b.List(); len(list) != 1 || list[0].Name != "b" {
		t.Errorf("a file mounted upon: %+v", list)
	}
	mount(own)
	if list := b.List(); len(list) != 0 {
		t.Errorf("a folder mounted upon: %+v", list)
	}
	for _, p := range left {
		p.Close()
	}
}
