package inflate

import (
	"fmt"
	"io"
)

// A span decodes what is between two checkpoints.
type span struct {
	r        *RangeReader
	from, to point // to is the end of the stream for the last one
	last     bool
	d        *decoder
	q        chan<- *piece
	sent     int64 // output that was queued
	begin    int   // d.out[begin:d.w] was not
	check    checker
	whole    bool // check has seen the member from its start
	input    int64
	inputErr error
}

const spanInput = 64 << 10

// decode decodes the span behind checkpoint i into q.
func (r *RangeReader) decode(i int, q chan<- *piece) {
	defer close(q)
	defer r.b.opt.Gate.leave()
	ix := r.b.ix
	s := &span{r: r, from: ix.points[i], q: q, last: i+1 == len(ix.points)}
	if s.last {
		s.to = point{bit: ix.in * 8, out: ix.out, member: true}
	} else {
		s.to = ix.points[i+1]
	}
	s.input = s.from.bit / 8
	s.d = newDecoder(s.more)
	err := s.run()
	if s.inputErr != nil && err != nil {
		err = s.inputErr
	}
	if err != nil {
		s.send(fmt.Errorf("reading a gzip blob from checkpoint %d: %w", i, err))
	} else {
		s.send(nil)
	}
}

// more reads the next input.
func (s *span) more() []byte {
	n := min(spanInput, s.r.b.ix.in-s.input)
	if n <= 0 {
		return nil
	}
	buf := make([]byte, n)
	got, err := s.r.b.src.ReadAt(buf, s.input)
	if got < len(buf) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		s.inputErr = err
		return nil
	}
	s.input += n
	return buf
}

// run decodes to the next checkpoint, which must be met exactly.
func (s *span) run() error {
	d := s.d
	d.base = s.from.bit / 8
	s.newBuffer()
	if err := s.from.history(d.out); err != nil {
		return err
	}
	d.take(uint(s.from.bit & 7))
	between := s.from.member
	if !between {
		d.start()
		d.low = 0
	}
	for {
		at, out := d.offset(), s.sent+int64(d.w-s.begin)+s.from.out
		if at == s.to.bit && out == s.to.out && between == s.to.member {
			return nil
		}
		if at >= s.to.bit || out > s.to.out {
			return fmt.Errorf("%w: the next checkpoint is not where it should be", ErrIndex)
		}
		var err error
		if between, err = s.block(between); err != nil {
			return err
		}
	}
}

// block decodes one block, with the header or trailer of its member.
func (s *span) block(header bool) (between bool, err error) {
	d := s.d
	if header {
		if err := d.memberHeader(); err != nil {
			return false, err
		}
		d.start()
		s.check, s.whole = checker{}, true
	}
	for {
		from := d.w
		st := d.run()
		if s.whole {
			s.check.add(d.out[from:d.w])
		}
		switch st {
		case statusFailed:
			return false, d.err
		case statusBlock:
			return false, nil
		case statusEnd:
			end, err := d.memberTrailer()
			if err == nil && s.whole {
				err = s.check.end(end)
			}
			return true, err
		}
		if s.from.out+s.sent > s.to.out {
			return false, fmt.Errorf("%w: the next checkpoint is not where it should be", ErrIndex)
		}
		if !s.send(nil) {
			return false, ErrClosed
		}
	}
}

func (s *span) send(err error) bool {
	d := s.d
	p := &piece{buf: d.out, data: d.out[s.begin:d.w], at: s.from.out + s.sent, err: err}
	s.sent += int64(len(p.data))
	if err == nil {
		s.newBuffer()
	}
	s.r.b.opt.Gate.leave()
	defer s.r.b.opt.Gate.enter()
	select {
	case s.q <- p:
		return true
	case <-s.r.stop:
		return false
	}
}

func (s *span) newBuffer() {
	d := s.d
	buf := s.r.pool.get()
	if d.out != nil {
		copy(buf[:window], d.out[d.w-window:d.w])
		d.low = max(0, d.low-(d.w-window))
	}
	d.out, d.w, d.limit = buf, window, window+s.r.b.opt.piece
	s.begin = d.w
}
