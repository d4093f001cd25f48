package logs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func openWriter(t *testing.T, dir string, o Options) *Writer {
	t.Helper()
	w, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// past reads what the log in dir holds.
func past(t *testing.T, dir string, o Options, tail int) string {
	t.Helper()
	var out bytes.Buffer
	r, err := OpenReader(dir, o, Query{Tail: tail, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Past(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// drivers are those that keep files.
func drivers() []string { return []string{JSONFile, Local} }

func TestJoinsPartialLines(t *testing.T) {
	for _, d := range drivers() {
		dir, o := t.TempDir(), Options{Driver: d}
		w := openWriter(t, dir, o)
		w.Write(Stdout, []byte("one\ntw"))
		w.Write(Stderr, []byte("err\n"))
		w.Write(Stdout, []byte("o\n"))
		w.Write(Stdout, []byte(strings.Repeat("x", maxLine+5)))
		w.Write(Stdout, []byte("prompt$ "))
		w.Close()
		want := "one\nerr\ntwo\n" + strings.Repeat("x", maxLine+5) + "prompt$ "
		if got := past(t, dir, o, -1); got != want {
			t.Errorf("%s: got %q", d, got)
		}
		if got := past(t, dir, o, 2); got != want[len("one\nerr\ntwo\n"):] {
			t.Errorf("%s: the last two pieces are %q", d, got)
		}
	}
}

// TestDockersBytes compares with what dockerd 28 writes for the same output.
func TestDockersBytes(t *testing.T) {
	e := entry{
		time: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC), stream: Stderr, attrs: `{"a":"b"}`,
		line: []byte("<a>&\"\\\t\x1b\x7f\r\xff\u2028é\n"),
	}
	want := `{"log":"\u003ca\u003e\u0026\"\\\u0009\u001b` + "\x7f" + `\r\ufffd\u2028é\n","stream":"stderr","attrs":{"a":"b"},"time":"2026-01-02T03:04:05.0000006Z"}` + "\n"
	if got := string(jsonFormat{}.add(nil, e)); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestRotates(t *testing.T) {
	for _, d := range drivers() {
		for _, compress := range []bool{false, true} {
			dir, o := t.TempDir(), Options{Driver: d, MaxSize: 300, MaxFiles: 3, Compress: compress}
			var all strings.Builder
			for i := range 60 {
				// Each line by a writer of its own: containers are started again.
				w := openWriter(t, dir, o)
				line := fmt.Sprintf("%d %s\n", i, strings.Repeat("y", i))
				w.Write(Stdout, []byte(line))
				all.WriteString(line)
				w.Close()
			}
			files, _ := filepath.Glob(filepath.Join(dir, o.file()+"*"))
			if len(files) != 3 {
				t.Fatalf("%s: %v, want three files", d, files)
			}
			for _, f := range files {
				if fi, _ := os.Stat(f); fi.Size() > 300 {
					t.Errorf("%s has %d bytes", f, fi.Size())
				}
				if old := filepath.Base(f) != o.file(); old && !compress && strings.HasSuffix(f, packed) {
					t.Errorf("%s is compressed", f)
				}
			}
			got := past(t, dir, o, -1)
			if !strings.HasSuffix(all.String(), got) || strings.Count(got, "\n") < 5 {
				t.Errorf("%s: %q is not the end of what was written", d, got)
			}
		}
	}
}

func TestOldFilesArePacked(t *testing.T) {
	dir, o := t.TempDir(), Options{Driver: Local, MaxSize: 4 << 10, MaxFiles: 4, Compress: true}
	w := openWriter(t, dir, o)
	for i := range 600 {
		w.Write(Stdout, []byte(fmt.Sprintf("line %d of many\n", i)))
	}
	w.to.(*files).packer.Wait()
	zipped, _ := filepath.Glob(filepath.Join(dir, "log.local.*"+packed))
	all, _ := filepath.Glob(filepath.Join(dir, "log.local.*"))
	if len(zipped) != 3 || len(all) != 3 {
		t.Errorf("%v", all)
	}
	w.Close()
	got := past(t, dir, o, -1)
	if lines := strings.Count(got, "\n"); lines < 350 || !strings.HasSuffix(got, "line 599 of many\n") {
		t.Errorf("%d lines: %.100q", lines, got)
	}
}

// A line that was cut off by a crash takes no other with it.
func TestHeals(t *testing.T) {
	for _, d := range drivers() {
		dir, o := t.TempDir(), Options{Driver: d, Container: Container{Attrs: map[string]string{"k": "v"}}}
		w := openWriter(t, dir, o)
		w.Write(Stdout, []byte("one\ntwo\n"))
		w.Close()
		name := filepath.Join(dir, o.file())
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, fi.Size()-3); err != nil {
			t.Fatal(err)
		}
		if got := past(t, dir, o, -1); got != "one\n" {
			t.Errorf("%s: %q is left", d, got)
		}
		w = openWriter(t, dir, o)
		w.Write(Stdout, []byte("three\n"))
		w.Close()
		for tail, want := range map[int]string{-1: "one\nthree\n", 0: "", 1: "three\n", 2: "one\nthree\n", 9: "one\nthree\n"} {
			if got := past(t, dir, o, tail); got != want {
				t.Errorf("%s: tail %d is %q", d, tail, got)
			}
		}
	}
}

// The driver none takes nothing and has nothing.
func TestNone(t *testing.T) {
	w := openWriter(t, t.TempDir(), Options{Driver: None})
	w.Write(Stdout, []byte("nothing\n"))
	w.End()
	w.Close()
	if w != nil {
		t.Error("the driver none takes something")
	}
	if _, err := OpenReader(t.TempDir(), Options{Driver: None}, Query{}); err != ErrNotReadable {
		t.Error(err)
	}
}

func FuzzAppendText(f *testing.F) {
	f.Add([]byte("a\"\\\x00\x1b[0m\xff\xe2\x82"))
	f.Fuzz(func(t *testing.T, p []byte) {
		b := append([]byte{'"'}, appendText(nil, p)...)
		b = append(b, '"')
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if utf8.Valid(p) && s != string(p) {
			t.Errorf("%q became %q", p, s)
		}
	})
}

func FuzzLocalRecords(f *testing.F) {
	l := localFormat{}
	rec := l.add(l.begin(nil, `{"a":"b"}`), entry{time: time.Unix(1, 2), stream: Stdout, line: []byte("hi\n")})
	f.Add(rec)
	f.Add(rec[:len(rec)-2])
	f.Fuzz(func(t *testing.T, p []byte) {
		if n := l.size(p); n > 0 {
			if n > len(p) || l.last(p[:n]) != n {
				t.Errorf("a record of %d bytes has %d from its end", n, l.last(p[:min(n, len(p))]))
			}
			l.parse(p[:n])
		}
		if n := l.last(p); n > len(p) {
			t.Errorf("a record of %d bytes in %d", n, len(p))
		}
	})
}
