package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// progress is how many bytes must have come for a failure to count as a new
	// one and not as one more of the same.
	progress = 16 << 10
	// longestWait is how long a server may ask to wait before it is taken for
	// a refusal.
	longestWait = 5 * time.Minute
	// readSize is how much is read at once.
	readSize = 256 << 10
	// overload is how long after the last byte on any connection a refused
	// request means that there are too many, and not that the network is down.
	overload = 2 * time.Second
	// lastLook is how long to wait for the end of a body that should be over.
	lastLook = time.Second
)

var (
	errStall  = errors.New("the connection is silent")
	errShort  = errors.New("the answer ends too early")
	errRetire = errors.New("another worker has the only stream")
)

// ensure sees to it that there is a worker.
func (d *Download) ensure() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.workers == 0 && d.left > 0 {
		d.spawn()
	}
}

// spawn starts a worker. The lock of the board is held.
func (d *Download) spawn() {
	d.workers++
	d.wg.Go(d.work)
}

// work brings one span after the other.
func (d *Download) work() {
	for {
		if d.limit.acquire(d.ctx) != nil {
			return // the download is over
		}
		s := d.take()
		if s == nil {
			d.limit.release()
			return
		}
		err := d.bring(s)
		d.drop(s)
		if err != nil && err != errRetire {
			d.fail(err)
			return
		}
	}
}

// fail ends the download. Only the first failure counts.
func (d *Download) fail(err error) { d.cancel(err) }

// bring asks for a span until it is here. It comes with a connection of the
// Limit and gives it back.
func (d *Download) bring(s *span) error {
	for {
		err := d.attempt(s)
		if err == nil {
			d.limit.wentWell()
		}
		d.limit.release()
		var final finalError
		switch _, n := d.skip(s); {
		case errors.As(err, &final):
			return final.error
		case err == errRetire, n == 0:
			return nil
		case d.ctx.Err() != nil:
			return context.Cause(d.ctx)
		}
		if err != nil {
			wait, longest, err := d.again(s, err)
			if err == nil {
				err = d.pause(wait, longest)
			}
			if err != nil {
				return err
			}
		}
		if err := d.limit.acquire(d.ctx); err != nil {
			return err
		}
	}
}

// pause waits at least for the one time, and up to the other while nothing
// comes on any connection: once something does, the network is back for all.
func (d *Download) pause(least, longest time.Duration) error {
	begun := time.Now()
	for step := least; ; step = d.tune.backoff {
		if err := sleep(d.ctx, step); err != nil {
			return err
		}
		if time.Since(begun) >= longest || d.lastByte.Load() > begun.UnixNano() {
			return nil
		}
	}
}

// again says how long to wait before the next try, at least and at most, or why
// there is none.
func (d *Download) again(s *span, err error) (least, longest time.Duration, final error) {
	now := time.Now()
	if got := s.got.Load(); got-s.mark >= progress {
		s.tries, s.mark = 0, got
	}
	if s.tries == 0 {
		s.since, s.shorts = now, 0
	}
	s.tries++
	wait, ok := time.Duration(0), true
	if !errors.Is(err, errStall) && !errors.Is(err, errShort) && !errors.Is(err, io.ErrUnexpectedEOF) {
		wait, ok = d.src.Transient(err)
	}
	var no refusal
	refused := errors.As(err, &no)
	if refused {
		err = no.error
	} else if !errors.Is(err, errStall) {
		s.shorts++ // it answers and does not keep to it: that is no outage
	}
	if !ok || wait > longestWait {
		return 0, 0, err
	}
	// Where bytes have come before, the network or the registry may be on its
	// way back, and what is here is worth some waiting.
	hopeless := s.shorts == s.tries || d.received.Load() == 0 || now.Sub(s.since) >= d.tune.outage
	if s.tries >= d.tune.tries && hopeless {
		text := "cannot download blob %s: %w (after %d of %d bytes, tried %d times)"
		if errors.Is(err, errShort) {
			err = fmt.Errorf("%w: %w", ErrDigest, err)
		}
		return 0, 0, fmt.Errorf(text, d.opt.Digest, err, d.bytesHere(), d.opt.Size, s.tries)
	}
	if wait > 0 || refused && now.Sub(time.Unix(0, d.lastByte.Load())) < overload {
		d.limit.throttle(wait)
	}
	pause := min(d.tune.backoff<<min(s.tries-1, 20), d.tune.longest)
	return max(wait, min(pause, 4*d.tune.backoff)), pause, nil
}

// attempt asks once for what is missing of a span, and takes what comes.
func (d *Download) attempt(s *span) error {
	off, n := d.skip(s)
	if n == 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(d.ctx)
	defer cancel(nil)
	silent := time.AfterFunc(4*d.tune.stall, func() { cancel(errStall) })
	defer silent.Stop()
	body, whole, err := d.src.Range(ctx, off, n)
	if err != nil {
		return explain(ctx, refusal{err})
	}
	defer body.Close()
	// A body that hangs in Read is woken by closing it.
	defer context.AfterFunc(ctx, func() { body.Close() })()
	in := &inflow{d: d, s: s, body: body, silent: silent}
	if whole && n < d.h.size {
		if !d.alone(s) {
			return errRetire
		}
		off, _ = d.skip(s)
		if err := in.discard(off); err != nil {
			return explain(ctx, err)
		}
	} else {
		d.mu.Lock()
		d.answered = true
		d.mu.Unlock()
	}
	return explain(ctx, in.receive())
}

// explain finds out why a transfer was cut off by ourselves.
func explain(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errStall) {
		return errStall
	}
	return err
}

// finalError is what no other try will mend.
type finalError struct{ error }

// refusal is an error of a request, before anything came.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// inflow is one answer of the server.
type inflow struct {
	d      *Download
	s      *span
	body   io.Reader
	silent *time.Timer // ends a connection on which nothing comes
}

// read is one read of the body.
func (in *inflow) read(p []byte) (int, error) {
	n, err := in.body.Read(p[:min(len(p), readSize)])
	if n > 0 {
		in.silent.Reset(in.d.tune.stall)
		in.s.got.Add(int64(n))
		now := time.Now().UnixNano()
		in.s.last.Store(now)
		in.d.lastByte.Store(now)
		in.d.received.Add(int64(n))
	}
	return n, err
}

// discard reads over n bytes that are here already.
func (in *inflow) discard(n int64) error {
	got := in.s.got.Load()
	p := make([]byte, min(n, readSize))
	for n > 0 {
		m, err := in.read(p[:min(int64(len(p)), n)])
		if n -= int64(m); err != nil && n > 0 {
			return ended(err)
		}
	}
	// The same again is no progress.
	in.s.got.Store(got)
	return nil
}

// receive takes the chunks of the span, in order, one after the other.
func (in *inflow) receive() error {
	d, s := in.d, in.s
	in.silent.Reset(d.tune.stall)
	for {
		d.mu.Lock()
		i, over := s.first, s.first >= s.end
		d.mu.Unlock()
		if over {
			return nil
		}
		n := d.h.length(i)
		if s.buf == nil {
			s.buf = d.limit.buffer(n, int64(n) == d.h.chunk)
		}
		for s.fill < n {
			m, err := in.read(s.buf.data[s.fill:n])
			s.fill += m
			d.have.Add(int64(m))
			if err != nil && s.fill < n {
				return ended(err)
			}
		}
		in.silent.Stop()
		if i == len(d.chunks)-1 {
			if err := in.end(); err != nil {
				return err
			}
		}
		if err := d.complete(s, i); err != nil {
			return err
		}
		in.silent.Reset(d.tune.stall)
	}
}

// ended tells a body that ends in good order, but too early, from one that
// breaks.
func ended(err error) error {
	if err == io.EOF {
		return errShort
	}
	return err
}

// end looks whether anything comes after the last byte of the blob.
func (in *inflow) end() error {
	in.silent.Reset(min(lastLook, in.d.tune.stall))
	defer in.silent.Stop()
	var more [1]byte
	if n, _ := in.body.Read(more[:]); n > 0 {
		return finalError{fmt.Errorf("blob %s is longer than the %d bytes its manifest says: %w", in.d.opt.Digest, in.d.opt.Size, ErrDigest)}
	}
	return nil
}

// complete puts chunk i, which is in the span's buffer, where it belongs.
func (d *Download) complete(s *span, i int) error {
	b := s.buf
	b.data = b.data[:s.fill]
	// Where two bring the same chunk, the first to come is what counts, in
	// the part file, in its journal and for the reader.
	one := &d.writing[i%len(d.writing)]
	one.Lock()
	defer one.Unlock()
	var sum uint32
	if !d.isHere(i) && d.part != nil {
		var err error
		if sum, err = d.part.write(i, b.data); err != nil {
			return finalError{err}
		}
	}
	taken, isNew := d.arrive(i, sum, b)
	if !isNew {
		d.have.Add(-int64(s.fill))
	}
	if taken {
		s.buf = nil
	}
	d.mu.Lock()
	s.first, s.fill, s.helped = i+1, 0, false
	d.mu.Unlock()
	return nil
}

func (b *board) isHere(i int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.chunks[i] == here
}
