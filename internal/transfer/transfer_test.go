package transfer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPlace: Docker's rules for where a copy goes, and under which name.
func TestPlace(t *testing.T) {
	for _, c := range []struct {
		src       Source
		dst       Target
		dir, name string
		err       error
	}{
		{Source{Name: "f"}, Target{Path: "/d", Exists: true, IsDir: true}, "/d", "f", nil},
		{Source{Name: "f"}, Target{Path: "/d/x", Exists: true}, "/d", "x", nil},
		{Source{Name: "f"}, Target{Path: "/d/new"}, "/d", "new", nil},
		{Source{Name: "f"}, Target{Path: "/d/new/"}, "", "", ErrNoDir},
		{Source{Name: "f"}, Target{Path: "/d/new/."}, "", "", ErrNoDir},
		{Source{Name: "s", IsDir: true}, Target{Path: "/d/x", Exists: true}, "", "", ErrCannotCopyDir},
		{Source{Name: "s", IsDir: true}, Target{Path: "/d", Exists: true, IsDir: true}, "/d", "s", nil},
		{Source{Name: ".", IsDir: true}, Target{Path: "/d", Exists: true, IsDir: true}, "/d", ".", nil},
		{Source{Name: "s", IsDir: true}, Target{Path: "/d/new"}, "/d", "new", nil},
		{Source{Name: "s", IsDir: true}, Target{Path: "/d/new/"}, "/d", "new", nil},
		{Source{Name: ".", IsDir: true}, Target{Path: "/d/new"}, "/d", "new", nil},
		{Source{Name: "s", IsDir: true}, Target{Path: "/d/new/."}, "/d/new", ".", nil},
		{Source{Name: "f"}, Target{Path: "new"}, ".", "new", nil},
	} {
		dir, name, err := c.dst.Place(c.src)
		if dir != c.dir || name != c.name || err != c.err {
			t.Errorf("%+v to %+v: %q, %q, %v", c.src, c.dst, dir, name, err)
		}
	}
}

func TestEntryName(t *testing.T) {
	for p, want := range map[string]string{"/": "", "/a": "a", "/a/": "a", "/a/.": ".", ".": ".", "a/b": "b", "/.": ".", "..": "."} {
		if got := EntryName(p); got != want {
			t.Errorf("%q: %q, want %q", p, got, want)
		}
	}
}

// TestStat: links lead where they would lead the container.
func TestStat(t *testing.T) {
	outside := tree(t, map[string]string{"secret": "host"})
	r := container(t, tree(t, map[string]string{
		"etc/passwd": "inside", "abs": "->/etc/passwd", "rel": "->etc/passwd", "up": "->../../../../../../etc/passwd",
		"dir": "->/etc", "loop": "->loop", "gone": "->/etc/none/x", "out": "->" + outside + "/secret",
	}))
	for p, want := range map[string]string{
		"/abs": "/etc/passwd", "rel": "/etc/passwd", "/up": "/etc/passwd", "/gone": "/etc/none/x", "/out": outside + "/secret", "/dir": "/etc",
	} {
		st, err := r.Stat(p)
		if err != nil || st.Mode&fs.ModeSymlink == 0 || st.Target != want {
			t.Errorf("%s: %+v, %v; want it to lead to %s", p, st, err, want)
		}
	}
	for p, want := range map[string]string{"/dir/": "dir", "/dir/.": ".", "/": "", "/etc": "etc", "/dir/../etc": "etc", "../..": "."} {
		st, err := r.Stat(p)
		if err != nil || !st.Mode.IsDir() || st.Name != want {
			t.Errorf("%s: %+v, %v", p, st, err)
		}
	}
	if st, err := r.Stat("/dir/passwd"); err != nil || st.Size != 6 {
		t.Errorf("through a link: %+v, %v", st, err)
	}
	for _, p := range []string{"/none", "/none/x", outside + "/secret"} {
		if _, err := r.Stat(p); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if _, err := r.Stat("/etc/passwd/"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file with a slash: %v", err)
	}
	if _, err := r.Stat("/loop"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
}

func TestPack(t *testing.T) {
	dir := tree(t, map[string]string{"d/a": "1", "d/sub/b": "2", "d/l": "->a", "d/empty/": "", "to": "->d"})
	if err := os.Link(filepath.Join(dir, "d/a"), filepath.Join(dir, "d/z")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "d/pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := container(t, dir)
	below := func(name string) []string {
		out := []string{name + "/", name + "/a=1", name + "/empty/", name + "/l->a", name + "/pipe", name + "/sub/", name + "/sub/b=2", name + "/z->" + name + "/a"}
		return out
	}
	for _, c := range []struct {
		path, name string
		want       []string
	}{
		{"/d", "d", below("d")}, {"/d/.", ".", below(".")}, {"/to/", "to", below("to")}, {"/to", "to", []string{"to->d"}},
		{"/d/a", "other", []string{"other=1"}},
		{"/d/sub", "", []string{"/", "/b=2"}},
	} {
		var b bytes.Buffer
		n, err := r.Pack(t.Context(), &b, c.path, c.name)
		if got := names(t, b.Bytes()); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s as %q: %q, %v; want %q", c.path, c.name, got, err, c.want)
		}
		if c.path == "/d" && n != 2 {
			t.Errorf("%d bytes of content, want 2", n)
		}
	}
	if _, err := r.Pack(t.Context(), &bytes.Buffer{}, "/none", "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Pack(ctx, &bytes.Buffer{}, "/d", "d"); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
}

func TestUnpack(t *testing.T) {
	dir := tree(t, map[string]string{"data/old": "old", "data/keep/x": "x", "to": "->/data", "data/lnk": "->keep"})
	r := container(t, dir)
	in := stream(t, folder("./"), file("old", "new"), file("a/b/c", "deep"), folder("keep/"), file("keep/y", "y"),
		link("s", "/nowhere"), hard("h", "old"), file("lnk/through", "t"), tar.Header{Typeflag: tar.TypeFifo, Name: "p"})
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(in)
	z.Close()
	// A file "bz", packed by bzip2.
	const bzipped = "\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x76\x3e\xcc\xa4\x00\x00\x6d\x5b\x80\xc9\x80\x40\x00\x5d\x80\x00\x01\x70\x08\x9e\x10\x08\x08\x20\x00\x54\x42\x68\x0d\x00\x1a\x34\x12\x45\x03\x4d\x3d\x21\xa3\x11\xf6\x36\x1d\x08\x2b\x98\x21\x13\x6f\x62\x44\x71\xbe\xa8\x10\xc0\xc4\x38\x9d\x84\x74\xe8\x0a\xd7\xc4\xc9\xcf\x36\x07\x4d\x15\x15\x7c\xa6\x22\x20\x1f\x17\x72\x45\x38\x50\x90\x76\x3e\xcc\xa4"
	if _, err := r.Unpack(t.Context(), strings.NewReader(bzipped), "/data", UnpackOptions{}); err != nil {
		t.Error(err)
	} else if b, err := os.ReadFile(filepath.Join(dir, "data/bz")); err != nil || string(b) != "ok" {
		t.Errorf("%q, %v", b, err)
	}
	for _, b := range [][]byte{in, packed.Bytes()} {
		if _, err := r.Unpack(t.Context(), bytes.NewReader(b), "/to", UnpackOptions{KeepOwners: os.Geteuid() == 0}); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"data/old": "new", "data/a/b/c": "deep", "data/keep/x": "x", "data/keep/y": "y", "data/h": "new", "data/keep/through": "t"} {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		if to, _ := os.Readlink(filepath.Join(dir, "data/s")); to != "/nowhere" {
			t.Errorf("link to %q", to)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	dir := tree(t, map[string]string{"d/folder/x": "x", "d/file": "f", "plain": "p"})
	r := container(t, dir)
	for _, c := range []struct {
		dir  string
		in   []byte
		want string
	}{
		{"/d", stream(t, file("../out", "x")), `"../out" is outside of "/d"`},
		{"/d", stream(t, file("a/../../out", "x")), `"a/../../out" is outside of "/d"`},
		{"/d", stream(t, file("ok", "x"), hard("h", "../../plain")), `"../../plain" is outside of "/d"`},
		{"/d", stream(t, file("folder", "x")), `cannot overwrite directory "/d/folder" with non-directory "/d"`},
		{"/d", stream(t, folder("file")), `cannot overwrite non-directory "/d/file" with directory "/d"`},
		{"/plain", stream(t, file("x", "x")), "extraction point is not a directory"},
		{"/none", stream(t, file("x", "x")), "open /none: no such file or directory"},
		{"/d", stream(t, hard("h", "none")), "create /d/h: no such file or directory"},
		{"/d", []byte("junk"), "unexpected EOF"},
		{"/d", []byte("\xfd7zXZ\x00..."), "packed with xz"},
		{"/d", []byte("\x28\xb5\x2f\xfd..."), "packed with zstd"},
		{"/d", stream(t, file("cut", strings.Repeat("x", 2000)))[:1024], "unexpected EOF"},
	} {
		_, err := r.Unpack(t.Context(), bytes.NewReader(c.in), c.dir, UnpackOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.dir, err, c.want)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("there is something new: %v", left)
	}
}

// TestUnpackHere: on our side no link is followed, and nothing of the stream
// gives anybody rights.
func TestUnpackHere(t *testing.T) {
	outside := tree(t, map[string]string{"secret": "host"})
	dir := tree(t, map[string]string{"old": "->" + outside})
	r, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, in := range [][]byte{
		stream(t, link("evil", outside), file("evil/secret", "changed")),
		stream(t, file("old/secret", "changed")),
		stream(t, folder("old/")),
		stream(t, hard("h", "old/secret")),
		stream(t, file("evil/new", "x")),
	} {
		if _, err := r.Unpack(t.Context(), bytes.NewReader(in), ".", UnpackOptions{Local: true}); err == nil {
			t.Errorf("extracted: %q", names(t, in))
		}
	}
	if b, _ := os.ReadFile(filepath.Join(outside, "secret")); string(b) != "host" {
		t.Errorf("outside: %q", b)
	}
	suid := file("suid", "program")
	suid.Mode = 0o6755
	suid.PAXRecords = map[string]string{xattrRecord + capability: "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	node := tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Devmajor: 8}
	u, err := r.Unpack(t.Context(), bytes.NewReader(stream(t, suid, node)), ".", UnpackOptions{Local: true})
	if err != nil || u.Devices != 1 || u.Bytes != 7 {
		t.Errorf("%+v, %v", u, err)
	}
	fi, err := os.Stat(filepath.Join(dir, "suid"))
	if err != nil || fi.Mode() != 0o755 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if n, err := unix.Getxattr(filepath.Join(dir, "suid"), capability, nil); err == nil {
		t.Errorf("it has capabilities (%d bytes)", n)
	}
	if _, err := os.Lstat(filepath.Join(dir, "disk")); err == nil {
		t.Error("a device node came out")
	}
}

// TestRoundTrip: what goes out and in again is the same.
func TestRoundTrip(t *testing.T) {
	src := tree(t, map[string]string{"t/a": "1", "t/sub/b": "22", "t/l": "->a"})
	if err := unix.Setxattr(filepath.Join(src, "t/a"), "user.note", []byte("kept"), 0); err != nil && err != unix.EOPNOTSUPP {
		t.Fatal(err)
	}
	os.Chmod(filepath.Join(src, "t/sub"), 0o711|fs.ModeSticky)
	os.Chmod(filepath.Join(src, "t/a"), 0o400)
	from, err := LocalSource(filepath.Join(src, "t"), false)
	if err != nil {
		t.Fatal(err)
	}
	var once, twice bytes.Buffer
	if _, err := PackLocal(t.Context(), &once, from, from.Name); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := container(t, dir)
	if _, err := r.Unpack(t.Context(), bytes.NewReader(once.Bytes()), "/", UnpackOptions{KeepOwners: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Pack(t.Context(), &twice, "/t", "t"); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(once.Bytes(), twice.Bytes()) {
		t.Errorf("%q became %q", names(t, once.Bytes()), names(t, twice.Bytes()))
	}
}
