package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/state"
)

func TestUnpackKeepsAttributes(t *testing.T) {
	owned := func(uid, gid int) func(*tar.Header) {
		return func(h *tar.Header) { h.Uid, h.Gid = uid, gid }
	}
	mode := func(m int64) func(*tar.Header) { return func(h *tar.Header) { h.Mode = m } }
	entries := []tar.Header{
		with(folder("d"), mode(0o3775)),
		with(folder("closed"), mode(0o000)),
		reg("closed/in", "x"),
		with(reg("d/owned", "abc"), owned(1000, 42)),
		with(reg("d/suid", "abc"), func(h *tar.Header) { h.Mode = 0o6755; h.Uid = 7 }),
		with(reg("d/secret", "s"), mode(0)),
		with(reg("d/open", "s"), mode(0o666)),
		with(reg("d/caps", "c"), func(h *tar.Header) {
			h.PAXRecords = map[string]string{
				xattrRecord + "user.mime":            "text/plain",
				xattrRecord + "user.overlay.opaque":  "y",
				xattrRecord + "trusted.overlay.foo":  "y",
				xattrRecord + "security.selinux":     "label",
				xattrRecord + "security.capability":  "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
				xattrRecord + "system.posix_acl_def": "no",
			}
		}),
		with(symlink("d/link", "/nowhere"), owned(3, 4)),
		hardlink("d/again", "d/owned"),
		reg("big", strings.Repeat("0123456789abcdef", 20_000)),
		with(device(tar.TypeFifo, "d/pipe", 0, 0), mode(0o640)),
		with(reg("implied/by/name", "x"), owned(0, 5)),
	}
	for name, opt := range modes() {
		t.Run(name, func(t *testing.T) {
			dir, r := mustUnpack(t, opt, entries...)
			root := name == "root"
			stat := func(p string) *syscall.Stat_t {
				t.Helper()
				info, err := os.Lstat(filepath.Join(dir, p))
				if err != nil {
					t.Fatal(err)
				}
				return info.Sys().(*syscall.Stat_t)
			}
			for _, c := range []struct {
				path               string
				mode, rootlessMode uint32
				uid, gid           uint32
			}{
				{"d", 0o3775, 0o3775, 0, 0},
				{"closed", 0, 0o500, 0, 0},
				{"d/owned", 0o644, 0o644, 1000, 42},
				{"d/again", 0o644, 0o644, 1000, 42},
				{"d/suid", 0o6755, 0o6755, 7, 0},
				{"d/secret", 0, 0o400, 0, 0},
				{"d/open", 0o666, 0o666, 0, 0},
				{"d/caps", 0o644, 0o644, 0, 0},
				{"d/link", 0o777, 0o777, 3, 4},
				{"big", 0o644, 0o644, 0, 0},
				{"d/pipe", 0o640, 0o640, 0, 0},
				{"implied/by/name", 0o644, 0o644, 0, 5},
			} {
				st := stat(c.path)
				want := c.mode
				uid, gid := c.uid, c.gid
				if !root {
					want, uid, gid = c.rootlessMode, uint32(os.Getuid()), uint32(os.Getgid())
				}
				if got := uint32(st.Mode) & 0o7777; got != want {
					t.Errorf("%s: mode %o, want %o", c.path, got, want)
				}
				if st.Uid != uid || st.Gid != gid {
					t.Errorf("%s: owner %d:%d, want %d:%d", c.path, st.Uid, st.Gid, uid, gid)
				}
				if got := time.Unix(st.Mtim.Sec, st.Mtim.Nsec); !got.Equal(when) {
					t.Errorf("%s: time %v, want %v", c.path, got, when)
				}
				o, recorded := r.Owners[c.path]
				if c.path == "d/again" {
					continue // one more name of d/owned
				}
				if root && c.path != "d/caps" && recorded {
					t.Errorf("%s: record %+v although root keeps all in the tree", c.path, o)
				}
				if !root && (o.UID != c.uid || o.GID != c.gid) {
					t.Errorf("%s: recorded owner %d:%d, want %d:%d", c.path, o.UID, o.GID, c.uid, c.gid)
				}
				if !root && want != c.mode && o.Mode&0o7777 != c.mode {
					t.Errorf("%s: recorded mode %o, want %o", c.path, o.Mode, c.mode)
				}
			}
			if a, b := stat("d/owned"), stat("d/again"); a.Ino != b.Ino {
				t.Error("a hard link is another file")
			}
			checkXattrs(t, filepath.Join(dir, "d/caps"), r, root)
			if st := stat("implied/by"); st.Mode&0o7777 != 0o755 {
				t.Errorf("implied folder has mode %o", st.Mode)
			}
			if r.Size != 3+3+1+1+1+1+320_000+1 || r.Files != int64(len(entries)) {
				t.Errorf("size %d, files %d of %d", r.Size, r.Files, len(entries))
			}
			if r.Rootless == root {
				t.Error("rootless is wrong")
			}
		})
	}
}

func checkXattrs(t *testing.T, path string, r Result, root bool) {
	t.Helper()
	b := make([]byte, 1000)
	n, err := unix.Llistxattr(path, b)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimRight(string(b[:n]), "\x00"), "\x00")
	want := 1
	if root {
		want = 2
	}
	if len(got) != want {
		t.Errorf("extended attributes %q, want %d", got, want)
	}
	if !root && len(r.Owners["d/caps"].Xattrs["security.capability"]) != 20 {
		t.Errorf("the capability is not recorded: %+v", r.Owners["d/caps"])
	}
}

func TestUnpackDevices(t *testing.T) {
	entries := []tar.Header{
		folder("dev"),
		with(device(tar.TypeChar, "dev/null", 1, 3), func(h *tar.Header) { h.Mode = 0o666; h.Gid = 6 }),
		device(tar.TypeBlock, "dev/loop0", 7, 0),
		device(tar.TypeChar, "dev/overlay-whiteout", 0, 0),
	}
	for name, opt := range modes() {
		t.Run(name, func(t *testing.T) {
			dir, r := mustUnpack(t, opt, entries...)
			want := map[string]string{"dev": "dir", "dev/overlay-whiteout": "whiteout"}
			if name == "root" {
				want["dev/null"], want["dev/loop0"] = "device 1:3", "device 7:0"
			}
			checkTree(t, describe(t, dir), want)
			if name == "root" {
				return
			}
			if o := r.Owners["dev/null"]; o.Kind != "c" || o.Major != 1 || o.Minor != 3 || o.GID != 6 || o.Mode&0o7777 != 0o666 {
				t.Errorf("record of dev/null: %+v", o)
			}
			if o := r.Owners["dev/loop0"]; o.Kind != "b" || o.Major != 7 {
				t.Errorf("record of dev/loop0: %+v", o)
			}
		})
	}
}

// What the stream says later wins, except that a whiteout only speaks of the
// layers below.
func TestUnpackConflicts(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries []tar.Header
		want    map[string]string
	}{
		{"file twice", []tar.Header{reg("a", "1"), reg("a", "2")}, map[string]string{"a": "file 2"}},
		{"file then folder", []tar.Header{reg("a", "1"), folder("a/"), reg("a/b", "2")}, map[string]string{"a": "dir", "a/b": "file 2"}},
		{"file then implied folder", []tar.Header{reg("a", "1"), reg("a/b", "2")}, map[string]string{"a": "dir", "a/b": "file 2"}},
		{"folder then file", []tar.Header{folder("a"), reg("a/b", "1"), reg("a", "2")}, map[string]string{"a": "file 2"}},
		{"folder twice", []tar.Header{folder("a"), reg("a/b", "1"), folder("a")}, map[string]string{"a": "dir", "a/b": "file 1"}},
		{"link then folder", []tar.Header{folder("t"), symlink("a", "t"), folder("a"), reg("a/b", "1")}, map[string]string{"t": "dir", "a": "dir", "a/b": "file 1"}},
		{"folder then link", []tar.Header{folder("t"), folder("a"), reg("a/b", "1"), symlink("a", "t"), reg("a/c", "2")}, map[string]string{"t": "dir", "t/c": "file 2", "a": "-> t"}},
		{"through a link", []tar.Header{folder("usr/lib"), symlink("lib", "usr/lib"), reg("lib/x", "1")}, map[string]string{"usr": "dir", "usr/lib": "dir", "usr/lib/x": "file 1", "lib": "-> usr/lib"}},
		{"file then pipe", []tar.Header{reg("a", "1"), device(tar.TypeFifo, "a", 0, 0)}, map[string]string{"a": "pipe"}},
		{"link to itself", []tar.Header{reg("a", "1"), hardlink("a", "a")}, map[string]string{"a": "file 1"}},
		{"link over a file", []tar.Header{reg("a", "1"), reg("b", "2"), hardlink("b", "a")}, map[string]string{"a": "file 1", "b": "file 1"}},
		{"link to a link", []tar.Header{symlink("a", "/etc/passwd"), hardlink("b", "a")}, map[string]string{"a": "-> /etc/passwd", "b": "-> /etc/passwd"}},
		{"odd names", []tar.Header{reg("./a", "1"), reg("/b", "2"), reg("x/../c", "3"), reg("d//e", "4"), folder("./"), reg("x/./f", "5")}, map[string]string{"a": "file 1", "b": "file 2", "c": "file 3", "d": "dir", "d/e": "file 4", "x": "dir", "x/f": "file 5"}},
		{"not UTF-8", []tar.Header{reg("\xff\xfe", "1")}, map[string]string{"\xff\xfe": "file 1"}},
		{"whiteout", []tar.Header{reg("a/.wh.b", "")}, map[string]string{"a": "dir", "a/b": "whiteout"}},
		{"whiteout at the top", []tar.Header{reg(".wh.b", "")}, map[string]string{"b": "whiteout"}},
		{"whiteout twice", []tar.Header{reg(".wh.b", ""), reg(".wh.b", "")}, map[string]string{"b": "whiteout"}},
		{"whiteout then file", []tar.Header{reg(".wh.b", ""), reg("b", "1")}, map[string]string{"b": "file 1"}},
		{"file then whiteout", []tar.Header{reg("b", "1"), reg(".wh.b", "")}, map[string]string{"b": "file 1"}},
		{"whiteout then folder", []tar.Header{reg(".wh.b", ""), folder("b")}, map[string]string{"b": "dir opaque=y"}},
		{"folder then whiteout", []tar.Header{folder("b"), reg("b/c", "1"), reg(".wh.b", "")}, map[string]string{"b": "dir opaque=y", "b/c": "file 1"}},
		{"whiteout then implied folder", []tar.Header{reg(".wh.b", ""), reg("b/c", "1")}, map[string]string{"b": "dir opaque=y", "b/c": "file 1"}},
		{"whiteout, file, folder", []tar.Header{reg(".wh.b", ""), reg("b", "1"), folder("b")}, map[string]string{"b": "dir opaque=y"}},
		{"file, whiteout, folder", []tar.Header{reg("b", "1"), reg(".wh.b", ""), folder("b")}, map[string]string{"b": "dir opaque=y"}},
		{"opaque folder, file, folder", []tar.Header{reg("b/.wh..wh..opq", ""), reg("b", "1"), folder("b")}, map[string]string{"b": "dir opaque=y"}},
		{"opaque before", []tar.Header{reg("d/.wh..wh..opq", ""), folder("d"), reg("d/x", "1")}, map[string]string{"d": "dir opaque=y", "d/x": "file 1"}},
		{"opaque after", []tar.Header{folder("d"), reg("d/x", "1"), reg("d/.wh..wh..opq", "")}, map[string]string{"d": "dir opaque=y", "d/x": "file 1"}},
		{"aufs", []tar.Header{reg(".wh..wh.aufs", ""), folder(".wh..wh.plnk"), reg(".wh..wh.plnk/1.2", "x"), reg("a", "1")}, map[string]string{"a": "file 1"}},
	} {
		for name, opt := range modes() {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				dir, _ := mustUnpack(t, opt, c.entries...)
				checkTree(t, describe(t, dir), c.want)
			})
		}
	}
}

func TestUnpackOpaqueTop(t *testing.T) {
	_, r := mustUnpack(t, Options{}, reg(".wh..wh..opq", ""), reg("a", "1"))
	if !r.Opaque {
		t.Error("an opaque top is not reported")
	}
}

func TestUnpackDigest(t *testing.T) {
	stream := append(tarOf(t, reg("a", "1")), bytes.Repeat([]byte("behind the end mark"), 40_000)...)
	sum := sha256.Sum256(stream)
	want := "sha256:" + hex.EncodeToString(sum[:])
	r, err := Unpack(t.Context(), tempDir(t), bytes.NewReader(stream), Options{DiffID: want})
	if err != nil || r.DiffID != want {
		t.Fatalf("%v, %s", err, r.DiffID)
	}
	_, err = Unpack(t.Context(), tempDir(t), bytes.NewReader(stream[:len(stream)-1]), Options{DiffID: want})
	var de *DigestError
	if !errors.As(err, &de) || de.Want != want || de.Got == want {
		t.Fatalf("a changed stream: %v", err)
	}
}

func TestUnpackEmptyStream(t *testing.T) {
	for _, stream := range [][]byte{nil, make([]byte, 1024)} {
		r, err := Unpack(t.Context(), tempDir(t), bytes.NewReader(stream), Options{})
		if err != nil || r.Files != 0 {
			t.Errorf("%d bytes: %v, %+v", len(stream), err, r)
		}
	}
}

func TestUnpackBrokenStream(t *testing.T) {
	full := tarOf(t, reg("small", "1"), reg("big", strings.Repeat("x", 300_000)), reg("last", "2"))
	boom := errors.New("boom")
	for _, n := range []int{100, 1100, 2100, 150_000} {
		_, err := Unpack(t.Context(), tempDir(t), bytes.NewReader(full[:n]), Options{})
		if err == nil || err.Error() != "cannot read layer: the stream ends too early" {
			t.Errorf("cut at %d: %v", n, err)
		}
		_, err = Unpack(t.Context(), tempDir(t), io.MultiReader(bytes.NewReader(full[:n]), failing{boom}), Options{})
		if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "cannot read layer: ") {
			t.Errorf("failing at %d: %v", n, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestUnpackCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	full := tarOf(t, reg("small", "1"), reg("big", strings.Repeat("x", 3_000_000)))
	r := io.MultiReader(bytes.NewReader(full[:1_000_000]), cancelling(cancel), bytes.NewReader(full[1_000_000:]))
	if _, err := Unpack(ctx, tempDir(t), r, Options{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

type cancelling context.CancelFunc

func (c cancelling) Read([]byte) (int, error) { c(); return 0, io.EOF }

func TestUnpackManyFolders(t *testing.T) {
	// More folders than stay open, visited in turns, some of them deep.
	var entries []tar.Header
	want := map[string]string{}
	for round := range 3 {
		for i := range keepOpen + 20 {
			dir := "d" + string(rune('A'+i))
			if i%7 == 0 {
				dir = strings.Repeat("n/", 60) + dir
			}
			name := dir + "/f" + string(rune('0'+round))
			entries = append(entries, reg(name, name))
			want[name] = "file " + name
		}
	}
	dir, _ := mustUnpack(t, Options{}, entries...)
	got := describe(t, dir)
	for name, content := range want {
		if got[name] != content {
			t.Fatalf("%s: %q", name, got[name])
		}
	}
	// A hard link between two of them, neither open.
	entries = append(entries, hardlink("n/"+"link", strings.Repeat("n/", 60)+"dA/f0"))
	if dir, _ = mustUnpack(t, Options{}, entries...); describe(t, dir)["n/link"] == "" {
		t.Fatal("no link")
	}
}

// Files with holes, as GNU tar writes them.
func TestUnpackSparse(t *testing.T) {
	src := tempDir(t)
	f, err := os.Create(filepath.Join(src, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for at, text := range map[int64]string{0: "begin", 3 << 20: "middle", 9<<20 - 3: "end"} {
		if _, err := f.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(16 << 20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	want, err := os.ReadFile(filepath.Join(src, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"gnu", "posix"} {
		out, err := exec.Command("tar", "--sparse", "--format="+format, "-C", src, "-c", "sparse").Output()
		if err != nil {
			t.Fatal(err)
		}
		dir := tempDir(t)
		if _, err := Unpack(t.Context(), dir, bytes.NewReader(out), Options{}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "sparse"))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", format, len(got), err)
		}
		info, err := os.Stat(filepath.Join(dir, "sparse"))
		if err != nil {
			t.Fatal(err)
		}
		if n := info.Sys().(*syscall.Stat_t).Blocks * 512; n > 2<<20 {
			t.Errorf("%s: takes %d bytes", format, n)
		}
		huge := bytes.ReplaceAll(out, []byte("GNU.sparse.realsize=16777216"), []byte("GNU.sparse.realsize=99999999999999999"[:28]))
		Unpack(t.Context(), tempDir(t), bytes.NewReader(huge), Options{}) // must end
	}
	h := tar.Header{Typeflag: tar.TypeGNUSparse, Name: "x", Size: maxSparse + 1}
	u := &unpacker{}
	if err := u.makeFile(&node{}, "x", &h, &tarReader{sparse: tar.NewReader(nil)}); err == nil || !strings.Contains(err.Error(), "holes") {
		t.Errorf("a file of holes: %v", err)
	}
}

// TestDiskFull runs out of room in the middle.
func TestDiskFull(t *testing.T) {
	inNamespace(t, func(func([]string, string)) {
		base := tempDir(t)
		if err := unix.Mount("tmpfs", base, "tmpfs", 0, "size=1m"); err != nil {
			t.Error("cannot mount tmpfs:", err)
			return
		}
		defer unix.Unmount(base, unix.MNT_DETACH)
		dir, err := state.Open(filepath.Join(base, "root"))
		if err != nil {
			t.Error(err)
			return
		}
		small := reg("small", strings.Repeat("x", 50_000))
		for _, entries := range [][]tar.Header{
			{small, reg("large", strings.Repeat("x", 2_000_000))},
			{small, reg("s1", small.Uname), reg("s2", strings.Repeat("y", 60_000)), reg("large", strings.Repeat("x", 940_000)), reg("s3", small.Uname)},
		} {
			_, err := Open(dir).Add(t.Context(), bytes.NewReader(tarOf(t, entries...)), Options{})
			if !errors.Is(err, unix.ENOSPC) {
				t.Errorf("got %v", err)
			}
			checkEmpty(t, dir.Path("tmp"))
			checkEmpty(t, dir.Path("layers"))
		}
	})
}

// TestDeviceLeftOut: what an account cannot make can be replaced and linked to
// like what it can.
func TestDeviceLeftOut(t *testing.T) {
	null := func(name string) tar.Header {
		return with(device(tar.TypeChar, name, 1, 3), func(h *tar.Header) { h.Gid = 6 })
	}
	dir, r := mustUnpack(t, Options{rootless: true}, null("a"), hardlink("b", "a"), null("c"), reg("c", "1"), reg("d", "1"), null("d"), null("e"), folder("e"))
	checkTree(t, describe(t, dir), map[string]string{"c": "file 1", "e": "dir"})
	for _, name := range []string{"a", "b", "d"} {
		if o := r.Owners[name]; o.Kind != "c" || o.GID != 6 || o.Minor != 3 {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if len(r.Owners) != 3 {
		t.Errorf("%+v", r.Owners)
	}
}
