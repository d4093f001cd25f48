package progress

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestLines(t *testing.T) {
	var out strings.Builder
	l := NewLines(&out)
	l.Message("latest: Pulling from library/busybox")
	for _, s := range []string{"Pulling fs layer", "Waiting", "Downloading", "Downloading", "Download complete", "Extracting", "Pull complete", "Pull complete"} {
		l.Layer("0123456789ab", s, 1, 2)
	}
	l.Close()
	want := `latest: Pulling from library/busybox
0123456789ab: Pulling fs layer
0123456789ab: Waiting
0123456789ab: Download complete
0123456789ab: Pull complete
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// at is a layer that has moved at a steady rate until now.
func at(now time.Time, status string, current, total, perSecond int64) *layer {
	l := &layer{id: "0123456789ab"}
	for i := int64(4); i >= 0; i-- {
		l.set(now.Add(-time.Duration(i)*time.Second), status, current-i*perSecond, total)
	}
	return l
}

func TestLine(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, c := range []struct {
		width int
		l     *layer
		want  string
	}{
		{80, at(now, "Waiting", 0, 0, 0), "0123456789ab: Waiting"},
		{80, at(now, "Downloading", 0, 100, 0), "0123456789ab: Downloading [>                        ]  0B/100B"},
		{80, at(now, "Downloading", 50e6, 100e6, 5e6), "0123456789ab: Downloading [===========>          ]  50MB/100MB  5MB/s  10s"},
		{100, at(now, "Downloading", 50e6, 100e9, 5e6), "0123456789ab: Downloading [>                                         ]  50MB/100GB  5MB/s  5h33m"},
		{80, at(now, "Downloading", 100, 100, 0), "0123456789ab: Downloading [=======================]  100B/100B"},
		{80, at(now, "Downloading", 200, 100, 10), "0123456789ab: Downloading [=======================]  100B/100B  10B/s"},
		{60, at(now, "Downloading", 50e6, 100e6, 1e6), "0123456789ab: Downloading 50MB/100MB  1MB/s  50s"},
		{46, at(now, "Downloading", 50, 100, 1), "0123456789ab: Downloading 50B/100B  1B/s  50s"},
		{40, at(now, "Downloading", 50, 100, 1), "0123456789ab: Downloading 50B/100B"},
		{80, at(now, "Downloading", 1234, 0, 0), "0123456789ab: Downloading 1.234kB"},
		{80, at(now, "Downloading", 4000, 0, 1000), "0123456789ab: Downloading 4kB  1kB/s"},
		{20, at(now, "Download complete", 1, 1, 0), "0123456789ab: Downl"},
		{5, at(now, "Downloading", 1, 100, 0), "0123"},
	} {
		got := c.l.line(now, c.width)
		if got != c.want {
			t.Errorf("width %d: got  %q\n           want %q", c.width, got, c.want)
		}
		if len(got) >= c.width {
			t.Errorf("width %d: %q wraps", c.width, got)
		}
	}
}

func TestLeft(t *testing.T) {
	for _, c := range []struct {
		rest int64
		rate float64
		want string
	}{
		{10, 0, ""}, {10, 1, "10s"}, {10, 100, "0s"}, {65, 1, "1m05s"}, {3600, 1, "1h00m"}, {7260, 1, "2h01m"}, {1e12, 1, ""}, {-1, 1, ""},
	} {
		if got := left(c.rest, c.rate); got != c.want {
			t.Errorf("left(%d, %v) = %q, want %q", c.rest, c.rate, got, c.want)
		}
	}
}

// A rate is that of the last seconds; what was there before does not count, and
// a stall shows.
func TestMeter(t *testing.T) {
	var m meter
	now := time.Unix(1e9, 0)
	n := int64(7e9) // of an earlier try
	for range 300 {
		m.note(now, n)
		now, n = now.Add(100*time.Millisecond), n+1000
	}
	if got := m.rate(now); got < 9_500 || got > 10_000 {
		t.Errorf("rate %v, want 10000", got)
	}
	if len(m.samples) > 40 {
		t.Errorf("%d samples", len(m.samples))
	}
	if got := m.rate(now.Add(4 * time.Second)); got < 5000 || got > 7000 {
		t.Errorf("after 4 s without a byte the rate is %v", got)
	}
	if got := m.rate(now.Add(20 * time.Second)); got != 0 {
		t.Errorf("after 20 s without a byte the rate is %v", got)
	}
}

func TestTotal(t *testing.T) {
	sum := total{counts: map[string]count{}}
	now := time.Unix(1e9, 0)
	say := func(id, status string, current, all int64) {
		l := &layer{id: id}
		l.set(now, status, current, all)
		sum.note(now, l)
	}
	say("there", "Already exists", 0, 0)
	say("a", "Pulling fs layer", 0, 1000)
	if got := sum.line(now, 80); got != "" {
		t.Errorf("one layer needs no sum: %q", got)
	}
	say("b", "Waiting", 0, 9000)
	say("a", "Downloading", 500, 1000) // 500 of an earlier try
	for range 4 {
		now = now.Add(time.Second)
		say("a", "Downloading", 600, 1000)
	}
	say("b", "Downloading", 400, 9000)
	if got := sum.line(now, 80); got != "Total: 10% [===>                                   ]  1kB/10kB  25B/s  6m00s" {
		t.Errorf("%q", got)
	}
	say("a", "Download complete", 0, 0)
	say("b", "Pull complete", 0, 0)
	if got := sum.line(now, 30); got != "Total: 100% 10kB/10kB" {
		t.Errorf("%q", got)
	}
}

func TestJSON(t *testing.T) {
	var out strings.Builder
	j := NewJSON(&out)
	j.Message("latest: Pulling from library/busybox")
	j.Layer("0123456789ab", "Pulling fs layer", 0, 0)
	j.Layer("0123456789ab", "Downloading", 5, 10)
	j.Message("Digest: sha256:x")
	j.Fail(errors.New("no <route>"))
	j.Close()
	want := `{"status":"Pulling from library/busybox","id":"latest"}
{"status":"Pulling fs layer","id":"0123456789ab","progressDetail":{}}
{"status":"Downloading","id":"0123456789ab","progressDetail":{"current":5,"total":10}}
{"status":"Digest: sha256:x"}
{"error":"no <route>","errorDetail":{"message":"no <route>"}}
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// screen is a small terminal: rows of text and the cursor. It fails when told
// to go up past its top, which a real terminal would silently refuse.
type screen struct {
	t      *testing.T
	mu     sync.Mutex
	height int
	rows   []string // everything ever scrolled, too
	row    int
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := string(p)
	for text != "" {
		switch {
		case strings.HasPrefix(text, "\x1b["):
			end := strings.IndexAny(text, "AKJ")
			n, _ := strconv.Atoi(text[2:end])
			switch text[end] {
			case 'A':
				s.row -= n
				if top := max(0, len(s.rows)-s.height); s.row < top {
					s.t.Errorf("the cursor went up to row %d, the screen starts at %d", s.row, top)
				}
			case 'J':
				s.rows = s.rows[:s.row]
			}
			text = text[end+1:]
		default:
			line, rest, _ := strings.Cut(text, "\n")
			line = strings.TrimSuffix(line, "\x1b[K")
			for len(s.rows) <= s.row {
				s.rows = append(s.rows, "")
			}
			s.rows[s.row] = line
			s.row++
			text = rest
		}
	}
	return len(p), nil
}

func TestBarsOnSmallScreen(t *testing.T) {
	s := &screen{t: t, height: 8}
	b := NewBars(s, func() (uint, uint) { return 8, 60 })
	b.Message("latest: Pulling from big/image")
	id := func(i int) string { return fmt.Sprintf("layer%02d", i) }
	redraw := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.draw(false)
	}
	for i := range 20 {
		b.Layer(id(i), "Waiting", 0, 0)
	}
	redraw()
	if got := strings.Join(s.rows, "\n"); !strings.Contains(got, "layer04: Waiting") || !strings.Contains(got, "... and 15 more layers") {
		t.Errorf("the screen shows\n%s", got)
	}
	for i := range 20 {
		b.Layer(id(i), "Downloading", 5, 10)
		redraw()
		b.Layer(id(19-i), "Download complete", 0, 0)
		redraw()
	}
	for i := range 20 {
		b.Layer(id((i*7)%20), "Pull complete", 0, 0)
		redraw()
	}
	b.Close()
	b.Message("Digest: sha256:x")
	want := []string{"latest: Pulling from big/image"}
	for i := range 20 {
		want = append(want, id(i)+": Pull complete")
	}
	want = append(want, "Digest: sha256:x")
	// On a screen that is too small for all, layers leave as they come.
	if len(s.rows) != len(want) || s.rows[0] != want[0] || s.rows[21] != want[21] {
		t.Errorf("at the end the screen shows\n%s", strings.Join(s.rows, "\n"))
	}
	for _, w := range want {
		if !slices.Contains(s.rows, w) {
			t.Errorf("%q is missing at the end", w)
		}
	}
}

// Those that move are shown before those that wait, and the sum below them.
func TestBarsShowWhatMoves(t *testing.T) {
	s := &screen{t: t, height: 8}
	b := NewBars(s, func() (uint, uint) { return 8, 60 })
	for i := range 20 {
		b.Layer(fmt.Sprintf("layer%02d", i), "Waiting", 0, 10)
	}
	b.Layer("layer17", "Downloading", 5, 10)
	b.Layer("layer19", "Downloading", 5, 10)
	b.Layer("layer03", "Pull complete", 0, 0)
	b.mu.Lock()
	b.draw(false)
	b.mu.Unlock()
	want := []string{"layer03: Pull complete", "layer17: Downloading", "layer19: Downloading", "layer00: Waiting", "layer01: Waiting", "... and 15 more layers", "Total: 10%"}
	for i, w := range want {
		if i >= len(s.rows) || !strings.HasPrefix(s.rows[i], w) {
			t.Fatalf("row %d should be %q; the screen shows\n%s", i, w, strings.Join(s.rows, "\n"))
		}
	}
	b.Close()
}

// Whatever becomes of the window, the cursor stays inside, no line wraps, and
// at the end each layer stands there once.
func TestBarsInChangingWindow(t *testing.T) {
	var height, width uint = 30, 100
	s := &screen{t: t, height: 30}
	b := NewBars(s, func() (uint, uint) { return height, width })
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 12 {
		b.Layer(fmt.Sprintf("layer%02d", i), "Waiting", 0, 1e6)
	}
	for step := range 300 {
		if step%20 == 0 {
			// Taller never: our screen does not bring lines back.
			height, width = max(1, height-uint(random.IntN(4))), uint(1+random.IntN(120))
			s.height = int(max(height, 3))
		}
		b.Layer(fmt.Sprintf("layer%02d", random.IntN(12)), "Downloading", random.Int64N(1e6), 1e6)
		b.mu.Lock()
		before := len(s.rows)
		b.draw(false)
		for _, row := range s.rows[min(before, len(s.rows)):] {
			if len(row) >= int(width) {
				t.Errorf("%q in %d columns", row, width)
			}
		}
		b.mu.Unlock()
	}
	width = 80
	for i := range 12 {
		b.Layer(fmt.Sprintf("layer%02d", i), "Pull complete", 0, 0)
	}
	b.Close()
	for i := range 12 {
		if want := fmt.Sprintf("layer%02d: Pull complete", i); countOf(s.rows, want) != 1 {
			t.Errorf("%q stands there %d times", want, countOf(s.rows, want))
		}
	}
}

func countOf(rows []string, want string) (n int) {
	for _, r := range rows {
		if r == want {
			n++
		}
	}
	return n
}

func TestBarsFromManySides(t *testing.T) {
	s := &screen{t: t, height: 24}
	b := NewBars(s, func() (uint, uint) { return 24, 80 })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range int64(200) {
				b.Layer(fmt.Sprint("layer", i), "Downloading", n, 200)
			}
			b.Layer(fmt.Sprint("layer", i), "Pull complete", 0, 0)
		})
	}
	wg.Wait()
	b.Close()
	b.Layer("late", "Waiting", 0, 0)
	if len(s.rows) != 8 {
		t.Errorf("%d rows, want 8: %q", len(s.rows), s.rows)
	}
}
