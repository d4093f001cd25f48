package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"
)

// redrawEvery keeps a fast pull from spending its time on the terminal.
const redrawEvery = 100 * time.Millisecond

// Bars draws a line for each layer and keeps it up to date.
//
// Only what fits on the screen can be drawn again, because the cursor cannot
// go up past its top. So layers that are done leave the moving part at its
// upper end, and what does not fit at the lower end is counted in one line.
type Bars struct {
	w    io.Writer
	size func() (height, width uint)

	mu     sync.Mutex
	layers []*layer
	byID   map[string]*layer
	drawn  int         // lines of the moving part that are on the screen
	timer  *time.Timer // a redraw is due
	closed bool
}

type layer struct {
	id, status     string
	current, total int64
}

// NewBars returns a report to the terminal w, whose size is asked before each
// drawing.
func NewBars(w io.Writer, size func() (height, width uint)) *Bars {
	return &Bars{w: w, size: size, byID: map[string]*layer{}}
}

// Message writes a line about the whole pull. It comes below the layers that
// are there already.
func (b *Bars) Message(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draw(true)
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
	l.status, l.current, l.total = status, current, total
	if b.timer == nil {
		b.timer = time.AfterFunc(redrawEvery, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.timer = nil
			if !b.closed {
				b.draw(false)
			}
		})
	}
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
	height, width := b.size()
	if height < 4 {
		height = 24
	}
	if width < 20 {
		width = 80
	}
	var s strings.Builder
	if b.drawn > 0 {
		fmt.Fprintf(&s, "\x1b[%dA", b.drawn)
	}
	b.drawn = 0
	for len(b.layers) > 0 && (settle || b.layers[0].done()) {
		writeLine(&s, b.layers[0].line(int(width)))
		b.forget(b.layers[0])
		b.layers = b.layers[1:]
	}
	room := int(height) - 2
	for i, l := range b.layers {
		if i == room-1 && len(b.layers) > room {
			writeLine(&s, fmt.Sprintf("... and %d more layers", len(b.layers)-i))
			b.drawn++
			break
		}
		writeLine(&s, l.line(int(width)))
		b.drawn++
	}
	// What a longer moving part left below is wiped.
	s.WriteString("\x1b[J")
	io.WriteString(b.w, s.String())
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

func (l *layer) done() bool {
	return l.status == "Pull complete" || l.status == "Already exists"
}

// line is the layer in at most width characters:
// "0123456789ab: Downloading [=====>    ]  1.2MB/3.4MB".
func (l *layer) line(width int) string {
	head := l.id + ": " + l.status
	tail := ""
	switch {
	case l.total > 0 && moving(l.status):
		current := min(l.current, l.total)
		tail = units.HumanSize(float64(current)) + "/" + units.HumanSize(float64(l.total))
		// Spaces, brackets, and some air at the right edge.
		if room := min(50, width-len(head)-len(tail)-6); room >= 10 {
			tail = bar(room, current, l.total) + "  " + tail
		}
	case l.current > 0 && moving(l.status):
		tail = units.HumanSize(float64(l.current))
	}
	if tail != "" {
		head += " " + tail
	}
	if len(head) >= width {
		head = head[:width-1]
	}
	return head
}

func bar(room int, current, total int64) string {
	full := int(float64(current) / float64(total) * float64(room))
	head := ""
	if full < room {
		head = ">"
	}
	return "[" + strings.Repeat("=", full) + head + strings.Repeat(" ", room-full-len(head)) + "]"
}
