package inflate

import (
	"errors"
	"io"
	"sync"
)

// ErrClosed is what a Reader returns after Close.
var ErrClosed = errors.New("inflate: reader is closed")

// Options of a Reader.
type Options struct {
	Gate       *Gate // shared by several readers: bounds speculative workers; nil: one of GOMAXPROCS
	Checkpoint int64 // bytes of output between checkpoints; 0: none are kept

	segment int // size of segments, for tests
	piece   int // size of pieces, for tests
}

const (
	pieceSize = 256 << 10 // bytes of output in a piece; stays in a core's cache
	queueSize = 4         // pieces decoded ahead of the caller
	jobSpare  = 12        // buffers kept for later, per job
)

// A piece is a stretch of output in a buffer of its own.
type piece struct {
	buf  []byte // from the pool
	data []byte
	ends []memberEnd
	err  error // after data

	marks []mark // where checkpoints may be, if they are wanted
	at    int64  // offset in the decoded stream; of spans only

	ready chan struct{} // closed when data are complete; nil: they are
}

// A Reader decodes a gzip stream of any number of members.
type Reader struct {
	opt    Options
	feed   *feed
	queue  chan *piece
	stop   chan struct{}
	closed sync.Once
	ahead  ahead

	pool     pool[byte]
	widePool pool[uint16]

	check   checker
	collect *collector // nil: no checkpoints are wanted
	current *piece     // handed out by Next or Read
	rest    []byte     // of current, for Read
	err     error
	ix      *Index
}

// NewReader starts to decode src. Errors, also those of the first header, come
// from Next.
func NewReader(src io.Reader, opt Options) *Reader {
	if opt.Gate == nil {
		opt.Gate = NewGate(0)
	}
	if opt.segment == 0 {
		opt.segment = segmentSize
	}
	if opt.piece == 0 {
		opt.piece = pieceSize
	}
	r := &Reader{
		opt:   opt,
		feed:  newFeed(opt.segment, segmentsAhead(opt.Gate)),
		queue: make(chan *piece, queueSize),
		stop:  make(chan struct{}),
	}
	r.ahead.r = r
	r.pool = pool[byte]{size: window + opt.piece + slack, keep: 8 + jobSpare*r.ahead.limit()}
	r.widePool = pool[uint16]{size: wideRoom, keep: jobSpare * 2 * r.ahead.limit()}
	if opt.Checkpoint > 0 {
		r.collect = newCollector(opt.Checkpoint)
	}
	go r.feed.run(src, r.ahead.more)
	go newStream(r).run()
	return r
}

// NextOwned returns the next piece of output, valid until release is called. It
// returns io.EOF after a valid end of all of the source. Data that are handed
// out before an error are what the stream says, but no checksum has vouched
// for them yet. The pieces of one Reader may be released in any order and from
// any goroutine.
func (r *Reader) NextOwned() (b []byte, release func(), err error) {
	p, err := r.next()
	if err != nil {
		return nil, nil, err
	}
	return p.data, sync.OnceFunc(func() { r.pool.put(p.buf) }), nil
}

// Next returns the next piece of output, valid until the next call of Next or
// Read.
func (r *Reader) Next() ([]byte, error) {
	if rest := r.rest; len(rest) > 0 {
		r.rest = nil
		return rest, nil
	}
	r.recycle()
	p, err := r.next()
	if err != nil {
		return nil, err
	}
	r.current = p
	return p.data, nil
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.rest) == 0 {
		b, err := r.Next()
		if err != nil {
			return 0, err
		}
		r.rest = b
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Index returns the checkpoints of the stream after io.EOF, if Options asked for
// them; otherwise nil.
func (r *Reader) Index() *Index {
	if r.err == io.EOF && r.collect != nil && r.ix == nil {
		r.ix = r.collect.index(r.feed.length())
	}
	return r.ix
}

// Close stops the Reader's goroutines. One of them may still be in a Read of the
// source and ends when that returns; what it read is thrown away.
func (r *Reader) Close() error {
	if r.err == nil {
		r.err = ErrClosed
	}
	r.rest = nil
	r.closed.Do(func() {
		close(r.stop)
		r.feed.close()
		r.ahead.close()
		if r.collect != nil {
			r.collect.stop()
		}
	})
	return nil
}

func (r *Reader) recycle() {
	if r.current != nil {
		r.pool.put(r.current.buf)
		r.current = nil
	}
}

// next takes a piece that is not empty out of the queue and checks it.
func (r *Reader) next() (*piece, error) {
	for r.err == nil {
		p, ok := <-r.queue
		if !ok {
			r.err = io.EOF
			break
		}
		if p.ready != nil {
			<-p.ready
		}
		if err := r.verify(p); err != nil {
			r.err = err
		}
		if len(p.data) > 0 {
			return p, nil
		}
		r.pool.put(p.buf)
	}
	return nil, r.err
}

// verify compares the members that end in p with their trailers.
func (r *Reader) verify(p *piece) error {
	from := 0
	for _, e := range p.ends {
		r.check.add(p.data[from:e.at])
		from = e.at
		if err := r.check.end(e); err != nil {
			p.data = p.data[:from]
			return err
		}
	}
	r.check.add(p.data[from:])
	if r.collect != nil && p.err == nil {
		r.collect.add(p)
	}
	return p.err
}

// A pool keeps a few buffers of one size.
type pool[T byte | uint16] struct {
	size, keep int
	mu         sync.Mutex
	free       [][]T
}

func (p *pool[T]) get() []T {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return make([]T, p.size)
}

func (p *pool[T]) put(b []T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cap(b) == p.size && len(p.free) < p.keep {
		p.free = append(p.free, b[:p.size])
	}
}
