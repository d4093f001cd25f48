package layer

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCopyOut(t *testing.T) {
	data := with(folder("data"), func(h *tar.Header) { h.Mode = 0o2750; h.Uid, h.Gid = 5, 6 })
	trees := stack(t, Options{},
		[]tar.Header{
			data,
			with(reg("data/f", "old"), func(h *tar.Header) { h.Uid = 7 }),
			reg("data/gone", "x"), hardlink("data/same", "data/f"), symlink("data/l", "/etc/passwd"),
			with(reg("data/s", "suid"), func(h *tar.Header) {
				h.Mode = 0o4755
				h.PAXRecords = map[string]string{xattrRecord + "user.mime": "text/plain"}
			}),
			device(tar.TypeFifo, "data/p", 0, 0), device(tar.TypeChar, "data/null", 1, 3),
			reg("data/big", strings.Repeat("0123456789", 100_000)), symlink("there", "data"),
		},
		[]tar.Header{data, reg("data/.wh.gone", ""), reg("data/sub/new", "n"), hardlink("data/sub/new2", "data/sub/new")},
	)
	dst := tempDir(t)
	v := mustView(t, "", trees)
	if err := v.CopyOut("/there", dst); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"f": "file old", "same": "file old", "l": "-> /etc/passwd", "s": "file suid", "p": "pipe", "sub": "dir",
		"sub/new": "file n", "sub/new2": "file n", "big": "file " + strings.Repeat("0123456789", 100_000),
	}
	if os.Geteuid() == 0 {
		want["null"] = "device 1:3"
	}
	checkTree(t, describe(t, dst), want)
	stat := func(p string) *syscall.Stat_t {
		info, err := os.Lstat(filepath.Join(dst, p))
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t)
	}
	for p, mode := range map[string]uint32{".": 0o2750, "f": 0o644, "s": 0o4755} {
		if got := stat(p).Mode & 0o7777; got != mode {
			t.Errorf("%s has mode %o, want %o", p, got, mode)
		}
	}
	if os.Geteuid() == 0 && (stat(".").Uid != 5 || stat(".").Gid != 6 || stat("f").Uid != 7) {
		t.Error("owners are lost")
	}
	if stat("f").Ino != stat("same").Ino || stat("sub/new").Ino != stat("sub/new2").Ino || stat("f").Ino == stat("sub/new").Ino {
		t.Error("hard links are lost")
	}
	if st := stat("f"); st.Mtim.Nsec != int64(when.Nanosecond()) || st.Mtim.Sec != when.Unix() {
		t.Error("times are lost")
	}
	b := make([]byte, 20)
	if n, err := unix.Lgetxattr(filepath.Join(dst, "s"), "user.mime", b); err != nil || string(b[:n]) != "text/plain" {
		t.Errorf("attribute: %q, %v", b, err)
	}
	if err := v.CopyOut("/data/f", tempDir(t)); err == nil {
		t.Error("a file is copied as a folder")
	}
	if err := v.CopyOut("/nothing", tempDir(t)); !os.IsNotExist(err) {
		t.Errorf("a missing folder: %v", err)
	}
	if err := v.CopyOut("/data", dst); err == nil {
		t.Error("files are overwritten")
	}
	checkNoLeak(t)
}

func TestCopyKeepsHoles(t *testing.T) {
	src := tempDir(t)
	f, err := os.Create(filepath.Join(src, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 5 << 20} {
		if _, err := f.WriteAt([]byte("data"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(20 << 20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	dst := tempDir(t)
	if err := mustView(t, "", []string{src}).Materialize(dst); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(filepath.Join(src, "sparse"))
	b, _ := os.ReadFile(filepath.Join(dst, "sparse"))
	if !bytes.Equal(a, b) {
		t.Fatal("the copy differs")
	}
	info, err := os.Stat(filepath.Join(dst, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if n := info.Sys().(*syscall.Stat_t).Blocks * 512; n > 1<<20 {
		t.Errorf("the copy takes %d bytes", n)
	}
}

func TestCopyByHand(t *testing.T) {
	dir := tempDir(t)
	want := bytes.Repeat([]byte("abc"), 300_000)
	if err := os.WriteFile(filepath.Join(dir, "a"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(dir, "b"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := copyByHand(int(in.Fd()), int(out.Fd()), 0, int64(len(want))+10); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "b")); !bytes.Equal(got, want) {
		t.Fatal("the copy differs")
	}
}
