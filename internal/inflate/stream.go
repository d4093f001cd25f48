package inflate

import (
	"fmt"
	"io"
)

// A stream is the decoder in order: the goroutine that knows where it is and
// what came before, and whose output is what the Reader hands out.
type stream struct {
	r    *Reader
	d    *decoder
	seg  *segment // the one d reads
	next int      // number of the segment after it

	from  int // d.out[from:d.w] is decoded and not sent
	ends  []memberEnd
	marks []mark
}

func newStream(r *Reader) *stream {
	s := &stream{r: r}
	s.d = newDecoder(s.more)
	return s
}

// more gives d the next segment; waiting for the network is no work.
func (s *stream) more() []byte {
	if s.seg != nil {
		s.r.feed.drop(s.seg)
	}
	s.r.feed.pass(s.next)
	s.r.opt.Gate.leave()
	s.seg = s.r.feed.use(s.next, false)
	s.r.opt.Gate.enter()
	if s.seg == nil {
		return nil
	}
	s.next++
	s.r.ahead.moved(s.next - 1)
	return s.seg.data
}

// run decodes the whole source.
func (s *stream) run() {
	defer close(s.r.queue)
	s.r.opt.Gate.enter()
	defer s.r.opt.Gate.leave()
	defer s.r.ahead.close()
	s.newBuffer()
	for members := 0; ; members++ {
		between, err := s.jump(true)
		if err == nil {
			s.mark(between)
			err = s.member(between)
		}
		if err == nil {
			continue
		}
		if fault := s.r.feed.sourceErr(); fault != nil {
			err = fault
		} else if err == io.EOF && members > 0 {
			err = nil
		} else {
			err = explain(err, members)
		}
		s.send(err)
		return
	}
}

// explain makes an error of the decoder one for people.
func explain(err error, members int) error {
	switch {
	case err == io.EOF:
		return fmt.Errorf("no gzip data: the input is empty: %w", io.ErrUnexpectedEOF)
	case err == io.ErrUnexpectedEOF:
		return fmt.Errorf("gzip data end too early: %w", err)
	case members > 0:
		return fmt.Errorf("after %d gzip members (zeros or other data after the last one are not allowed): %w", members, err)
	}
	return err
}

// member decodes the next gzip member, or the rest of one if a job has ended
// inside. It returns io.EOF if there is none.
func (s *stream) member(header bool) error {
	if header {
		if err := s.d.memberHeader(); err != nil {
			return err
		}
		s.d.start()
	}
	for {
		switch s.d.run() {
		case statusFull:
			if !s.send(nil) {
				return ErrClosed
			}
		case statusBlock:
			if between, err := s.jump(false); between || err != nil {
				return err
			}
			s.mark(false)
		case statusFailed:
			return s.d.err
		case statusEnd:
			end, err := s.d.memberTrailer()
			if err != nil {
				return err
			}
			end.at = s.d.w - s.from
			s.ends = append(s.ends, end)
			return nil
		}
	}
}

// mark notes a place where a checkpoint may be.
func (s *stream) mark(member bool) {
	if s.r.collect != nil {
		s.marks = append(s.marks, mark{at: s.d.w - s.from, bit: s.d.offset(), member: member})
	}
}

// jump takes the jobs that begin where the decoder is: at a block, or between
// members. It reports whether it is between members afterwards.
func (s *stream) jump(between bool) (bool, error) {
	for {
		j := s.r.ahead.reached(s.d.offset(), between)
		if j == nil {
			return between, nil
		}
		if !between && s.d.w-s.d.low < window {
			// A job does not know how much history there is; take it to be all.
			j.release(s.r)
			return between, nil
		}
		if !s.take(j) {
			return false, ErrClosed
		}
		between = j.end.between
	}
}

// send queues what is decoded, and with it the error that ends the stream; it
// reports false if the reader was closed.
func (s *stream) send(err error) bool {
	p := &piece{buf: s.d.out, data: s.d.out[s.from:s.d.w], ends: s.ends, marks: s.marks, err: err}
	s.ends, s.marks = nil, nil
	if err == nil {
		s.newBuffer() // while p is still ours: it holds the history
	}
	return s.push(p)
}

// push queues a piece. Waiting for the caller is no work.
func (s *stream) push(p *piece) bool {
	s.r.opt.Gate.leave()
	defer s.r.opt.Gate.enter()
	select {
	case s.r.queue <- p:
		return true
	case <-s.r.stop:
		return false
	}
}

// newBuffer gives d a buffer that begins with the last 32 KiB of the old one.
func (s *stream) newBuffer() {
	d := s.d
	buf := s.r.pool.get()
	if old := d.out; old != nil {
		keep := min(window, d.w)
		copy(buf[window-keep:window], old[d.w-keep:d.w])
		d.low = max(window-keep, d.low-(d.w-window))
	}
	d.out, d.w, d.limit = buf, window, window+s.r.opt.piece
	s.from = d.w
}
