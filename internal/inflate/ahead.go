package inflate

import "sync"

const (
	maxJobs = 32 // of one stream at once
	// reserve is how many segments the decoder in order keeps for itself in
	// front of a new job: it decodes them while the job, which is slower for
	// its symbols of 16 bits, is done. A little too many is better than too
	// few: then the job's worker takes another one, while nobody waits.
	reserve = 5
)

// ahead is the speculative half of a stream: the jobs that are under way or
// done, in the order of the stream.
type ahead struct {
	r       *Reader
	mu      sync.Mutex
	at      int // segment of the decoder in order
	jobs    []*job
	workers []*worker // idle
	closed  bool

	taken, missed int // jobs that were used, and that were not; for tests
}

// limit is how many jobs there may be: none where only one decoder may run.
func (a *ahead) limit() int {
	if a.r.opt.Gate.size < 2 {
		return 0
	}
	return min(maxJobs, int(a.r.opt.Gate.size))
}

// segmentsAhead is how much input a stream wants to hold.
func segmentsAhead(g *Gate) int {
	if g.size < 2 {
		return 6
	}
	return 6 + reserve + jobSegments*min(maxJobs, int(g.size))
}

// moved says that the decoder in order is in segment at, and starts jobs.
func (a *ahead) moved(at int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = at
	a.start()
}

// more says that there is more input, and starts jobs.
func (a *ahead) more() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.start()
}

// start begins as many jobs as there is input and room for. The caller holds
// a.mu.
func (a *ahead) start() {
	for !a.closed && len(a.jobs) < a.limit() {
		j := a.place()
		if j == nil || !a.r.opt.Gate.try() {
			return
		}
		a.jobs = append(a.jobs, j)
		var w *worker
		if n := len(a.workers); n > 0 {
			w, a.workers = a.workers[n-1], a.workers[:n-1]
		}
		go a.work(w, j)
	}
}

// place finds the stretch for the next job; nil if its input is not here yet.
func (a *ahead) place() *job {
	first, free := a.at, 0
	for _, j := range a.jobs {
		free += max(0, j.first-first)
		first = max(first, j.behind)
	}
	first += max(0, reserve-free)
	behind := first + jobSegments
	from, upTo, ok := a.r.feed.span(first, behind)
	if !ok {
		return nil
	}
	return &job{
		first: first, behind: behind, from: from * 8, upTo: upTo * 8, start: -1,
		found: make(chan struct{}), done: make(chan struct{}),
	}
}

// work does a job, holding a place in the gate, and starts the next one.
func (a *ahead) work(w *worker, j *job) {
	if w == nil {
		w = newWorker(a.r)
	}
	if j.claimed.CompareAndSwap(false, true) {
		w.run(j)
	}
	a.r.opt.Gate.leave()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.workers = append(a.workers, w)
	a.start()
}

// pop takes the first job out of the list.
func (a *ahead) pop(j *job) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.jobs) > 0 && a.jobs[0] == j {
		a.jobs = a.jobs[1:]
	}
}

func (a *ahead) firstJob() *job {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.jobs) == 0 {
		return nil
	}
	return a.jobs[0]
}

// close cancels all jobs.
func (a *ahead) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, j := range a.jobs {
		j.cancel.Store(true)
	}
}

// reached returns the job that began at exactly this bit, complete, or nil.
// Jobs that began elsewhere and are overtaken are thrown away.
func (a *ahead) reached(bit int64, member bool) *job {
	for {
		j := a.firstJob()
		if j == nil || bit < j.from {
			return nil
		}
		if j.claimed.CompareAndSwap(false, true) {
			a.pop(j) // its worker did not even begin
			continue
		}
		a.wait(j.found)
		if j.start > bit {
			return nil
		}
		a.pop(j)
		if j.start == bit && j.member == member {
			a.wait(j.done)
			if j.err == nil {
				a.taken++
				return j
			}
			a.missed++
			continue
		}
		a.missed++
		j.cancel.Store(true)
		go func() { <-j.done; j.release(a.r) }()
	}
}

// wait waits for a worker, which is no work; meanwhile another job may begin.
func (a *ahead) wait(c chan struct{}) {
	select {
	case <-c:
		return
	default:
	}
	a.r.opt.Gate.leave()
	a.more()
	<-c
	a.r.opt.Gate.enter()
}

// take makes the result of a job the stream's own: its parts are queued, those
// with markers after their resolution has begun on other goroutines, and the
// decoder goes on behind it. It reports false if the reader was closed.
func (s *stream) take(j *job) bool {
	d := s.d
	if !s.send(nil) { // now d.out begins with the 32 KiB before the job
		return false
	}
	var res *resolver
	if len(j.parts) > 0 && j.parts[0].wide != nil {
		res = newResolver(d.out[:window])
	}
	last := j.parts[len(j.parts)-1]
	if last.wide != nil {
		res.resolve(d.out[:window], last.wide[last.w-window:last.w])
	} else {
		copy(d.out[:window], last.buf[last.w-window:last.w])
	}
	d.w, s.from, d.low = window, window, 0
	if j.end.fresh >= 0 {
		d.low = max(0, window-j.end.fresh)
	}
	if !s.seek(j.end.bit) {
		return false
	}
	parts := j.parts
	j.parts = nil
	for len(parts) > 0 {
		var p *piece
		if parts[0].wide == nil {
			f := parts[0]
			p = &piece{buf: f.buf, data: f.buf[f.from:f.w], ends: f.ends, marks: f.marks}
			parts = parts[1:]
		} else {
			n := 1
			for n < len(parts) && n < groupParts && parts[n].wide != nil {
				n++
			}
			p = s.resolveGroup(res, parts[:n])
			parts = parts[n:]
		}
		if !s.push(p) {
			return false
		}
	}
	return true
}

// resolveGroup turns wide parts into one piece, on another goroutine.
func (s *stream) resolveGroup(res *resolver, parts []part) *piece {
	p := &piece{ready: make(chan struct{})}
	size := 0
	for _, part := range parts {
		for _, e := range part.ends {
			e.at += size
			p.ends = append(p.ends, e)
		}
		for _, m := range part.marks {
			m.at += size
			p.marks = append(p.marks, m)
		}
		size += part.size()
	}
	r := s.r
	p.buf = r.pool.get()
	if size > len(p.buf) {
		p.buf = make([]byte, size)
	}
	p.data = p.buf[:size]
	r.opt.Gate.enter()
	go func() {
		at := 0
		for _, part := range parts {
			res.resolve(p.data[at:], part.wide[part.from:part.w])
			at += part.size()
			r.widePool.put(part.wide)
		}
		r.opt.Gate.leave()
		close(p.ready)
	}()
	return p
}

// seek puts the decoder at a bit further on in the stream.
func (s *stream) seek(bit int64) bool {
	f := s.r.feed
	i := f.number(bit / 8)
	if s.seg == nil || i != s.next-1 {
		s.next = i
		if s.more() == nil && bit/8 < f.length() {
			return false
		}
	}
	d := s.d
	d.in, d.base, d.bits, d.n = nil, bit/8, 0, 0
	if s.seg != nil {
		d.in, d.base = s.seg.data, s.seg.base
	}
	d.pos = int(bit/8 - d.base)
	d.take(uint(bit & 7))
	d.stage, d.final, d.err = stageHeader, false, nil
	return true
}
