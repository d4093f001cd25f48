package inflate

import (
	"errors"
	"sync/atomic"
)

const (
	jobSegments  = 4        // segments a job decodes, about
	findSegments = 2        // how many of them it searches for a start
	widePiece    = 64 << 10 // symbols in a wide buffer
	maxJobOutput = 12 << 20 // a job ends early at the next block behind this
	maxJobBlock  = 24 << 20 // and gives up behind this
	groupParts   = 4        // wide parts that are resolved to one piece
	wideSpare    = 40       // wide buffers kept for later
	wideRoom     = window + widePiece + slack
)

// A job is a stretch of the stream that is decoded before the decoder in order
// gets there. Where it begins is a guess, and the 32 KiB before are unknown.
// The decoder in order takes the result only if it arrives at exactly the bit
// where the job began, so a wrong guess costs work and nothing else.
type job struct {
	first, behind int   // segments: where the search begins, and behind the job's last
	from, upTo    int64 // the same in bits; upTo is the end of the input at most

	claimed atomic.Bool // by the worker that begins it or the decoder that is faster
	cancel  atomic.Bool

	found  chan struct{} // closed when start is known, or known not to be
	start  int64         // -1: none found
	member bool          // start is a member's header, not a block

	done  chan struct{} // closed when the rest is there
	err   error
	parts []part
	end   place
}

// A place is a block's or member's end, where the decoder in order can go on.
type place struct {
	bit     int64
	between bool // between members
	fresh   int  // bytes of output since a member began, -1: none did
	parts   int  // finished parts of the job
	w       int  // end of the output in the part after them
	ends    int  // members that end there
}

var (
	errNoStart   = errors.New("no start of a block found")
	errTooMuch   = errors.New("a block with too much output")
	errCancelled = errors.New("cancelled")
)

// A part is a stretch of a job's output: bytes, or symbols with markers.
type part struct {
	buf  []byte   // narrow
	wide []uint16 // or wide
	from int      // output is buf[from:w] or wide[from:w]
	w    int
	ends []memberEnd

	marks []mark
}

func (p *part) size() int { return p.w - p.from }

// A worker decodes jobs. It has a decoder, whose output buffer is the part under
// construction.
type worker struct {
	r    *Reader
	d    *decoder
	find *finder
	seg  *segment
	next int // number of the segment after seg

	part   part // its buffers are d's; from is where it begins
	marked int  // wide: index behind the last marker in d.wide, at most d.w
	total  int  // output of the finished parts
	fresh  int  // total when the last member began, -1: none did
}

func newWorker(r *Reader) *worker {
	w := &worker{r: r, find: newFinder()}
	w.d = newDecoder(w.more)
	return w
}

func (w *worker) more() []byte {
	if !w.open(w.next) {
		return nil
	}
	return w.seg.data
}

// open makes segment i the current one.
func (w *worker) open(i int) bool {
	if w.seg != nil {
		w.r.feed.drop(w.seg)
	}
	w.seg, w.next = w.r.feed.use(i, true), i+1
	return w.seg != nil
}

// run does a job.
func (w *worker) run(j *job) {
	j.err = w.search(j)
	if j.err == nil {
		w.rest(j)
	} else {
		close(j.found)
	}
	if w.seg != nil {
		w.r.feed.drop(w.seg)
		w.seg = nil
	}
	close(j.done)
}

// search finds the start of the job: the first place from which a whole block,
// or a member's header and a block, can be decoded.
func (w *worker) search(j *job) error {
	for i := j.first; i < min(j.first+findSegments, j.behind); i++ {
		if !w.open(i) {
			return errNoStart
		}
		for from := 0; ; {
			at, member := w.find.next(w.seg.data, from)
			if at < 0 {
				break
			}
			if j.cancel.Load() {
				return errCancelled
			}
			start := w.seg.base*8 + int64(at)
			if w.begin(at, member) && w.step(j) == nil {
				j.start, j.member = start, member
				close(j.found)
				return nil
			}
			w.discard(j)
			if w.next != i+1 && !w.open(i) {
				return errNoStart
			}
			from = at + 1
		}
	}
	return errNoStart
}

// begin puts the decoder at a bit of the current segment.
func (w *worker) begin(at int, member bool) bool {
	d := w.d
	d.in, d.base, d.pos, d.bits, d.n = w.seg.data, w.seg.base, at>>3, 0, 0
	d.err = nil
	d.take(uint(at & 7))
	w.total, w.fresh = 0, -1
	if member {
		if d.memberHeader() != nil {
			return false
		}
		w.newMember()
		return true
	}
	d.start()
	if d.blockHeader(); d.err != nil {
		return false // before a buffer is made ready, which costs more
	}
	d.wide = w.r.widePool.get()
	markers(d.wide)
	d.w, d.limit, d.low = window, window+widePiece, 0
	w.part = part{wide: d.wide, from: window}
	w.marked = window
	return true
}

// newMember goes on with bytes: a member needs nothing of what was before.
func (w *worker) newMember() {
	d := w.d
	d.wide, d.out = nil, w.r.pool.get()
	d.w, d.limit = window, window+w.r.opt.piece
	w.part = part{buf: d.out, from: window}
	w.fresh = w.total
	d.start()
}

// step decodes to the end of a block.
func (w *worker) step(j *job) error {
	for {
		st := w.d.run()
		switch {
		case st == statusFailed:
			return w.d.err
		case st == statusEnd:
			return w.endMember(j)
		case st == statusBlock:
			w.mark(j, false)
			return nil
		case j.cancel.Load():
			return errCancelled
		case w.output() > maxJobBlock:
			return errTooMuch
		}
		w.finishPart(j)
		w.nextPart(j)
	}
}

// rest decodes on to the end of the job, or to the last block before an error.
// What is wrong is for the decoder in order to find out.
func (w *worker) rest(j *job) {
	for w.d.offset() < j.upTo && w.output() <= maxJobOutput {
		if j.end.between && !w.nextMember(j) {
			break
		}
		if w.step(j) != nil {
			break
		}
	}
	w.finishPart(j)
	for _, p := range j.parts[j.end.parts+1:] {
		p.release(w.r)
	}
	j.parts = j.parts[:j.end.parts+1]
	last := &j.parts[j.end.parts]
	last.w, last.ends = j.end.w, last.ends[:j.end.ends] // all marks are before
}

// mark notes the place where the decoder is as the end of the job so far.
func (w *worker) mark(j *job, between bool) {
	j.end = place{
		bit: w.d.offset(), between: between, fresh: -1,
		parts: len(j.parts), w: w.d.w, ends: len(w.part.ends),
	}
	if w.r.collect != nil {
		w.part.marks = append(w.part.marks, mark{at: w.d.w - w.part.from, bit: j.end.bit, member: between})
	}
	if w.fresh >= 0 {
		j.end.fresh = w.output() - w.fresh
	}
}

// output is how much the job has decoded.
func (w *worker) output() int { return w.total + w.d.w - w.part.from }

// endMember reads the trailer of a member.
func (w *worker) endMember(j *job) error {
	end, err := w.d.memberTrailer()
	if err != nil {
		return err
	}
	end.at = w.d.w - w.part.from
	w.part.ends = append(w.part.ends, end)
	w.mark(j, true)
	return nil
}

// nextMember reads the header of the next member.
func (w *worker) nextMember(j *job) bool {
	if w.d.memberHeader() != nil {
		return false
	}
	if w.d.wide != nil {
		w.finishPart(j)
		w.newMember()
	} else {
		w.fresh = w.output()
		w.d.start()
	}
	return true
}

// finishPart adds what is decoded to the job.
func (w *worker) finishPart(j *job) {
	w.part.w = w.d.w
	w.total += w.part.size()
	if w.part.wide != nil {
		if k := lastMarker(w.part.wide[w.part.from:w.d.w]); k > 0 {
			w.marked = w.part.from + k
		}
	}
	j.parts = append(j.parts, w.part)
	w.part = part{}
}

// nextPart gives the decoder a new buffer with the last 32 KiB. When they have
// no markers, decoding goes on with bytes, which is faster.
func (w *worker) nextPart(j *job) {
	d, old := w.d, j.parts[len(j.parts)-1]
	low := max(0, d.low-(d.w-window))
	switch {
	case old.wide == nil:
		buf := w.r.pool.get()
		copy(buf[:window], old.buf[d.w-window:d.w])
		d.out, d.limit = buf, window+w.r.opt.piece
		w.part = part{buf: buf, from: window}
	case w.marked <= d.w-window:
		buf := w.r.pool.get()
		for i, s := range old.wide[d.w-window : d.w] {
			buf[i] = byte(s)
		}
		d.wide, d.out, d.limit = nil, buf, window+w.r.opt.piece
		w.part = part{buf: buf, from: window}
	default:
		wide := w.r.widePool.get()
		copy(wide[:window], old.wide[d.w-window:d.w])
		w.marked -= d.w - window
		d.wide, d.limit = wide, window+widePiece
		w.part = part{wide: wide, from: window}
	}
	d.w, d.low = window, low
}

// discard gives back what a failed attempt or a job that nobody wants holds.
func (w *worker) discard(j *job) {
	if w.part.buf != nil || w.part.wide != nil {
		j.parts = append(j.parts, w.part)
	}
	w.part = part{}
	w.d.wide, w.d.out = nil, nil
	j.release(w.r)
}

// release gives the buffers of a job back.
func (j *job) release(r *Reader) {
	for _, p := range j.parts {
		p.release(r)
	}
	j.parts = nil
}

func (p *part) release(r *Reader) {
	if p.wide != nil {
		r.widePool.put(p.wide)
	} else if p.buf != nil {
		r.pool.put(p.buf)
	}
}
