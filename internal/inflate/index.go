package inflate

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrIndex says that index data are damaged or do not belong to the blob.
var ErrIndex = errors.New("bad gzip index")

// An Index holds checkpoints of a gzip stream: places where decoding can begin
// without what is before. An index makes no claim about the data that anybody
// checks: bytes read through it are only as good as the index itself, except
// where a whole member with its checksum is read. Who needs certainty compares
// digests of what was read.
type Index struct {
	in, out int64 // size of the compressed and of the decoded stream
	points  []point
}

// A point is a checkpoint. The first one of an index is the stream's beginning.
type point struct {
	bit    int64  // offset in the compressed stream
	out    int64  // bytes decoded before
	member bool   // a member's header comes; otherwise a block's
	window []byte // deflated: the 32 KiB before the point; empty for a member
}

// Size returns how many bytes the whole stream decodes to.
func (ix *Index) Size() int64 { return ix.out }

// Points returns how many places there are to begin at.
func (ix *Index) Points() int { return len(ix.points) }

// The encoded form is
//
//	"bgzindex1\n" in out count { bits out kind window }* crc32
//
// with numbers as uvarints, bits and out as differences to the point before,
// kind 1 for members, windows with their length before them, and the checksum
// (IEEE, 4 bytes, little-endian) over all that stands before it.
const indexMagic = "bgzindex1\n"

const (
	kindBlock  = 0
	kindMember = 1

	maxDeflatedWindow = window + window/8 // deflate adds less to what it cannot compress
)

// MarshalBinary implements encoding.BinaryMarshaler.
func (ix *Index) MarshalBinary() ([]byte, error) {
	b := []byte(indexMagic)
	b = binary.AppendUvarint(b, uint64(ix.in))
	b = binary.AppendUvarint(b, uint64(ix.out))
	b = binary.AppendUvarint(b, uint64(len(ix.points)))
	var last point
	for _, p := range ix.points {
		b = binary.AppendUvarint(b, uint64(p.bit-last.bit))
		b = binary.AppendUvarint(b, uint64(p.out-last.out))
		kind := byte(kindBlock)
		if p.member {
			kind = kindMember
		}
		b = append(b, kind)
		b = binary.AppendUvarint(b, uint64(len(p.window)))
		b = append(b, p.window...)
		last = p
	}
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. It takes memory in
// proportion to data, keeps no reference to them, and refuses with ErrIndex
// what MarshalBinary cannot have written.
func (ix *Index) UnmarshalBinary(data []byte) error {
	body := len(data) - 4
	if body < len(indexMagic) || string(data[:len(indexMagic)]) != indexMagic {
		return fmt.Errorf("%w: it does not begin with %q", ErrIndex, indexMagic)
	}
	if crc32.ChecksumIEEE(data[:body]) != binary.LittleEndian.Uint32(data[body:]) {
		return fmt.Errorf("%w: wrong checksum", ErrIndex)
	}
	r := indexReader{rest: bytes.Clone(data[len(indexMagic):body])}
	got := Index{in: r.number(1<<58 - 1), out: r.number(1<<62 - 1)}
	count := r.number(int64(len(r.rest)) / 4)
	var last point
	for range count {
		p := point{bit: last.bit + r.number(got.in*8-last.bit), out: last.out + r.number(got.out-last.out)}
		p.member = r.number(kindMember) == kindMember
		p.window = r.bytes(maxDeflatedWindow)
		first := len(got.points) == 0
		if r.bad || first && (p.bit != 0 || p.out != 0 || !p.member) || !first && p.bit == last.bit ||
			p.member != (len(p.window) == 0) {
			return fmt.Errorf("%w: checkpoint %d makes no sense", ErrIndex, len(got.points))
		}
		got.points = append(got.points, p)
		last = p
	}
	if r.bad || len(r.rest) > 0 || count == 0 {
		return fmt.Errorf("%w: wrong length", ErrIndex)
	}
	*ix = got
	return nil
}

// An indexReader takes an encoded index apart. After a mistake it is bad.
type indexReader struct {
	rest []byte
	bad  bool
}

func (r *indexReader) number(most int64) int64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > uint64(max(0, most)) {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return int64(v)
}

func (r *indexReader) bytes(most int64) []byte {
	n := r.number(min(most, int64(len(r.rest))))
	if n > int64(len(r.rest)) {
		r.bad, r.rest, n = true, nil, 0
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// history writes the 32 KiB before the point to dst[:window].
func (p *point) history(dst []byte) error {
	if p.member {
		return nil
	}
	var end [1]byte
	r := flate.NewReader(bytes.NewReader(p.window))
	if _, err := io.ReadFull(r, dst[:window]); err != nil {
		return fmt.Errorf("%w: a window is damaged: %v", ErrIndex, err)
	}
	if n, err := r.Read(end[:]); n != 0 || err != io.EOF {
		return fmt.Errorf("%w: a window is too long", ErrIndex)
	}
	return nil
}
