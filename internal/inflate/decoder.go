package inflate

import (
	"encoding/binary"
	"errors"
	"io"
)

// ErrCorrupt says that the data are no valid gzip or deflate stream. Errors
// that wrap it say where and why. A stream that just ends too early is
// io.ErrUnexpectedEOF instead.
var ErrCorrupt = errors.New("corrupt gzip data")

const (
	window = 32 << 10 // how far back a match may reach

	// Room that an output buffer has behind its limit: the longest match and the
	// literals of one turn of the loop, and what its copies write too much.
	slack = 258 + 3 + 43

	// Input that the inner loop wants to see ahead: three loads of 8 bytes.
	fastInput = 24
)

// status is why decoder.run returned.
type status uint8

const (
	statusFull   status = iota // the output limit is reached
	statusBlock                // a block ended, another one follows
	statusEnd                  // the last block ended
	statusFailed               // see decoder.err
)

type stage uint8

const (
	stageHeader stage = iota // before the header of a block
	stageStored              // inside a stored block
	stageCodes               // inside a block of Huffman codes
)

// A decoder decodes one deflate stream. Its input is a chain of segments; its
// output goes to out[w:], where matches may reach back to out[low]. When w
// reaches limit it stops and wants another buffer that begins with the last
// 32 KiB. With wide set it works on symbols of 16 bits instead; see wide.go.
type decoder struct {
	bits uint64 // the next n bits, zero above them
	n    uint
	in   []byte // the current segment, consumed up to pos
	pos  int
	base int64         // offset of in in the stream
	more func() []byte // the next segment; nil at the end of the input

	out           []byte
	wide          []uint16
	w, low, limit int

	stage  stage
	final  bool // the current block is the last one
	stored int  // bytes left of a stored block
	err    error

	tables
}

func newDecoder(more func() []byte) *decoder {
	d := &decoder{more: more}
	d.describe()
	return d
}

// offset is the number of bits consumed since the start of the input.
func (d *decoder) offset() int64 {
	return (d.base+int64(d.pos))*8 - int64(d.n)
}

// start makes the decoder ready for the first block of a stream.
func (d *decoder) start() {
	d.stage, d.final, d.stored, d.err = stageHeader, false, 0, nil
	d.low = d.w
}

// run decodes to the end of the block or of the output buffer.
func (d *decoder) run() status {
	if d.stage == stageHeader {
		if d.blockHeader(); d.err != nil {
			return statusFailed
		}
	}
	for d.w < d.limit {
		done := false
		if d.stage == stageStored {
			done = d.copyStored()
		} else {
			done = d.decodeCodes()
		}
		if d.err != nil {
			return statusFailed
		}
		if done {
			d.stage = stageHeader
			if d.final {
				return statusEnd
			}
			return statusBlock
		}
	}
	return statusFull
}

// decodeCodes decodes symbols up to the end of the block (true) or the limit.
// The fast loop does the bulk, the careful one what is near the end of a
// segment.
func (d *decoder) decodeCodes() (done bool) {
	for d.w < d.limit && d.err == nil {
		if fastMachine && len(d.in)-d.pos >= fastInput+8 && d.n <= uint(d.pos)*8 { // leave can give bytes back to this segment
			if d.wide != nil {
				done = d.fastWide()
			} else {
				done = d.fast()
			}
			if done || d.err != nil {
				return done
			}
			continue
		}
		if d.symbol() {
			return d.err == nil
		}
	}
	return false
}

// nextSegment goes on to the next piece of input.
func (d *decoder) nextSegment() bool {
	for d.more != nil {
		seg := d.more()
		if seg == nil {
			return false
		}
		d.base += int64(len(d.in))
		d.in, d.pos = seg, 0
		if len(seg) > 0 {
			return true
		}
	}
	return false
}

// fill brings at least 56 bits into d.bits, or all there are.
func (d *decoder) fill() {
	for {
		if len(d.in)-d.pos >= 8 {
			d.bits |= binary.LittleEndian.Uint64(d.in[d.pos:]) << (d.n & 63)
			bytes := (63 - d.n) >> 3
			d.pos += int(bytes)
			d.n += bytes * 8
			d.bits &= 1<<(d.n&63) - 1
			return
		}
		for d.n < 56 && d.pos < len(d.in) {
			d.bits |= uint64(d.in[d.pos]) << (d.n & 63)
			d.pos++
			d.n += 8
		}
		if d.n >= 56 || !d.nextSegment() {
			return
		}
	}
}

// drop consumes bits.
func (d *decoder) drop(n uint) {
	if n > d.n {
		d.bits, d.n, d.err = 0, 0, io.ErrUnexpectedEOF
		return
	}
	d.bits >>= n & 63
	d.n -= n
}

// take returns the next n <= 32 bits and consumes them.
func (d *decoder) take(n uint) uint {
	if d.n < n {
		d.fill()
	}
	v := uint(d.bits & (1<<(n&63) - 1))
	d.drop(n)
	return v
}

// align consumes the bits up to the next byte boundary.
func (d *decoder) align() { d.drop(d.n & 7) }

// bytes fills p from the input, which must be aligned. It returns how many
// bytes there were.
func (d *decoder) bytes(p []byte) int {
	done := 0
	for done < len(p) {
		switch {
		case d.n > 0:
			p[done] = byte(d.bits)
			d.drop(8)
			done++
		case d.pos < len(d.in):
			k := copy(p[done:], d.in[d.pos:])
			d.pos += k
			done += k
		case !d.nextSegment():
			return done
		}
	}
	return done
}

func (d *decoder) corrupt(why string) {
	if d.err == nil {
		d.err = &corruptError{d.offset() / 8, why}
	}
}
