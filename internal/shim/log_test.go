package shim

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"berth/internal/logs"
)

type line struct {
	Log    string
	Stream string
	Time   time.Time
}

func readLog(t *testing.T, path string) []line {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []line
	for l := range bytes.Lines(b) {
		var e line
		if err := json.Unmarshal(l, &e); err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		out = append(out, e)
	}
	return out
}

func TestLogJoinsPartialLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), LogFile)
	l, err := openLog(path, logs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.write(frameStdout, []byte("one\ntw"))
	l.write(frameStderr, []byte("err\n"))
	l.write(frameStdout, []byte("o\n"))
	l.write(frameStdout, []byte(strings.Repeat("x", maxLine+5)))
	l.write(frameStdout, []byte("prompt$ "))
	l.close()
	var got []string
	for _, e := range readLog(t, path) {
		if time.Since(e.Time) > time.Minute {
			t.Errorf("time %v", e.Time)
		}
		got = append(got, e.Stream+":"+e.Log)
	}
	want := []string{"stdout:one\n", "stderr:err\n", "stdout:two\n",
		"stdout:" + strings.Repeat("x", maxLine), "stdout:xxxxxprompt$ "}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestLogRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), LogFile)
	l, err := openLog(path, logs.Options{MaxSize: 300, MaxFiles: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		l.write(frameStdout, []byte(strings.Repeat("y", i)+"\n"))
	}
	l.close()
	files, _ := filepath.Glob(path + "*")
	if len(files) != 3 {
		t.Fatalf("%v, want three files", files)
	}
	last := readLog(t, path)
	if got := last[len(last)-1].Log; got != strings.Repeat("y", 19)+"\n" {
		t.Errorf("the newest line is %q", got)
	}
	for _, f := range files {
		if fi, _ := os.Stat(f); fi.Size() > 300 {
			t.Errorf("%s has %d bytes", f, fi.Size())
		}
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
