package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"sync/atomic"
)

const (
	chunkSize  = 256 << 10
	chunkCount = 8
)

// Pieces is a source that hands out what it has in buffers of its own, so that
// nothing need be copied. The bytes are valid until release is called, from
// whichever goroutine. The last ones may come together with io.EOF.
type Pieces interface {
	NextOwned() (b []byte, release func(), err error)
}

// chunk is a piece of the stream with two users, whoever unpacks it and
// whoever adds it to the digest, and perhaps more that [stream.hold] has made.
// The last one frees it.
type chunk struct {
	buf  []byte
	free func() // gives buf back to its owner; nil: it is ours
	err  error  // what ended the stream after buf; io.EOF at its end
	refs atomic.Int32
}

// stream reads a layer ahead of its user and makes its digest, each on a
// goroutine of its own, so that inflating, hashing and writing overlap.
type stream struct {
	ctx    context.Context
	src    io.Reader
	free   chan *chunk
	parse  chan *chunk
	hash   chan *chunk
	digest chan string
	size   int64 // of all of it, known with the digest
	cur    *chunk
	off    int
	starve func() // called before waiting for more; may be nil
}

func newStream(ctx context.Context, src io.Reader) *stream {
	s := &stream{
		ctx: ctx, src: src,
		free:   make(chan *chunk, chunkCount),
		parse:  make(chan *chunk, chunkCount),
		hash:   make(chan *chunk, chunkCount),
		digest: make(chan string, 1),
	}
	for range chunkCount {
		s.free <- nil // its buffer is made when it is first needed
	}
	go s.pump()
	go s.sum()
	return s
}

// pump moves the stream into chunks until it ends or nobody wants more.
func (s *stream) pump() {
	defer close(s.parse)
	defer close(s.hash)
	next := s.read
	if p, ok := s.src.(Pieces); ok {
		next = func(*chunk) *chunk {
			b, free, err := p.NextOwned()
			return &chunk{buf: b, free: free, err: err}
		}
	}
	for s.ctx.Err() == nil {
		var c *chunk
		select {
		case c = <-s.free:
		case <-s.ctx.Done():
			return
		}
		c = next(c)
		if s.ctx.Err() != nil {
			c.giveBack()
			return
		}
		c.refs.Store(2)
		last := c.err != nil // c may be reused once it is sent
		s.hash <- c
		s.parse <- c
		if last {
			return
		}
	}
}

// read fills a chunk from an ordinary reader.
func (s *stream) read(c *chunk) *chunk {
	if c == nil {
		c = &chunk{buf: make([]byte, 0, chunkSize)}
	}
	c.buf = c.buf[:chunkSize]
	n := 0
	for n < chunkSize && c.err == nil && s.ctx.Err() == nil {
		var m int
		m, c.err = s.src.Read(c.buf[n:])
		n += m
	}
	c.buf = c.buf[:n]
	return c
}

func (s *stream) sum() {
	h := sha256.New()
	for c := range s.hash {
		h.Write(c.buf)
		s.size += int64(len(c.buf))
		s.release(c)
	}
	s.digest <- "sha256:" + hex.EncodeToString(h.Sum(nil))
}

func (c *chunk) giveBack() {
	if c.free != nil {
		c.free()
	}
}

func (s *stream) release(c *chunk) {
	if c.refs.Add(-1) > 0 {
		return
	}
	if c.free != nil {
		c.free()
		c = nil
	} else if c.err != nil {
		return
	}
	s.free <- c
}

// hold keeps the bytes of the current chunk valid until it is released.
func (s *stream) hold() *chunk {
	s.cur.refs.Add(1)
	return s.cur
}

// fill sees to it that the current chunk has bytes left.
func (s *stream) fill() error {
	for s.cur == nil || s.off == len(s.cur.buf) {
		if s.cur != nil {
			if s.cur.err != nil {
				return s.cur.err
			}
			s.release(s.cur)
			s.cur = nil
		}
		ok := s.await()
		if !ok {
			s.cur = nil
			return context.Cause(s.ctx)
		}
		s.off = 0
	}
	return nil
}

// await gets the next chunk, if there is one.
func (s *stream) await() (ok bool) {
	select {
	case s.cur, ok = <-s.parse:
		return ok
	default:
	}
	if s.starve != nil {
		s.starve()
	}
	select {
	case s.cur, ok = <-s.parse:
	case <-s.ctx.Done():
	}
	return ok
}

// take returns the next bytes, at least one and at most limit, valid until the
// next call.
func (s *stream) take(limit int64) ([]byte, error) {
	if err := s.fill(); err != nil {
		return nil, err
	}
	b := s.cur.buf[s.off:]
	if int64(len(b)) > limit {
		b = b[:limit]
	}
	s.off += len(b)
	return b, nil
}

// block returns the next len(room) bytes, where they lie or else in room,
// valid until the next call. Where the stream ends first it returns what there
// is, and why it ended.
func (s *stream) block(room []byte) ([]byte, error) {
	if s.cur != nil && len(s.cur.buf)-s.off >= len(room) {
		return s.take(int64(len(room)))
	}
	n := 0
	for n < len(room) {
		b, err := s.take(int64(len(room) - n))
		if err != nil {
			return room[:n], err
		}
		n += copy(room[n:], b)
	}
	return room, nil
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	b, err := s.take(int64(len(p)))
	return copy(p, b), err
}

// close waits until nobody reads from the source any more and returns the
// digest of what was read.
func (s *stream) close() string {
	if s.cur != nil {
		s.release(s.cur)
		s.cur = nil
	}
	for c := range s.parse {
		s.release(c)
	}
	return <-s.digest
}
