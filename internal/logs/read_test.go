package logs

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// numbers checks that lines are consecutive numbers, and returns the first and
// the one after the last.
func numbers(t *testing.T, text string) (from, to int) {
	t.Helper()
	for i, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		var n int
		if _, err := fmt.Sscanf(l, "line %d", &n); err != nil {
			t.Errorf("%q: %v", l, err)
			return 0, 0
		}
		if i == 0 {
			from, to = n, n
		}
		if n != to {
			t.Errorf("line %d comes after line %d", n, to-1)
			return 0, 0
		}
		to++
	}
	return from, to
}

// TestReadsWhileRotated has readers begin, and one follow, while a writer begins
// a new file every few lines.
func TestReadsWhileRotated(t *testing.T) {
	const lines = 6000
	for _, d := range drivers() {
		for _, compress := range []bool{false, true} {
			o := Options{Driver: d, MaxSize: 2000, MaxFiles: 100, Compress: compress}
			dir := t.TempDir()
			w := openWriter(t, dir, o)
			w.Write(Stdout, []byte("line 0\n"))
			var over sync.WaitGroup
			done := make(chan struct{})
			over.Go(func() {
				defer close(done)
				for i := 1; i < lines; i++ {
					w.Write(Stdout, []byte(fmt.Sprintf("line %d\n", i)))
					if i%20 == 0 {
						time.Sleep(time.Millisecond)
					}
				}
			})
			over.Go(func() { // follows
				var out bytes.Buffer
				r, err := OpenReader(dir, o, Query{Tail: -1, Stdout: &out})
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Close()
				err = r.Past()
				for over := false; err == nil && !over; {
					select {
					case <-done:
						over = true
					case <-time.After(time.Millisecond):
					}
					err = r.More()
				}
				if from, to := numbers(t, out.String()); err != nil || from != 0 || to != lines {
					t.Errorf("%s: followed from %d to %d: %v", d, from, to, err)
				}
			})
			over.Go(func() { // begin
				for n := 0; ; n++ {
					select {
					case <-done:
						if n < 3 {
							t.Errorf("only %d readers began", n)
						}
						return
					default:
					}
					numbers(t, past(t, dir, o, -1))
					from, to := numbers(t, past(t, dir, o, 7))
					if to > 10 && to-from != 7 {
						t.Errorf("%s: the last 7 lines are %d to %d", d, from, to)
					}
				}
			})
			over.Wait()
			w.Close()
		}
	}
}

func TestTail(t *testing.T) {
	for _, d := range drivers() {
		for _, compress := range []bool{false, true} {
			o := Options{Driver: d, MaxSize: 1000, MaxFiles: 50, Compress: compress, Container: Container{Attrs: map[string]string{"a": "b"}}}
			dir := t.TempDir()
			w := openWriter(t, dir, o)
			var want []string
			for i := range 100 {
				l := fmt.Sprintf("line %d %s\n", i, strings.Repeat("z", i*i%300))
				want = append(want, l)
				w.Write(Stdout, []byte(l))
			}
			w.to.(*files).packer.Wait()
			for _, n := range []int{0, 1, 2, 3, 9, 50, 99, 100, 1000} {
				if got := past(t, dir, o, n); got != strings.Join(want[max(0, 100-n):], "") {
					t.Errorf("%s: tail %d: %.200q", d, n, got)
				}
			}
			w.Close()
		}
	}
}

// After --tail 0 only what comes is shown.
func TestFollowsFromTheEnd(t *testing.T) {
	for _, d := range drivers() {
		dir, o := t.TempDir(), Options{Driver: d, MaxSize: 500, MaxFiles: 50, Compress: true}
		w := openWriter(t, dir, o)
		for i := range 30 {
			w.Write(Stdout, []byte(fmt.Sprintf("line %d\n", i)))
		}
		var out bytes.Buffer
		r, err := OpenReader(dir, o, Query{Tail: 0, Stdout: &out})
		if err != nil || r.Past() != nil || out.Len() > 0 {
			t.Errorf("%v %q", err, &out)
		}
		for i := 30; i < 90; i++ {
			w.Write(Stdout, []byte(fmt.Sprintf("line %d\n", i)))
		}
		if err := r.More(); err != nil {
			t.Error(err)
		}
		if from, to := numbers(t, out.String()); from != 30 || to != 90 {
			t.Errorf("%s: %d to %d", d, from, to)
		}
		r.Close()
		w.Close()
	}
}

func TestQuery(t *testing.T) {
	for _, d := range drivers() {
		o := Options{Driver: d, Container: Container{Attrs: map[string]string{"b": "2 &", "a": "1"}}}
		dir := t.TempDir()
		w := openWriter(t, dir, o)
		w.Write(Stdout, []byte("old\n"))
		time.Sleep(2 * time.Millisecond)
		cut := time.Now()
		time.Sleep(2 * time.Millisecond)
		w.Write(Stderr, []byte("new\n"))
		w.Close()
		for _, c := range []struct {
			q         Query
			out, errs string
		}{
			{Query{Tail: -1}, "old\n", "new\n"},
			{Query{Tail: -1, Since: cut}, "", "new\n"},
			{Query{Tail: -1, Until: cut}, "old\n", ""},
			{Query{Tail: 1, Until: cut}, "", ""}, // the last line is not in the time asked for
			{Query{Tail: -1, Details: true}, "a=1,b=2+%26 old\n", "a=1,b=2+%26 new\n"},
			{Query{Tail: 1, Details: true}, "", "a=1,b=2+%26 new\n"},
		} {
			var out, errs bytes.Buffer
			c.q.Stdout, c.q.Stderr = &out, &errs
			r, err := OpenReader(dir, o, c.q)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Past(); err != nil || out.String() != c.out || errs.String() != c.errs {
				t.Errorf("%s %+v: %v %q %q", d, c.q, err, &out, &errs)
			}
			r.Close()
		}
		var out bytes.Buffer
		r, err := OpenReader(dir, o, Query{Tail: 1, Timestamps: true, Stderr: &out})
		if err != nil || r.Past() != nil {
			t.Fatal(err)
		}
		at, rest, _ := strings.Cut(out.String(), " ")
		if when, err := time.Parse(time.RFC3339Nano, at); err != nil || len(at) != 30 || rest != "new\n" || time.Since(when) > time.Minute {
			t.Errorf("%s: %q %v", d, &out, err)
		}
		r.Close()
	}
}

// A container that never ran has no log, and one that is removed no more.
func TestNoLog(t *testing.T) {
	if got := past(t, t.TempDir(), Options{}, -1); got != "" {
		t.Errorf("%q", got)
	}
	if got := past(t, t.TempDir()+"/gone", Options{}, 5); got != "" {
		t.Errorf("%q", got)
	}
}
