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

// chunk is a piece of the stream with two users: whoever unpacks it and
// whoever adds it to the digest. The later one frees it.
type chunk struct {
	buf  []byte
	err  error // what ended the stream after buf; io.EOF at its end
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
	cur    *chunk
	off    int
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
	for {
		var c *chunk
		select {
		case c = <-s.free:
		case <-s.ctx.Done():
			return
		}
		if c == nil {
			c = &chunk{buf: make([]byte, 0, chunkSize)}
		}
		c.buf = c.buf[:chunkSize]
		n := 0
		for n < chunkSize && c.err == nil {
			var m int
			m, c.err = s.src.Read(c.buf[n:])
			n += m
			if s.ctx.Err() != nil {
				return
			}
		}
		c.buf = c.buf[:n]
		c.refs.Store(2)
		last := c.err != nil // c may be reused once it is sent
		s.hash <- c
		s.parse <- c
		if last {
			return
		}
	}
}

func (s *stream) sum() {
	h := sha256.New()
	for c := range s.hash {
		h.Write(c.buf)
		s.release(c)
	}
	s.digest <- "sha256:" + hex.EncodeToString(h.Sum(nil))
}

func (s *stream) release(c *chunk) {
	if c.refs.Add(-1) == 0 && c.err == nil {
		s.free <- c
	}
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	for s.cur == nil || s.off == len(s.cur.buf) {
		if s.cur != nil {
			if s.cur.err != nil {
				return 0, s.cur.err
			}
			s.release(s.cur)
			s.cur = nil
		}
		var ok bool
		select {
		case s.cur, ok = <-s.parse:
		case <-s.ctx.Done():
		}
		if !ok {
			s.cur = nil
			return 0, context.Cause(s.ctx)
		}
		s.off = 0
	}
	n := copy(p, s.cur.buf[s.off:])
	s.off += n
	return n, nil
}

// drain reads to the end: the digest is that of all bytes, also of those
// behind the end mark of the archive.
func (s *stream) drain() error {
	for {
		if s.cur != nil {
			s.off = len(s.cur.buf)
		}
		_, err := s.Read(nil)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &readError{err}
		}
	}
}

// close waits until nobody reads from the source any more and returns the
// digest of what was read.
func (s *stream) close() string {
	for range s.parse {
	}
	return <-s.digest
}
