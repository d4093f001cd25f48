package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"berth/internal/recipe"
)

// checkRemade adds a stream as a layer and makes it again.
func checkRemade(t *testing.T, opt Options, stream []byte) Meta {
	t.Helper()
	set, _ := testSet(t)
	m, err := set.Add(t.Context(), bytes.NewReader(stream), opt)
	if err != nil {
		t.Fatal(err)
	}
	if m.TarSize != int64(len(stream)) {
		t.Errorf("size of the stream %d, want %d", m.TarSize, len(stream))
	}
	var got bytes.Buffer
	if err := set.Tar(t.Context(), m.DiffID, &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), stream) {
		t.Fatalf("the stream that was made again differs: %d bytes, want %d", got.Len(), len(stream))
	}
	return m
}

// difficultStreams have what makes streams hard to make again.
func difficultStreams(t testing.TB) map[string][]byte {
	big := strings.Repeat("0123456789abcdef", 40_000)
	whole := tarOf(t, reg("a", "1"), reg("big", big+"x"))
	return map[string][]byte{
		"nothing":               nil,
		"no end mark":           whole[:len(whole)-1024],
		"half an end":           whole[:len(whole)-512],
		"without padding":       whole[:len(whole)-1024-10],
		"trailing bytes":        append(bytes.Clone(whole), bytes.Repeat([]byte("behind"), 50_000)...),
		"replaced":              tarOf(t, reg("a", "1"), reg("d/a", "2"), reg("a", "33"), reg("d/a", "4"), reg("a", "555")),
		"replaced folder":       tarOf(t, reg("d/a", "1"), reg("d/e/b", "22"), reg("d/a", "3"), reg("d", "4"), reg("d/a", "5"), symlink("d", "x"), reg("d/a", "6")),
		"linked, then replaced": tarOf(t, reg("a", "1"), hardlink("b", "a"), reg("a", "2"), hardlink("c", "b"), reg("b", "3"), reg("c", "4")),
		"through links": tarOf(t, folder("usr/lib"), symlink("lib", "usr/lib"), reg("lib/x", "1"), symlink("abs", "/lib"), reg("abs/y", big),
			symlink("usr/lib", "/else"), reg("lib/x", "2")),
		"whiteouts":         tarOf(t, reg(".wh.a", "content"), reg("d/.wh..wh..opq", big), reg(".wh..wh.aufs", "x"), reg(".wh..wh.plnk/1.2", big), reg("a", "1")),
		"not UTF-8":         tarOf(t, reg("\xff\xfe", "1"), reg("\xff\xfe", "2"), reg("\xff/\xfe", "3"), reg("\xff", "4")),
		"no rights":         tarOf(t, with(reg("a", "1"), func(h *tar.Header) { h.Mode = 0 }), with(folder("d"), func(h *tar.Header) { h.Mode = 0 }), reg("d/a", "2")),
		"replaced by links": tarOf(t, reg("a", "1"), symlink("a", "b"), reg("b", "2"), hardlink("b", "a"), device(tar.TypeFifo, "b", 0, 0), reg("b", "4")),
		"devices":           tarOf(t, reg("dev/null", "1"), device(tar.TypeChar, "dev/null", 1, 3), reg("dev/null", "2")),
	}
}

func TestRecipe(t *testing.T) {
	for name, stream := range difficultStreams(t) {
		for mode, opt := range modes() {
			t.Run(name+"/"+mode, func(t *testing.T) { checkRemade(t, opt, stream) })
		}
		t.Run(name+"/by name", func(t *testing.T) { checkRemade(t, Options{rootless: true, byName: true}, stream) })
	}
}

// TestRecipeOfTools makes streams again that other programs have written.
func TestRecipeOfTools(t *testing.T) {
	src := tempDir(t)
	long := strings.Repeat("long-name-", 20)
	for name, content := range map[string]string{"a": "1", long: "2", "d/" + long: strings.Repeat("x", 100_000)} {
		p := filepath.Join(src, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(src, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(40) { // more than a header holds
		f.WriteAt([]byte("island"), i<<17)
	}
	err = errors.Join(f.Truncate(6<<20), f.Close(), os.Link(filepath.Join(src, "a"), filepath.Join(src, "link")), os.Symlink(long, filepath.Join(src, "sym")))
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--format=v7", "a", "link", "d/../a"}, {"--format=ustar", "a", "link"}, {"--format=gnu", "--sparse", "."}, {"--format=oldgnu", "--sparse", "."},
		{"--format=posix", "--sparse", "--sparse-version=0.0", "."}, {"--format=posix", "--sparse", "--sparse-version=0.1", "."},
		{"--format=posix", "--sparse", "--sparse-version=1.0", "--xattrs", "."}, {"--blocking-factor=300", "."},
	} {
		stream, err := exec.Command("tar", append([]string{"-C", src, "-c"}, args...)...).Output()
		if err != nil && len(stream) == 0 {
			t.Fatal(args, err)
		}
		checkRemade(t, Options{}, stream)
	}
	if _, err := exec.LookPath("bsdtar"); err == nil {
		for _, format := range []string{"pax", "ustar", "gnutar", "v7"} {
			stream, _ := exec.Command("bsdtar", "-C", src, "--format", format, "-c", ".").Output()
			checkRemade(t, Options{}, stream)
		}
	}
}

func TestRecipeOfChangedLayer(t *testing.T) {
	set, dir := testSet(t)
	stream := tarOf(t, reg("a", "12345"), reg("b", strings.Repeat("x", 600_000)))
	m, err := set.Add(t.Context(), bytes.NewReader(stream), Options{})
	if err != nil {
		t.Fatal(err)
	}
	again := func() (int, error) {
		var b bytes.Buffer
		err := set.Tar(t.Context(), m.DiffID, &b)
		return b.Len(), err
	}
	file := filepath.Join(set.Path(m.DiffID), "a")
	for content, want := range map[string]string{"54321": "have changed", "1": "shorter than it was"} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if n, err := again(); err == nil || !strings.Contains(err.Error(), want) || n == len(stream) {
			t.Errorf("%q: %v after %d bytes", content, err, n)
		}
	}
	if err := errors.Join(os.Remove(file), os.Symlink("/etc/passwd", file)); err != nil {
		t.Fatal(err)
	}
	if _, err := again(); err == nil || !strings.Contains(err.Error(), "cannot open its file a: too many levels") {
		t.Errorf("a link in the place of a file: %v", err)
	}
	record := filepath.Join(filepath.Dir(set.Path(m.DiffID)), recipe.File)
	if info, err := os.Stat(record); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(record, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := again(); !errors.Is(err, recipe.ErrDamaged) {
		t.Errorf("a damaged recipe: %v", err)
	}
	os.Remove(record)
	if _, err := again(); !errors.Is(err, recipe.ErrNone) {
		t.Errorf("no recipe: %v", err)
	}
	if err := set.Tar(t.Context(), "sha256:"+strings.Repeat("0", 64), io.Discard); err == nil {
		t.Error("a layer that is not there is packed")
	}
	checkEmpty(t, dir.Path("tmp"))
}

func TestExtra(t *testing.T) {
	set, _ := testSet(t)
	boom := errors.New("boom")
	stream := tarOf(t, reg("a", "1"))
	if _, err := set.Add(t.Context(), bytes.NewReader(stream), Options{Extra: func(string) error { return boom }}); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	m, err := set.Add(t.Context(), bytes.NewReader(stream), Options{Extra: func(folder string) error {
		return os.WriteFile(filepath.Join(folder, "index"), []byte("i"), 0o600)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(filepath.Dir(set.Path(m.DiffID)), "index")); string(b) != "i" {
		t.Fatal(err)
	}
}

// pieces hands a stream out in buffers and checks that all come back.
type pieces struct {
	io.Reader
	rest []byte
	size int
	out  chan struct{} // as many as may be out at once
}

func (p *pieces) NextOwned() ([]byte, func(), error) {
	p.out <- struct{}{}
	n := min(p.size, len(p.rest))
	b := bytes.Clone(p.rest[:n])
	p.rest = p.rest[n:]
	err := error(nil)
	if len(p.rest) == 0 {
		err = io.EOF
	}
	return b, func() {
		for i := range b {
			b[i] = 0xee // whoever still reads it shall notice
		}
		<-p.out
	}, err
}

func TestPieces(t *testing.T) {
	var entries []tar.Header
	for i := range 300 {
		entries = append(entries, reg(strings.Repeat("d/", i%7)+string(rune('a'+i)), strings.Repeat(string(rune('a'+i%26)), i*i)))
	}
	stream := tarOf(t, entries...)
	for _, size := range []int{100, 512, 7_000, 64 << 10, 1 << 20} {
		set, _ := testSet(t)
		p := &pieces{rest: stream, size: size, out: make(chan struct{}, 3)}
		m, err := set.Add(t.Context(), p, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.out) > 0 {
			t.Errorf("pieces of %d bytes: %d did not come back", size, len(p.out))
		}
		var got bytes.Buffer
		if err := set.Tar(t.Context(), m.DiffID, &got); err != nil || !bytes.Equal(got.Bytes(), stream) {
			t.Errorf("pieces of %d bytes: %v", size, err)
		}
		// A stream that is refused in the middle gives its pieces back, too.
		p = &pieces{rest: append(tarOf(t, reg("../x", "y")), stream...), size: size, out: make(chan struct{}, 3)}
		if _, err := set.Add(t.Context(), p, Options{}); err == nil {
			t.Error("a hostile stream is accepted")
		}
		if len(p.out) > 0 {
			t.Errorf("refused, pieces of %d bytes: %d did not come back", size, len(p.out))
		}
	}
}

// FuzzRecipe: whatever is unpacked can be packed again, byte for byte.
func FuzzRecipe(f *testing.F) {
	for _, stream := range difficultStreams(f) {
		if len(stream) < 100_000 {
			f.Add(stream)
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		set, _ := testSet(t)
		m, err := set.Add(t.Context(), bytes.NewReader(stream), Options{MaxEntries: 2000})
		if err != nil {
			return
		}
		var got bytes.Buffer
		if err := set.Tar(t.Context(), m.DiffID, &got); err != nil || !bytes.Equal(got.Bytes(), stream) {
			t.Fatalf("%v; %d bytes of %d", err, got.Len(), len(stream))
		}
	})
}
