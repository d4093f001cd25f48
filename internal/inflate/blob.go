package inflate

import (
	"fmt"
	"io"
	"sync"
)

// A Blob is a gzip stream that can be read from anywhere, with the help of its
// index. Its methods may be called from several goroutines.
type Blob struct {
	ix  *Index
	src io.ReaderAt
	opt Options
}

// Open joins the index with the stream it was made from, which has size bytes.
// That it is the same stream is known only as far as decoding fails if not.
func (ix *Index) Open(src io.ReaderAt, size int64, opt Options) (*Blob, error) {
	if size != ix.in {
		return nil, fmt.Errorf("%w: it is for a blob of %d bytes, not %d", ErrIndex, ix.in, size)
	}
	if len(ix.points) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrIndex)
	}
	if opt.Gate == nil {
		opt.Gate = NewGate(0)
	}
	if opt.piece == 0 {
		opt.piece = pieceSize
	}
	return &Blob{ix: ix, src: src, opt: opt}, nil
}

// Size returns how many bytes the blob decodes to.
func (b *Blob) Size() int64 { return b.ix.out }

// ReadAt implements io.ReaderAt on the decoded stream. It decodes from the
// checkpoint before off, every time.
func (b *Blob) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > b.ix.out {
		return 0, fmt.Errorf("offset %d is outside of the decoded blob of %d bytes", off, b.ix.out)
	}
	want := min(int64(len(p)), b.ix.out-off)
	r := b.Range(off, want)
	defer r.Close()
	n, err := io.ReadFull(r, p[:want])
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

const spanAhead = 32 // pieces decoded ahead of the caller, per span

// Range returns a reader of the decoded bytes [off, off+n), which are cut to
// the size of the blob. The stretches between checkpoints are decoded by
// several goroutines at once, as far as the gate lets them. The caller closes
// the reader.
func (b *Blob) Range(off, n int64) *RangeReader {
	off = min(max(0, off), b.ix.out)
	r := &RangeReader{
		b: b, off: off, left: min(max(0, n), b.ix.out-off), stop: make(chan struct{}),
		pool: pool[byte]{size: window + b.opt.piece + slack, keep: spanAhead},
	}
	for r.span+1 < len(b.ix.points) && b.ix.points[r.span+1].out <= off {
		r.span++
	}
	r.started = r.span
	return r
}

// A RangeReader reads a stretch of a Blob. It is for one goroutine.
type RangeReader struct {
	b         *Blob
	off, left int64 // what is still to be read
	pool      pool[byte]
	stop      chan struct{}
	closed    sync.Once

	span, started int           // the current one, and the first not begun
	queues        []chan *piece // of the spans from span on
	at            int64         // offset of rest
	current       *piece
	rest          []byte
	err           error
}

// Read implements io.Reader.
func (r *RangeReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		if r.err != nil {
			return 0, r.err
		}
		r.advance()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	r.off += int64(n)
	r.left -= int64(n)
	return n, nil
}

// Close stops the reader's goroutines.
func (r *RangeReader) Close() error {
	r.closed.Do(func() { close(r.stop) })
	r.left, r.rest = 0, nil
	return nil
}

// advance makes the next piece the current one, as far as it is wanted.
func (r *RangeReader) advance() {
	if r.current != nil {
		r.pool.put(r.current.buf)
		r.current = nil
	}
	r.start()
	p, ok := <-r.queues[0]
	if !ok {
		r.queues, r.span = r.queues[1:], r.span+1
		if len(r.queues) == 0 && r.started == len(r.b.ix.points) {
			r.err = io.ErrUnexpectedEOF
		}
		return
	}
	r.current, r.err = p, p.err
	data := p.data
	from := p.at
	if skip := r.off - from; skip > 0 {
		data = data[min(skip, int64(len(data))):]
	}
	r.rest = data[:min(int64(len(data)), r.left)]
}

// start begins to decode the current span, and following ones while the gate
// has room.
func (r *RangeReader) start() {
	points := r.b.ix.points
	for r.started < len(points) && len(r.queues) <= maxJobs {
		if r.started > r.span && points[r.started].out >= r.off+r.left {
			return
		}
		if len(r.queues) == 0 {
			r.b.opt.Gate.enter()
		} else if !r.b.opt.Gate.try() {
			return
		}
		q := make(chan *piece, spanAhead)
		r.queues = append(r.queues, q)
		go r.decode(r.started, q)
		r.started++
	}
}
