package inflate

import (
	"io"
	"sync"
)

const (
	firstSegment = 32 << 10  // small layers are many: do not take a whole segment for them
	segmentSize  = 256 << 10 // compressed bytes read at once
)

// A segment is a stretch of the compressed stream. A feed counts its users, so
// that the buffer is used again only when the last of them is done.
type segment struct {
	data []byte
	base int64 // offset in the stream
	uses int
}

// A feed reads the source on a goroutine of its own, a bounded number of
// segments ahead of the decoder that is furthest behind. Segments are known by
// their number.
type feed struct {
	size  int // of a segment
	ahead int // segments held at most

	mu     sync.Mutex
	cond   sync.Cond
	first  int // number of segs[0]: those before are gone
	segs   []*segment
	total  int64 // bytes read
	free   [][]byte
	paused bool // as many segments are here as may be
	ended  bool // no more segments will come
	closed bool
	err    error // why, if not for the end of the source
}

func newFeed(size, ahead int) *feed {
	f := &feed{size: size, ahead: ahead}
	f.cond.L = &f.mu
	return f
}

// run reads src to its end and calls arrived after each segment. It returns when
// the feed is closed, but not before a Read that is under way.
func (f *feed) run(src io.Reader, arrived func()) {
	for {
		buf := f.room(f.total == 0)
		if buf == nil {
			return
		}
		n, err := io.ReadFull(src, buf)
		f.mu.Lock()
		if n > 0 {
			f.segs = append(f.segs, &segment{data: buf[:n], base: f.total})
			f.total += int64(n)
		}
		if err != nil {
			f.ended = true
			if err != io.EOF && err != io.ErrUnexpectedEOF {
				f.err = err
			}
		}
		f.cond.Broadcast()
		f.mu.Unlock()
		arrived()
		if err != nil {
			return
		}
	}
}

// room waits until another segment may be read; nil when the feed is closed.
func (f *feed) room(first bool) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.segs) >= f.ahead {
		// Go on when half of them are gone: a goroutine is not woken for nothing.
		f.paused = true
		f.cond.Broadcast()
		for len(f.segs) > f.ahead/2 && !f.closed {
			f.cond.Wait()
		}
		f.paused = false
	}
	switch {
	case f.closed:
		return nil
	case first:
		return make([]byte, min(firstSegment, f.size))
	case len(f.free) > 0:
		buf := f.free[len(f.free)-1]
		f.free = f.free[:len(f.free)-1]
		return buf
	}
	return make([]byte, f.size)
}

// use waits for segment i and counts the caller as its user until it calls
// drop. It returns nil past the end, and when the feed is closed. A caller that
// is ahead gets nil also if the segment will not come before the decoder in
// order, which may be waiting for that caller, moves on.
func (f *feed) use(i int, isAhead bool) *segment {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i-f.first >= len(f.segs) && !f.ended && !f.closed && !(isAhead && f.paused) {
		f.cond.Wait()
	}
	if f.closed || i < f.first || i-f.first >= len(f.segs) {
		return nil
	}
	s := f.segs[i-f.first]
	s.uses++
	return s
}

// drop ends a use.
func (f *feed) drop(s *segment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.uses--
	f.recycle(s, s.base < f.start())
}

// pass says that the decoder in order is past all segments before number i.
func (f *feed) pass(i int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.first < i && len(f.segs) > 0 {
		s := f.segs[0]
		f.segs = f.segs[1:]
		f.first++
		f.recycle(s, true)
	}
	if f.paused && len(f.segs) <= f.ahead/2 {
		f.cond.Broadcast()
	}
}

// start is the offset of the first segment that is still held.
func (f *feed) start() int64 {
	if len(f.segs) == 0 {
		return 1 << 62
	}
	return f.segs[0].base
}

func (f *feed) recycle(s *segment, gone bool) {
	if gone && s.uses == 0 && cap(s.data) == f.size && len(f.free) <= f.ahead/2 {
		f.free = append(f.free, s.data[:cap(s.data)])
		s.data = nil
	}
}

// span returns the bytes from which and up to which the segments [i, j) reach.
// It reports false unless they are all here, or half of them and the end.
func (f *feed) span(i, j int) (from, upTo int64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	here := f.first + len(f.segs)
	if i < f.first || here < j && (!f.ended || here <= (i+j)/2) {
		return 0, 0, false
	}
	last := f.segs[min(here, j)-1-f.first]
	return f.segs[i-f.first].base, last.base + int64(len(last.data)), true
}

// number is the number of the segment with a byte, or the next number to come.
func (f *feed) number(offset int64) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, s := range f.segs {
		if offset < s.base+int64(len(s.data)) {
			return f.first + i
		}
	}
	return f.first + len(f.segs)
}

// length is how many bytes were read so far.
func (f *feed) length() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.cond.Broadcast()
}

// sourceErr is the error of the source, if it failed.
func (f *feed) sourceErr() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
