package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// yard is a folder with a victim beside the place where a layer is unpacked.
type yard struct{ outer, victim, dst string }

func newYard(t testing.TB) yard {
	t.Helper()
	y := yard{outer: tempDir(t)}
	y.victim, y.dst = filepath.Join(y.outer, "victim"), filepath.Join(y.outer, "a", "b", "dst")
	for _, p := range []string{filepath.Join(y.victim, "sub"), y.dst} {
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"passwd", "sub/file"} {
		if err := os.WriteFile(filepath.Join(y.victim, p), []byte("precious"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return y
}

// snapshot describes all outside of dst, down to times and inodes.
func (y yard) snapshot(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(y.outer, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p == y.dst {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintln(&b, p, st.Mode, st.Uid, st.Gid, st.Size, st.Ino, st.Nlink, st.Mtim, st.Ctim)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHostile(t *testing.T) {
	deep := strings.Repeat("d/", 300)
	for _, c := range []struct {
		name    string
		entries func(y yard) []tar.Header
		err     string // part of the error; empty: it unpacks, harmlessly
		entry   string // the entry that the error names
	}{
		{"dotdot", func(y yard) []tar.Header { return []tar.Header{reg("../../../victim/new", "x")} }, "leads out of the layer", "../../../victim/new"},
		{"dotdot inside", func(y yard) []tar.Header { return []tar.Header{reg("x/../../y", "x")} }, "leads out of the layer", "x/../../y"},
		{"dotdot folder", func(y yard) []tar.Header { return []tar.Header{folder("..")} }, "leads out of the layer", ".."},
		{"absolute dotdot", func(y yard) []tar.Header { return []tar.Header{reg("/../x", "x")} }, "leads out of the layer", "/../x"},
		{"absolute name", func(y yard) []tar.Header { return []tar.Header{reg(y.victim+"/new", "x")} }, "", ""},
		{"absolute link, then file", func(y yard) []tar.Header {
			return []tar.Header{symlink("l", y.victim), reg("l/new", "x"), reg("l/passwd", "x"), folder("l/sub"), reg("l/sub/file", "x")}
		}, "", ""},
		{"relative link, then file", func(y yard) []tar.Header {
			return []tar.Header{symlink("l", "../../../victim"), reg("l/passwd", "x"), reg("l/sub/file", "x")}
		}, "", ""},
		{"chain of links", func(y yard) []tar.Header {
			return []tar.Header{symlink("a", "b"), symlink("b", "c/.."), symlink("c", "../../.."), reg("a/victim/passwd", "x")}
		}, "", ""},
		{"loop of links", func(y yard) []tar.Header {
			return []tar.Header{symlink("a", "b"), symlink("b", "a"), reg("a/x", "x")}
		}, "too many levels", "a/x"},
		{"exponential links", func(y yard) []tar.Header {
			e := []tar.Header{symlink("l0", "x/y")}
			for i := range 30 {
				l := fmt.Sprintf("l%d", i)
				e = append(e, symlink(fmt.Sprintf("l%d", i+1), l+"/../../"+l))
			}
			return append(e, reg("l30/x", "x"))
		}, "too many levels", "l30/x"},
		{"file over a link", func(y yard) []tar.Header {
			return []tar.Header{symlink("l", y.victim+"/passwd"), reg("l", "x")}
		}, "", ""},
		{"link over a file being written", func(y yard) []tar.Header {
			return []tar.Header{reg("l", "x"), symlink("l", y.victim+"/passwd"), reg("l", "y"), hardlink("l", "l")}
		}, "", ""},
		{"folder attributes through a link", func(y yard) []tar.Header {
			return []tar.Header{folder("d"), with(symlink("d", y.victim), func(h *tar.Header) { h.Uid = 1 })}
		}, "", ""},
		{"hard link outside", func(y yard) []tar.Header {
			return []tar.Header{hardlink("h", "../../../victim/passwd")}
		}, "leads out of the layer", "h"},
		{"hard link to an absolute name", func(y yard) []tar.Header {
			return []tar.Header{hardlink("h", y.victim+"/passwd")}
		}, "is not in this layer", "h"},
		{"hard link through a link", func(y yard) []tar.Header {
			return []tar.Header{symlink("l", y.victim), hardlink("h", "l/passwd")}
		}, "is not in this layer", "h"},
		{"hard link to a link, then write", func(y yard) []tar.Header {
			return []tar.Header{symlink("l", y.victim+"/passwd"), hardlink("h", "l"), reg("h", "x"), reg("l", "x")}
		}, "", ""},
		{"hard link to a link, then through it", func(y yard) []tar.Header {
			return []tar.Header{symlink("l", y.victim), hardlink("h", "l"), reg("h/passwd", "x")}
		}, "", ""},
		{"hard link to a folder", func(y yard) []tar.Header { return []tar.Header{folder("d"), hardlink("h", "d")} }, "is not in this layer", "h"},
		{"hard link to the top", func(y yard) []tar.Header { return []tar.Header{hardlink("h", ".")} }, "the top of a layer", "h"},
		{"hard link to a whiteout", func(y yard) []tar.Header { return []tar.Header{reg(".wh.w", ""), hardlink("h", "w")} }, "is not in this layer", "h"},
		{"hard link to nothing", func(y yard) []tar.Header { return []tar.Header{hardlink("h", "")} }, "no name", "h"},
		{"whiteout of dotdot", func(y yard) []tar.Header { return []tar.Header{reg(".wh...", "")} }, "whiteouts reserve", ".wh..."},
		{"whiteout of dot", func(y yard) []tar.Header { return []tar.Header{reg("d/.wh..", "")} }, "whiteouts reserve", "d/.wh.."},
		{"whiteout of nothing", func(y yard) []tar.Header { return []tar.Header{reg(".wh.", "")} }, "whiteouts reserve", ".wh."},
		{"below a whiteout", func(y yard) []tar.Header { return []tar.Header{reg(".wh.x/y", "")} }, "whiteouts reserve", ".wh.x/y"},
		{"whiteout through a link", func(y yard) []tar.Header {
			return []tar.Header{symlink("l", y.victim), reg("l/.wh.passwd", ""), reg("l/.wh..wh..opq", "")}
		}, "", ""},
		{"the top as a file", func(y yard) []tar.Header { return []tar.Header{reg(".", "x")} }, "must be a folder", "."},
		{"the top as a link", func(y yard) []tar.Header { return []tar.Header{symlink("./", y.victim), reg("passwd", "x")} }, "must be a folder", "./"},
		{"too deep", func(y yard) []tar.Header { return []tar.Header{reg(deep+"x", "x")} }, "folders deep", deep + "x"},
		{"too deep through links", func(y yard) []tar.Header {
			p := strings.Repeat("p/", 200)
			return []tar.Header{symlink(p+"l", p), reg(p+"l/x", "x")}
		}, "folders deep", strings.Repeat("p/", 200) + "l/x"},
		{"long path", func(y yard) []tar.Header { return []tar.Header{reg(strings.Repeat("abcdefg/", 600)+"x", "x")} }, "more than the kernel takes", ""},
		{"long name", func(y yard) []tar.Header { return []tar.Header{reg(strings.Repeat("n", 300), "x")} }, "file name too long", strings.Repeat("n", 300)},
		{"owner out of range", func(y yard) []tar.Header {
			return []tar.Header{with(reg("f", "x"), func(h *tar.Header) { h.Uid = 1<<32 - 1 })}
		}, "out of range", "f"},
		{"huge attribute", func(y yard) []tar.Header {
			return []tar.Header{with(reg("f", "x"), func(h *tar.Header) {
				h.PAXRecords = map[string]string{xattrRecord + "user.big": strings.Repeat("x", 70_000)}
			})}
		}, "more than the kernel takes", "f"},
		{"device number", func(y yard) []tar.Header { return []tar.Header{device(tar.TypeChar, "c", 1<<20, 0)} }, "out of range", "c"},
		{"unknown kind", func(y yard) []tar.Header { return []tar.Header{{Typeflag: 'Z', Name: "z", Size: 0}} }, "unknown kind", "z"},
	} {
		for name, opt := range modes() {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				y := newYard(t)
				before := y.snapshot(t)
				_, err := Unpack(t.Context(), y.dst, bytes.NewReader(tarOf(t, c.entries(y)...)), opt)
				if after := y.snapshot(t); after != before {
					t.Fatalf("outside was touched:\n%s\nbefore:\n%s", after, before)
				}
				if c.err == "" {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				var e *EntryError
				if !errors.As(err, &e) {
					t.Fatalf("got %v, want an error about an entry", err)
				}
				if !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "\n") || c.entry != "" && e.Name != c.entry {
					t.Fatalf("got %v, want %q about %q", err, c.err, c.entry)
				}
			})
		}
	}
}

// Names with a zero byte, which the tar package does not write.
func TestHostileNames(t *testing.T) {
	raw := tarOf(t, reg("abcdefgh", "x"))
	zero := bytes.Replace(raw, []byte("abcdefgh"), []byte("ab\x00d/../"), 1)
	y := newYard(t)
	before := y.snapshot(t)
	// Either the checksum, or the name cut at the zero: never outside.
	Unpack(t.Context(), y.dst, bytes.NewReader(zero), Options{})
	if y.snapshot(t) != before {
		t.Fatal("outside was touched")
	}
	if _, err := splitName("a\x00b", nil); err == nil {
		t.Error("a name with a zero byte is accepted")
	}
	if _, err := splitName("", nil); err == nil {
		t.Error("an empty name is accepted")
	}
}

func TestEntryBound(t *testing.T) {
	stream := tarOf(t, reg("a", ""), reg("b", ""), reg("c/d/e/f", ""), reg("g", ""))
	for _, c := range []struct {
		max int
		ok  bool
	}{{3, false}, {5, false}, {7, true}} {
		_, err := Unpack(t.Context(), tempDir(t), bytes.NewReader(stream), Options{MaxEntries: c.max})
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "too many entries") {
			t.Errorf("at most %d: %v", c.max, err)
		}
	}
}

// FuzzUnpack looks for streams that panic, hang or reach outside.
func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(f, reg("a", "1"), folder("d"), symlink("d/l", "/x"), hardlink("h", "a"), reg("d/l/y", "z")))
	f.Add(tarOf(f, reg(".wh.a", ""), reg("d/.wh..wh..opq", ""), folder("a"), reg("a", "x")))
	f.Add(tarOf(f, symlink("l", "../../victim"), reg("l/passwd", "x"), device(tar.TypeFifo, "p", 0, 0)))
	f.Add(tarOf(f, with(reg("x", "y"), func(h *tar.Header) { h.PAXRecords = map[string]string{xattrRecord + "user.a": "b"}; h.Uid = 99 })))
	f.Fuzz(func(t *testing.T, stream []byte) {
		y := newYard(t)
		before := y.snapshot(t)
		r, err := Unpack(t.Context(), y.dst, bytes.NewReader(stream), Options{MaxEntries: 2000})
		if y.snapshot(t) != before {
			t.Fatal("outside was touched")
		}
		if err == nil && r.DiffID == "" {
			t.Fatal("no digest")
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatalf("an error of several lines: %q", err)
		}
	})
}
