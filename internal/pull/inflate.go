package pull

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// maxWindow is how far back a zstd stream may refer: what the tool itself
// takes without being told. A stream that asks for more asks for memory.
const maxWindow = 128 << 20

// unpacked returns the tar stream within a packed layer. How it is packed is
// seen from its first bytes: registries are not to be trusted with that. The
// stream ends with io.EOF only when all of src was read and was right.
func unpacked(src io.Reader, room space) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(src, chunkSize)
	magic, err := in.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	t := &tarStream{rest: in, room: room}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("its gzip is damaged: %w", err)
		}
		t.what, t.Reader, t.end = "gzip", z, func() { z.Close() }
	case isZstd(magic):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("its zstd is damaged: %w", err)
		}
		t.what, t.Reader, t.end = "zstd", z, z.Close
	case bytes.HasPrefix(magic, []byte("BZh")), bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		return nil, errors.New("it is packed with bzip2 or xz, which images must not be")
	default:
		t.Reader, t.end = in, func() {}
	}
	return t, nil
}

// isZstd knows a zstd frame and the frames to skip that may come before one.
func isZstd(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	return bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}) || b[0]&0xf0 == 0x50 && bytes.Equal(b[1:4], []byte{0x2a, 0x4d, 0x18})
}

// tarStream is a layer as it is unpacked.
type tarStream struct {
	io.Reader
	what string
	rest io.Reader // what was packed
	end  func()
	room space
}

func (t *tarStream) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	if e := t.room.take(n); e != nil {
		return 0, e
	}
	if err == nil || t.what == "" {
		return n, err
	}
	if err != io.EOF {
		return n, fmt.Errorf("its %s is damaged: %w", t.what, err)
	}
	extra, err := io.Copy(io.Discard, t.rest)
	if err != nil {
		return n, err
	}
	if extra > 0 {
		return n, fmt.Errorf("its %s is followed by something else", t.what)
	}
	return n, io.EOF
}

func (t *tarStream) Close() error {
	t.end()
	return nil
}

const (
	// spaceStep is how much is written between two looks at the disk.
	spaceStep = 8 << 20
	// spaceReserve is how much of a disk an image must leave free, or the
	// hundredth part on a small one: a machine with a full disk is hard to
	// mend.
	spaceReserve = 64 << 20
)

// space watches that what is unpacked does not fill the disk. A small layer
// may hold any number of zeros, so this is also what ends a bomb.
type space struct {
	dir     string
	pending int
}

// take counts n bytes.
func (s *space) take(n int) error {
	if s.pending += n; s.pending < spaceStep {
		return nil
	}
	s.pending = 0
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil || st.Blocks == 0 {
		return nil // a disk that does not say; writing will
	}
	reserve := min(spaceReserve/uint64(st.Bsize), st.Blocks/100)
	if st.Bavail < reserve {
		return fmt.Errorf("%w: %d MiB are left and stay free", unix.ENOSPC, st.Bavail*uint64(st.Bsize)>>20)
	}
	return nil
}
