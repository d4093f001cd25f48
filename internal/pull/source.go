package pull

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	chunkSize  = 128 << 10
	chunkCount = 16
	// reportEvery bounds how often progress is told.
	reportEvery = 100 * time.Millisecond
	// verdictLimit is how much more of a layer is fetched to find out whether
	// it was damaged on its way.
	verdictLimit = 64 << 20
)

// source reads a blob ahead of its user, on a goroutine of its own, into a
// ring of buffers.
type source struct {
	blob   io.ReadCloser
	cancel context.CancelFunc
	free   chan []byte
	full   chan []byte
	report func(n int64, done bool)

	stop sync.Once
	quit chan struct{}
	err  error // why full was closed; io.EOF when all was well

	cur []byte // what is left of the buffer in use
	buf []byte // the whole of it
}

// newSource starts reading. Cancel ends a read that waits for the network.
func newSource(blob io.ReadCloser, cancel context.CancelFunc, report func(n int64, done bool)) *source {
	s := &source{blob: blob, cancel: cancel, report: report,
		free: make(chan []byte, chunkCount), full: make(chan []byte, chunkCount), quit: make(chan struct{})}
	for range chunkCount {
		s.free <- nil // made when it is first needed
	}
	go s.pump()
	return s
}

func (s *source) pump() {
	defer close(s.full)
	var n int64
	var told time.Time
	for {
		var b []byte
		select {
		case b = <-s.free:
		case <-s.quit:
			s.err = errClosed
			return
		}
		if b == nil {
			b = make([]byte, chunkSize)
		}
		m, err := readFull(s.blob, b[:chunkSize])
		n += int64(m)
		if m > 0 {
			s.full <- b[:m]
		}
		if err != nil {
			s.err = err
			if err == io.EOF {
				s.report(n, true)
			}
			return
		}
		if now := time.Now(); now.Sub(told) >= reportEvery {
			told = now
			s.report(n, false)
		}
	}
}

// readFull fills b as far as the stream goes.
func readFull(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

var errClosed = errors.New("transfer ended")

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if len(s.cur) == 0 {
		if !s.next() {
			return 0, s.err
		}
	}
	n := copy(p, s.cur)
	s.cur = s.cur[n:]
	return n, nil
}

func (s *source) next() bool {
	if s.buf != nil {
		s.free <- s.buf
		s.buf = nil
	}
	b, ok := <-s.full
	s.cur, s.buf = b, b
	return ok
}

// verdict reads on and returns what is wrong with the blob itself, if anything
// is. Nothing else may read any more.
func (s *source) verdict() error {
	for n := 0; n < verdictLimit; n += len(s.cur) {
		if !s.next() {
			if s.err == io.EOF {
				return nil
			}
			return s.err
		}
	}
	return nil
}

// Close ends the transfer and waits for its goroutine.
func (s *source) Close() error {
	s.stop.Do(func() {
		close(s.quit)
		s.cancel()
		for range s.full {
		}
		s.blob.Close()
	})
	return nil
}
