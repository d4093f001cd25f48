package progress

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
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

func TestLine(t *testing.T) {
	for _, c := range []struct {
		width int
		l     layer
		want  string
	}{
		{80, layer{"0123456789ab", "Waiting", 0, 0}, "0123456789ab: Waiting"},
		{80, layer{"0123456789ab", "Downloading", 0, 100}, "0123456789ab: Downloading [>                                         ]  0B/100B"},
		{80, layer{"0123456789ab", "Downloading", 50e6, 100e6}, "0123456789ab: Downloading [===================>                   ]  50MB/100MB"},
		{80, layer{"0123456789ab", "Downloading", 100, 100}, "0123456789ab: Downloading [========================================]  100B/100B"},
		{80, layer{"0123456789ab", "Downloading", 200, 100}, "0123456789ab: Downloading [========================================]  100B/100B"},
		{45, layer{"0123456789ab", "Downloading", 1, 100}, "0123456789ab: Downloading 1B/100B"},
		{80, layer{"0123456789ab", "Downloading", 1234, 0}, "0123456789ab: Downloading 1.234kB"},
		{20, layer{"0123456789ab", "Download complete", 1, 1}, "0123456789ab: Downl"},
	} {
		if got := c.l.line(c.width); got != c.want {
			t.Errorf("width %d: got  %q\n           want %q", c.width, got, c.want)
		}
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
	if got := strings.Join(s.rows, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("at the end the screen shows\n%s", got)
	}
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
