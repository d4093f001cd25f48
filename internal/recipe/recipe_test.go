package recipe

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes a recipe and the folder it belongs to.
func write(t *testing.T, do func(w *Writer)) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, Tree), 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := Create(dir, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abandon()
	do(w)
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestThereAndBack: bytes, runs of zeros and files come again in their order,
// also of files whose place others have taken.
func TestThereAndBack(t *testing.T) {
	zeros := strings.Repeat("\x00", 1000)
	put := func(dir, name, content string) {
		if err := os.WriteFile(filepath.Join(dir, Tree, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var dir string
	dir = write(t, func(w *Writer) {
		dir := filepath.Dir(w.out.Name())
		w.Raw([]byte("head" + zeros))
		w.Content("a", 3)
		put(dir, "a", "one")
		w.Raw([]byte("middle"))
		tree, err := os.Open(filepath.Join(dir, Tree))
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Close()
		if err := w.MoveAway("a", int(tree.Fd()), "a"); err != nil {
			t.Fatal(err)
		}
		w.Content("a", 3)
		put(dir, "a", "two")
		w.Content("b", 0) // nothing to record
		w.Raw([]byte(zeros + "tail"))
	})
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if want := "head" + zeros + "one" + "middle" + "two" + zeros + "tail"; err != nil || string(got) != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

// TestNoRecipe: none, and one that is none, are told apart.
func TestNoRecipe(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, ErrNone) {
		t.Errorf("no recipe: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, File), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrDamaged) {
		t.Errorf("nonsense: %v", err)
	}
	var none *Writer
	none.Raw([]byte("x"))
	none.Content("a", 1)
	none.Abandon()
	if err := none.Finish(); err != nil {
		t.Error(err)
	}
}

// FuzzReader reads recipes that are not ours: they may fail, but not hang, not
// panic, and not leave their folder.
func FuzzReader(f *testing.F) {
	record := func(s string) []byte { return []byte(magic + s) }
	f.Add(record("r\x03\x00\x00\x00abc"), []byte(`{"v":1}`))
	f.Add(record("f\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00a"), []byte(`{"v":1,"moved":[{"n":1,"p":"a"}]}`))
	f.Add(record("f\x08\x00\x00\x00\x00\x00\x00\x00\x0c\x00\x00\x00../../victim"), []byte(`{"v":1,"moved":[{"n":0,"p":""}]}`))
	f.Fuzz(func(t *testing.T, recipe, moved []byte) {
		dir := t.TempDir()
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		w.Write(recipe)
		w.Close()
		for name, content := range map[string][]byte{"victim": []byte("precious"), "l/recipe": z.Bytes(), "l/tree/a": []byte("a"), "l/shadow/moved.json": moved} {
			p := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, content, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		r, err := Open(filepath.Join(dir, "l"))
		if err != nil {
			return
		}
		defer r.Close()
		got, _ := io.ReadAll(io.LimitReader(r, 1<<20))
		if bytes.Contains(got, []byte("precious")) && !bytes.Contains(recipe, []byte("precious")) {
			t.Fatal("a file outside was read")
		}
	})
}
