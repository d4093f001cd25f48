package download

import (
	"sync"
	"sync/atomic"
	"time"
)

// status is what is known of a chunk.
type status uint8

const (
	missing status = iota
	asked          // in a span
	here           // in the part file, or in memory for a small blob
)

// span is a run of chunks that one worker asks for. first moves on as chunks
// come; end may be moved down by a worker that takes over the rest.
type span struct {
	first, end int     // the board's lock
	buf        *buffer // the chunk at first, as far as it has come
	fill       int
	helped     bool // somebody else asks for the chunk at first as well

	begun time.Time
	got   atomic.Int64 // bytes
	last  atomic.Int64 // when the last byte came, Unix nanoseconds

	// Of the worker alone:
	mark   int64     // got when there was progress last
	tries  int       // failures since there was progress
	shorts int       // of them, answers that broke off
	since  time.Time // when the first of them was
}

// board is where workers and feeder meet: which chunks are missing, who brings
// them, and which wait in memory.
type board struct {
	mu      sync.Mutex
	h       header
	chunks  []status
	sums    []uint32 // of chunks in the part file
	left    int      // chunks that are missing
	low     int      // no chunk below is missing
	nHere   int
	old     int // chunks that an earlier try has left and that are in use
	spans   []*span
	waiting map[int]*buffer // chunks in memory
	next    int             // the chunk the feeder wants
	arrived chan struct{}   // it has come

	workers  int
	target   int   // how many there should be
	answered bool  // the server has answered a request for a range with it
	single   bool  // the server ignores ranges: one stream at a time
	stream   *span // that stream; it brings all that is not here
}

func (b *board) init(h header) {
	n := h.chunks()
	b.h, b.left, b.target = h, n, 1
	b.chunks = make([]status, n)
	b.sums = make([]uint32, n)
	b.waiting = make(map[int]*buffer)
	b.arrived = make(chan struct{}, 1)
}

// found notes a chunk of an earlier try.
func (b *board) found(r record) {
	i := int(r.index)
	if b.chunks[i] == missing {
		b.chunks[i] = here
		b.left--
		b.nHere++
		b.old++
	}
	b.sums[i] = r.sum
}

// lose notes that a chunk of the part file is no good.
func (b *board) lose(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chunks[i] = missing
	b.left++
	b.nHere--
	b.old = max(0, b.old-1)
	b.low = min(b.low, i)
}

// bytesHere returns how much of the blob is here.
func (b *board) bytesHere() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := int64(b.nHere) * b.h.chunk
	if last := len(b.chunks) - 1; last >= 0 && b.chunks[last] == here {
		n -= b.h.chunk - int64(b.h.length(last))
	}
	return n
}

// take returns what a worker is to do next. When there is nothing, or there
// are too many workers, it returns nil, and the worker has to end.
func (d *Download) take() *span {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.pick(time.Now())
	if s == nil {
		d.workers--
		return nil
	}
	s.begun = time.Now()
	s.last.Store(s.begun.UnixNano())
	d.spans = append(d.spans, s)
	return s
}

// pick finds the lowest missing chunks, or those that another worker is slow
// with. The lock is held.
func (d *Download) pick(now time.Time) *span {
	if d.workers > d.target || d.single && len(d.spans) > 0 {
		return nil
	}
	for d.low < len(d.chunks) && d.chunks[d.low] != missing {
		d.low++
	}
	if d.low == len(d.chunks) {
		return d.help(now)
	}
	n := d.tune.maxSpan
	if d.target > 1 {
		// Ever smaller towards the end, so that all end together.
		n = max(1, min(n, d.left/(2*d.target)))
	}
	if d.single || d.h.size <= d.tune.small {
		n = len(d.chunks)
	}
	s := &span{first: d.low}
	for s.end = s.first; s.end < len(d.chunks) && s.end-s.first < n && d.chunks[s.end] == missing; s.end++ {
		d.chunks[s.end] = asked
	}
	d.left -= s.end - s.first
	return s
}

// help takes over half of what the slowest worker has before it, or asks as
// well for the one chunk at which a worker hangs. The lock is held.
func (d *Download) help(now time.Time) *span {
	s := d.slowest(now)
	if s == nil {
		return nil
	}
	if s.end-s.first == 1 {
		s.helped = true
		return &span{first: s.first, end: s.end, helped: true}
	}
	end := s.end
	s.end -= (s.end - s.first) / 2
	return &span{first: s.end, end: end}
}

// slowest returns the span that will take longest, if it is worth helping. The
// lock is held.
func (d *Download) slowest(now time.Time) *span {
	var slow *span
	var longest time.Duration
	for _, s := range d.spans {
		if s.first >= s.end || s == d.stream {
			continue
		}
		begun := now.Sub(s.begun)
		rate := float64(s.got.Load()+1) / begun.Seconds()
		left := time.Duration(min(float64(s.end-s.first)*float64(d.h.chunk)/rate, 1e6) * float64(time.Second))
		worth := left >= d.tune.stealLeft && begun >= d.tune.stealLeft
		if s.end-s.first == 1 {
			silent := now.Sub(time.Unix(0, s.last.Load()))
			worth = !s.helped && begun >= d.tune.hang && (silent >= d.tune.hang || left >= 4*d.tune.hang)
		}
		if worth && left >= longest {
			slow, longest = s, left
		}
	}
	return slow
}

// drop forgets a span that is done.
func (d *Download) drop(s *span) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, other := range d.spans {
		if other == s {
			d.spans[i] = d.spans[len(d.spans)-1]
			d.spans = d.spans[:len(d.spans)-1]
			break
		}
	}
	if d.stream == s {
		d.stream = nil
	}
	d.have.Add(-int64(s.fill))
	s.fill = 0
	s.buf.release()
	s.buf = nil
}

// skip moves a span over chunks that somebody else has brought and reports
// where the next byte belongs and how many are wanted from there; none when it
// is done.
func (d *Download) skip(s *span) (off, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s.first < s.end && d.chunks[s.first] == here {
		s.first++
		d.have.Add(-int64(s.fill))
		s.fill = 0
	}
	if s.first >= s.end {
		return 0, 0
	}
	off = int64(s.first)*d.h.chunk + int64(s.fill)
	return off, min(int64(s.end)*d.h.chunk, d.h.size) - off
}

// alone makes s the one stream of a server that ignores ranges, from the first
// chunk that is not here to the last. It returns false when there is one.
func (d *Download) alone(s *span) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stream != nil && d.stream != s {
		return false
	}
	d.stream, d.single, d.target = s, true, 1
	first := 0
	for first < len(d.chunks) && d.chunks[first] == here {
		first++
	}
	if first != s.first {
		d.have.Add(-int64(s.fill))
		s.first, s.fill = first, 0
	}
	for i := first; i < len(d.chunks); i++ {
		if d.chunks[i] == missing {
			d.chunks[i] = asked
			d.left--
		}
		if d.chunks[i] != here {
			s.end = i + 1
		}
	}
	return true
}

// arrive notes that chunk i is here, and takes the buffer over when it should
// wait in memory.
func (d *Download) arrive(i int, sum uint32, b *buffer) (taken, isNew bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.chunks[i] == here {
		return false, false
	}
	d.chunks[i] = here
	d.sums[i] = sum
	d.nHere++
	if i == d.next {
		select {
		case d.arrived <- struct{}{}:
		default:
		}
	}
	if d.part == nil || i >= d.next && i < d.next+d.tune.window && (i == d.next || d.limit.spare()) {
		d.waiting[i] = b
		return true, true
	}
	return false, true
}

// want tells workers which chunk the feeder is at, and returns it if it is
// here: from memory, or with the checksum it has in the part file.
func (b *board) want(i int) (buf *buffer, sum uint32, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = i
	buf = b.waiting[i]
	delete(b.waiting, i)
	return buf, b.sums[i], b.chunks[i] == here
}

// clear lets go of the memory.
func (b *board) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, buf := range b.waiting {
		buf.release()
		delete(b.waiting, i)
	}
}
