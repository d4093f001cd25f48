package archive

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

const (
	// peekSize is how much of a file tells what it is: one tar header.
	peekSize = 512
	// maxWindow is how far back a zstd stream may refer: what the tool itself
	// takes without being told. A stream that asks for more asks for memory.
	maxWindow = 128 << 20
)

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

// unpack returns what is packed in src. The stream ends with io.EOF only when
// all of src was read and was right.
func unpack(src *bufio.Reader) (io.ReadCloser, error) {
	magic, err := src.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	p := &unpacking{what: packingOf(magic), rest: src}
	switch p.what {
	case plain:
		return io.NopCloser(src), nil
	case gzipped:
		z, err := gzip.NewReader(src)
		if err != nil {
			return nil, p.damaged(err)
		}
		p.Reader, p.end = z, func() { z.Close() }
	case zstded:
		z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, p.damaged(err)
		}
		p.Reader, p.end = z, z.Close
	case bzipped:
		p.Reader, p.end = bzip2.NewReader(src), func() {}
	case xzed:
		return nil, errors.New("it is packed with xz, which berth does not unpack: pipe it through `xz -dc`")
	}
	return p, nil
}

// unpacking is a packed stream on its way out.
type unpacking struct {
	io.Reader
	what packing
	rest io.Reader // what is packed
	end  func()
}

func (p *unpacking) damaged(err error) error { return fmt.Errorf("its %s is damaged: %w", p.what, err) }

func (p *unpacking) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if err == nil {
		return n, nil
	}
	if err != io.EOF {
		return n, p.damaged(err)
	}
	extra, err := io.Copy(io.Discard, p.rest)
	if err != nil {
		return n, err
	}
	if extra > 0 {
		return n, fmt.Errorf("its %s is followed by something else", p.what)
	}
	return n, io.EOF
}

func (p *unpacking) Close() error {
	p.end()
	return nil
}

const (
	// spaceStep is how much is unpacked between two looks at the disk.
	spaceStep = 8 << 20
	// spaceReserve is how much of a disk stays free, or the hundredth part on
	// a small one: a machine with a full disk is hard to mend.
	spaceReserve = 64 << 20
)

// room is a stream that ends with an error before what is made of it fills the
// disk: a small archive may hold any number of zeros.
type room struct {
	io.Reader
	dir     string
	pending int
}

func (r *room) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if r.pending += n; r.pending < spaceStep {
		return n, err
	}
	r.pending = 0
	var st unix.Statfs_t
	if unix.Statfs(r.dir, &st) != nil || st.Blocks == 0 {
		return n, err // a disk that does not say; writing will
	}
	if reserve := min(spaceReserve/uint64(st.Bsize), st.Blocks/100); st.Bavail < reserve {
		return 0, fmt.Errorf("%w: %d MiB are left in %s and stay free", unix.ENOSPC, st.Bavail*uint64(st.Bsize)>>20, r.dir)
	}
	return n, err
}
