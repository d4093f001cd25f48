package progress

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// redrawEvery keeps a fast pull from spending its time on the terminal.
	redrawEvery = 100 * time.Millisecond
	// idleEvery is when what stands still is drawn again, with its rate.
	idleEvery = time.Second
)

// Bars draws a line for each layer, one for all of them below, and keeps them up
// to date.
//
// Only what fits on the screen can be drawn again, because the cursor cannot
// go up past its top. So layers that are done leave the moving part at its
// upper end, and what does not fit at the lower end is counted in one line.
type Bars struct {
	w    io.Writer
	size func() (height, width uint)
	now  func() time.Time

	mu     sync.Mutex
	layers []*layer
	byID   map[string]*layer
	sum    total
	drawn  int         // lines of the moving part that are on the screen
	width  int         // of the screen they were drawn on
	timer  *time.Timer // a redraw is due
	soon   bool        // within redrawEvery
	closed bool
}

// NewBars returns a report to the terminal w, whose size is asked before each
// drawing.
func NewBars(w io.Writer, size func() (height, width uint)) *Bars {
	return &Bars{w: w, size: size, now: time.Now, byID: map[string]*layer{}, sum: total{counts: map[string]count{}}}
}

// Message writes a line about the whole pull. It comes below the layers that
// are there already.
func (b *Bars) Message(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draw(true)
	if strings.Contains(text, ": Pulling from ") {
		b.sum = total{counts: map[string]count{}} // the next image of several
	}
	io.WriteString(b.w, text+"\n")
}

// Layer notes where a layer is; the screen follows soon.
func (b *Bars) Layer(id, status string, current, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	l := b.byID[id]
	if l == nil {
		l = &layer{id: id}
		b.byID[id] = l
		b.layers = append(b.layers, l)
	}
	now := b.now()
	l.set(now, status, current, total)
	b.sum.note(now, l)
	if !b.soon {
		b.redrawIn(redrawEvery)
		b.soon = true
	}
}

// redrawIn replaces the redraw that is due, if there is one.
func (b *Bars) redrawIn(d time.Duration) {
	if b.timer != nil {
		b.timer.Stop()
	}
	b.timer = time.AfterFunc(d, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.closed {
			return
		}
		b.soon = false
		b.draw(false)
		if len(b.layers) > 0 {
			b.redrawIn(idleEvery)
		}
	})
}

// Close draws the last state and leaves it on the screen.
func (b *Bars) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
	}
	b.draw(true)
	b.closed = true
}

// draw writes the moving part over the last one. With settle all of it stays,
// and later lines start below.
func (b *Bars) draw(settle bool) {
	if len(b.layers) == 0 && b.drawn == 0 {
		return
	}
	height, width := b.screen()
	now := b.now()
	var s strings.Builder
	// On a screen that has become narrower, old lines may take two rows each,
	// or may not: they stay as they are.
	if b.drawn > 0 && width >= b.width {
		fmt.Fprintf(&s, "\x1b[%dA", b.drawn)
	}
	b.drawn, b.width = 0, width
	room := max(1, height-2) // the line of the shell, and air
	b.leave(&s, settle, len(b.layers) > room-1, now, width)
	b.moving(&s, room, now, width)
	// What a longer moving part left below is wiped.
	s.WriteString("\x1b[J")
	io.WriteString(b.w, s.String())
}

// screen is the size of the terminal; one that does not say is taken for an
// ordinary one.
func (b *Bars) screen() (height, width int) {
	h, w := b.size()
	if h == 0 {
		h = 24
	}
	if w == 0 {
		w = 80
	}
	return int(h), int(w)
}

// leave writes those lines that do not move any more: all with settle, else
// those of the layers at the upper end that are done, or, on a screen that is
// too small for all, of any that are done.
func (b *Bars) leave(s *strings.Builder, settle, crowded bool, now time.Time, width int) {
	blocked := false
	b.layers = slices.DeleteFunc(b.layers, func(l *layer) bool {
		if !settle && (blocked || !l.done()) {
			blocked = !crowded
			return false
		}
		writeLine(s, l.line(now, width))
		b.forget(l)
		return true
	})
}

// moving writes the lines that are drawn again, at most room. If there are
// more, those in which nothing happens are left out first.
func (b *Bars) moving(s *strings.Builder, room int, now time.Time, width int) {
	if len(b.layers) == 0 {
		return
	}
	shown := b.layers
	if sum := b.sum.line(now, width); sum != "" && room > 1 {
		room--
		defer func() {
			writeLine(s, sum)
			b.drawn++
		}()
	}
	if len(shown) > room {
		shown = slices.Clone(shown)
		slices.SortStableFunc(shown, func(x, y *layer) int { return rank(x) - rank(y) })
		shown = shown[:max(0, room-1)]
		defer func() {
			writeLine(s, cut(fmt.Sprintf("... and %d more layers", len(b.layers)-len(shown)), width))
			b.drawn++
		}()
	}
	for _, l := range shown {
		writeLine(s, l.line(now, width))
		b.drawn++
	}
}

func rank(l *layer) int {
	if moving(l.status) {
		return 0
	}
	return 1
}

// forget makes room for the id to come again, unless the layer is done: its
// line stands above and later words about it say nothing new.
func (b *Bars) forget(l *layer) {
	if !l.done() {
		delete(b.byID, l.id)
	}
}

func writeLine(s *strings.Builder, text string) {
	s.WriteString(text)
	s.WriteString("\x1b[K\n")
}

// total is all layers that have bytes to move.
type total struct {
	counts map[string]count
	begun  int64 // what was there when the layers began to move
	speed  meter
}

type count struct {
	current, total int64
	moved          bool
}

// note takes in where a layer is now.
func (t *total) note(now time.Time, l *layer) {
	c := t.counts[l.id]
	switch {
	case l.status == "Already exists", l.status == "Layer already exists", strings.HasPrefix(l.status, "Mounted from"):
		delete(t.counts, l.id)
		return
	case l.total > 0:
		c.total = l.total
	}
	switch {
	case l.done(), strings.HasSuffix(l.status, "complete"):
		c.current = c.total
	case moving(l.status):
		if !c.moved {
			t.begun += l.current
			c.moved = true
		}
		c.current = min(l.current, max(c.total, l.current))
	}
	if c == (count{}) {
		return
	}
	t.counts[l.id] = c
	have, _ := t.sums()
	t.speed.note(now, have-t.begun)
}

func (t *total) sums() (have, all int64) {
	for _, c := range t.counts {
		have, all = have+c.current, all+c.total
	}
	return have, all
}

// line is the sum of all layers; empty when there is nothing to sum.
func (t *total) line(now time.Time, width int) string {
	have, all := t.sums()
	if len(t.counts) < 2 || all == 0 {
		return ""
	}
	share := float64(have) / float64(all)
	return gauge(fmt.Sprintf("Total: %d%%", int(share*100)), size(have)+"/"+size(all), pace(all-have, t.speed.rate(now)), share, width)
}
