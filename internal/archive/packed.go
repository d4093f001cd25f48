package archive

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"berth/internal/inflate"
	"berth/internal/sys"
)

// peekSize is how much of a file tells what it is: one tar header.
const peekSize = 512

// packing is how bytes are packed, seen from their beginning.
type packing string

const (
	plain   packing = ""
	gzipped packing = "gzip"
	zstded  packing = "zstd"
	bzipped packing = "bzip2"
	xzed    packing = "xz"
)

func packingOf(b []byte) packing {
	switch {
	case bytes.HasPrefix(b, []byte{0x1f, 0x8b}):
		return gzipped
	case bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstded
	case len(b) >= 4 && b[0]&0xf0 == 0x50 && bytes.Equal(b[1:4], []byte{0x2a, 0x4d, 0x18}):
		return zstded // behind a frame to skip
	case bytes.HasPrefix(b, []byte("BZh")):
		return bzipped
	case bytes.HasPrefix(b, []byte("\xfd7zXZ\x00")):
		return xzed
	}
	return plain
}

// isTar reports whether b begins a tar stream: with a header whose checksum is
// right, or with the zeros that end an empty one.
func isTar(b []byte) bool {
	if len(b) < 512 {
		return false
	}
	b = b[:512]
	if bytes.Equal(b, make([]byte, 512)) {
		return true
	}
	var sum int64
	for i, c := range b {
		if i >= 148 && i < 156 {
			c = ' ' // the checksum itself
		}
		sum += int64(c)
	}
	var want int64
	for _, c := range bytes.Trim(b[148:156], " \x00") {
		if c < '0' || c > '7' {
			return false
		}
		want = want<<3 | int64(c-'0')
	}
	return sum == want
}

// unpacker unpacks streams of all kinds.
type unpacker struct {
	zstd Tool
	gate *inflate.Gate // shared by all streams of one call
}

// open returns what is packed in src. The stream ends with io.EOF only when all
// of src was read and was right.
func (u unpacker) open(src *bufio.Reader) (io.ReadCloser, error) {
	magic, err := src.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch packingOf(magic) {
	case gzipped:
		z := inflate.NewReader(src, inflate.Options{Gate: u.gate})
		return &unpacking{Reader: z, what: gzipped, end: z.Close}, nil
	case zstded:
		z, err := u.zstd.start(src)
		if err != nil {
			return nil, err
		}
		return &unpacking{Reader: z, what: zstded, end: z.Close}, nil
	case bzipped:
		return &unpacking{Reader: bzip2.NewReader(src), what: bzipped, end: func() error { return nil }}, nil
	case xzed:
		return nil, errors.New("it is packed with xz, which berth does not unpack: pipe it through `xz -dc`")
	}
	return io.NopCloser(src), nil
}

// unpacking is a packed stream on its way out.
type unpacking struct {
	io.Reader
	what packing
	end  func() error
}

func (p *unpacking) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("its %s is damaged: %w", p.what, err)
	}
	return n, err
}

func (p *unpacking) Close() error { return p.end() }

// room is a stream that ends with an error before what is made of it fills the
// disk.
type room struct {
	io.Reader
	space sys.Space
}

func (r *room) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if full := r.space.Take(n); full != nil {
		return 0, full
	}
	return n, err
}
