package inflate

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// The flags of a gzip header (RFC 1952, 2.3.1).
const (
	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
)

const maxHeaderString = 512 // with its zero, as compress/gzip has it

// memberHeader reads the header of a gzip member. It reports io.EOF if there is
// nothing at all; other errors are in d.err too.
func (d *decoder) memberHeader() error {
	h := headerReader{d: d}
	var fixed [10]byte
	if n := h.read(fixed[:]); n == 0 {
		return io.EOF
	}
	if h.err == nil && (fixed[0] != 0x1f || fixed[1] != 0x8b || fixed[2] != 8) {
		d.corrupt("no gzip header")
		return d.err
	}
	flags := fixed[3]
	if flags&flagExtra != 0 {
		var size [2]byte
		h.read(size[:])
		h.read(make([]byte, binary.LittleEndian.Uint16(size[:])))
	}
	if flags&flagName != 0 {
		h.text()
	}
	if flags&flagComment != 0 {
		h.text()
	}
	if sum := h.sum; flags&flagHeaderCRC != 0 {
		var stored [2]byte
		h.read(stored[:])
		if h.err == nil && binary.LittleEndian.Uint16(stored[:]) != uint16(sum) {
			d.corrupt("checksum of a gzip header is wrong")
		}
	}
	if h.err != nil {
		d.err = h.err
	}
	return d.err
}

// A headerReader reads a header's fields and sums them up.
type headerReader struct {
	d   *decoder
	sum uint32
	err error
}

func (h *headerReader) read(p []byte) int {
	if h.err != nil {
		return 0
	}
	n := h.d.bytes(p)
	h.sum = crc32.Update(h.sum, crc32.IEEETable, p[:n])
	if n < len(p) {
		h.err = io.ErrUnexpectedEOF
	}
	return n
}

func (h *headerReader) text() {
	var b [1]byte
	for range maxHeaderString {
		if h.read(b[:]); h.err != nil || b[0] == 0 {
			return
		}
	}
	h.d.corrupt("text in a gzip header without end")
	h.err = h.d.err
}

// memberEnd is a gzip trailer: what the member before it should be.
type memberEnd struct {
	at   int // where in a piece's data the member ends
	sum  uint32
	size uint32 // modulo 1<<32
}

// memberTrailer reads the trailer after the last block.
func (d *decoder) memberTrailer() (memberEnd, error) {
	var raw [8]byte
	d.align()
	if d.bytes(raw[:]) < len(raw) {
		d.err = io.ErrUnexpectedEOF
	}
	return memberEnd{
		sum:  binary.LittleEndian.Uint32(raw[:]),
		size: binary.LittleEndian.Uint32(raw[4:]),
	}, d.err
}

// A checker compares the members of a stream with their trailers.
type checker struct {
	sum  uint32
	size uint32
}

func (c *checker) add(data []byte) {
	c.sum = crc32.Update(c.sum, crc32.IEEETable, data)
	c.size += uint32(len(data))
}

func (c *checker) end(e memberEnd) error {
	defer func() { *c = checker{} }()
	if c.sum != e.sum || c.size != e.size {
		return fmt.Errorf("%w: a member has crc32 %08x and %d bytes, its trailer says %08x and %d",
			ErrCorrupt, c.sum, c.size, e.sum, e.size)
	}
	return nil
}
