package inflate

import (
	"bytes"
	"compress/flate"
)

// A mark is a place in a piece where a checkpoint may be.
type mark struct {
	at     int // offset in the piece's data
	bit    int64
	member bool
}

// A collector makes an index while the pieces of a stream go by. Windows are
// deflated on a goroutine of its own.
type collector struct {
	every int64
	ix    Index
	tail  []byte // the last 32 KiB; zeros before the beginning

	raw      chan []byte   // windows to deflate; closed at the end
	deflated chan [][]byte // all of them, once
	ended    bool
}

func newCollector(every int64) *collector {
	c := &collector{
		every: every, ix: Index{points: []point{{member: true}}}, tail: make([]byte, window),
		raw: make(chan []byte, 2), deflated: make(chan [][]byte, 1),
	}
	go deflateWindows(c.raw, c.deflated)
	return c
}

func deflateWindows(raw <-chan []byte, done chan<- [][]byte) {
	var all [][]byte
	var b bytes.Buffer
	var z *flate.Writer
	for w := range raw {
		b.Reset()
		if z == nil {
			z, _ = flate.NewWriter(&b, flate.BestSpeed) // fails for wrong levels only
		} else {
			z.Reset(&b)
		}
		z.Write(w) // a bytes.Buffer takes everything
		z.Close()
		all = append(all, bytes.Clone(b.Bytes()))
	}
	done <- all
}

// add looks at the next piece of the stream.
func (c *collector) add(p *piece) {
	for _, m := range p.marks {
		out := c.ix.out + int64(m.at)
		last := c.ix.points[len(c.ix.points)-1]
		if out-last.out < c.every || m.bit <= last.bit || m.at > len(p.data) {
			continue
		}
		if !m.member {
			c.raw <- c.before(p.data[:m.at])
		}
		c.ix.points = append(c.ix.points, point{bit: m.bit, out: out, member: m.member})
	}
	c.ix.out += int64(len(p.data))
	if len(p.data) >= window {
		copy(c.tail, p.data[len(p.data)-window:])
	} else {
		copy(c.tail, c.tail[len(p.data):])
		copy(c.tail[window-len(p.data):], p.data)
	}
}

// before returns a copy of the last 32 KiB of the stream up to the end of data.
func (c *collector) before(data []byte) []byte {
	b := make([]byte, 0, window)
	if len(data) < window {
		b = append(b, c.tail[len(data):]...)
		return append(b, data...)
	}
	return append(b, data[len(data)-window:]...)
}

// stop ends the goroutine.
func (c *collector) stop() {
	if !c.ended {
		c.ended = true
		close(c.raw)
	}
}

// index completes the index of a stream of so many bytes.
func (c *collector) index(in int64) *Index {
	c.stop()
	windows := <-c.deflated
	c.ix.in = in
	for i := range c.ix.points {
		if p := &c.ix.points[i]; !p.member {
			p.window, windows = windows[0], windows[1:]
		}
	}
	return &c.ix
}
