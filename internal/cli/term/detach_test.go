package term

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestParseKeys(t *testing.T) {
	for _, c := range []struct{ in, want, err string }{
		{DefaultKeys, "\x10\x11", ""},
		{"", "", ""},
		{"ctrl-a,x", "\x01x", ""},
		{"CTRL-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", "\x00\x1b\x1c\x1d\x1e\x1f", ""},
		{"a,b,DEL", "ab\x7f", ""},
		{"ctrl-ab", "", "invalid detach keys (ctrl-ab): unknown character: 'ctrl-ab'"},
		{"ctrl-1", "", "invalid detach keys (ctrl-1): unknown character: 'ctrl-1'"},
		{"a,,b", "", "invalid detach keys (a,,b): unknown character: ''"},
		{"é", "", "invalid detach keys (é): unknown character: 'é'"},
	} {
		got, err := ParseKeys(c.in)
		msg := ""
		if err != nil {
			msg = err.Error()
		}
		if string(got) != c.want || msg != c.err {
			t.Errorf("ParseKeys(%q) = %q, %q; want %q, %q", c.in, got, msg, c.want, c.err)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add("ctrl-p,ctrl-q")
	f.Fuzz(func(t *testing.T, s string) {
		keys, err := ParseKeys(s)
		if err == nil && s != "" && len(keys) != strings.Count(s, ",")+1 {
			t.Errorf("ParseKeys(%q) = %q", s, keys)
		}
	})
}

var errLeft = errors.New("left")

// script plays what is typed: each step is one read, "" is a pause longer than
// the hold time.
type script struct {
	steps []string
	waits []time.Duration
}

func (s *script) read(p []byte, wait time.Duration) (int, error) {
	s.waits = append(s.waits, wait)
	if len(s.steps) == 0 {
		return 0, io.EOF
	}
	step := s.steps[0]
	if step == "" {
		s.steps = s.steps[1:]
		if wait >= 0 {
			return 0, errTimeout
		}
		return s.read(p, wait) // nobody waits for time to pass
	}
	n := copy(p, step)
	if s.steps[0] = step[n:]; s.steps[0] == "" {
		s.steps = s.steps[1:]
	}
	return n, nil
}

func TestDetach(t *testing.T) {
	const p, q = "\x10", "\x11"
	for _, c := range []struct {
		name, keys string
		typed      []string
		want       string
		end        error
	}{
		{"text", p + q, []string{"hello"}, "hello", io.EOF},
		{"sequence", p + q, []string{"a" + p + q + "b"}, "a", errLeft},
		{"sequence in two reads", p + q, []string{p, q}, "", errLeft},
		{"lone key at the end", p + q, []string{p}, p, io.EOF},
		{"lone key, then a pause", p + q, []string{p, "", q}, p + q, io.EOF},
		{"key between others", p + q, []string{"a" + p + "b"}, "a" + p + "b", io.EOF},
		{"first key twice", p + q, []string{p + p, q}, p, errLeft},
		{"second key alone", p + q, []string{q}, q, io.EOF},
		{"overlap", "aab", []string{"aaab"}, "a", errLeft},
		{"overlap broken", "aab", []string{"aa", "c"}, "aac", io.EOF},
		{"inner start", "abac", []string{"ababac"}, "ab", errLeft},
		{"one key", "x", []string{"ax"}, "a", errLeft},
		{"off", "", []string{p + q, "b"}, p + q + "b", io.EOF},
		{"long input", p + q, []string{strings.Repeat("z", 10000)}, strings.Repeat("z", 10000), io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &script{steps: c.typed}
			d := &Detach{read: s.read, keys: []byte(c.keys), detached: errLeft, buf: make([]byte, 4096)}
			got, end := drain(d)
			if got != c.want || end != c.end {
				t.Errorf("got %q then %v, want %q then %v", got, end, c.want, c.end)
			}
		})
	}
}

// drain reads to the end in small portions.
func drain(r io.Reader) (string, error) {
	var all strings.Builder
	p := make([]byte, 3)
	for {
		n, err := r.Read(p)
		all.Write(p[:n])
		if err != nil {
			return all.String(), err
		}
	}
}

func TestDetachWaitsOnlyWhileHolding(t *testing.T) {
	s := &script{steps: []string{"a", "\x10", "", "b"}}
	d := &Detach{read: s.read, keys: []byte("\x10\x11"), detached: errLeft, buf: make([]byte, 16)}
	if got, _ := drain(d); got != "a\x10b" {
		t.Fatalf("got %q", got)
	}
	want := []time.Duration{-1, -1, holdTime, -1, -1}
	if len(s.waits) != len(want) {
		t.Fatalf("waits %v, want %v", s.waits, want)
	}
	for i := range want {
		if s.waits[i] != want[i] {
			t.Fatalf("waits %v, want %v", s.waits, want)
		}
	}
}

func FuzzDetach(f *testing.F) {
	f.Add("\x10\x11", "ab\x10c")
	f.Fuzz(func(t *testing.T, keys, typed string) {
		s := &script{}
		for i := range len(typed) {
			s.steps = append(s.steps, typed[i:i+1])
		}
		d := &Detach{read: s.read, keys: []byte(keys), detached: errLeft, buf: make([]byte, 16)}
		got, end := drain(d)
		before, _, found := strings.Cut(typed, keys)
		if keys == "" {
			before, found = typed, false
		}
		if got != before || (end == errLeft) != found {
			t.Errorf("keys %q, typed %q: passed %q, end %v", keys, typed, got, end)
		}
	})
}
