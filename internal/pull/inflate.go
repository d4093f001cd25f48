package pull

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"berth/internal/inflate"
	"berth/internal/layer"
)

// chunkSize is how much is read or decoded in one go.
const chunkSize = 128 << 10

// checkpointEvery is how many bytes of a layer lie between two points from
// which it can be decoded again: 32 KiB each, packed, is a third of a percent.
const checkpointEvery = 8 << 20

// tarStream is a layer as it is unpacked. It ends with io.EOF only when all of
// the packed layer was read and was right.
type tarStream struct {
	layer.Pieces
	what string // how it is packed
	room space

	cur     []byte // what Read has not handed out yet
	release func()

	gzip *inflate.Reader // nil when it is packed in another way
	zstd *zstdReader
}

// unpacked returns the tar stream within a packed layer. How it is packed is
// seen from its first bytes: registries are not to be trusted with that.
func unpacked(src layer.Pieces, room space, gate *inflate.Gate) (*tarStream, error) {
	first, release, err := src.NextOwned()
	if err != nil && err != io.EOF {
		return nil, err
	}
	in := &replay{src: src, cur: first, release: release, err: err}
	t := &tarStream{room: room}
	switch {
	case bytes.HasPrefix(first, []byte{0x1f, 0x8b}):
		t.what = "gzip"
		t.gzip = inflate.NewReader(in, inflate.Options{Gate: gate, Checkpoint: checkpointEvery})
		t.Pieces = t.gzip
	case isZstd(first):
		t.what = "zstd"
		if t.zstd, err = newZstdReader(bufio.NewReaderSize(in, chunkSize)); err != nil {
			return nil, err
		}
		t.Pieces = t.zstd
	case bytes.HasPrefix(first, []byte("BZh")), bytes.HasPrefix(first, []byte("\xfd7zXZ\x00")):
		return nil, errors.New("it is packed with bzip2 or xz, which images must not be")
	default:
		t.Pieces = in
	}
	return t, nil
}

// NextOwned implements [layer.Pieces].
func (t *tarStream) NextOwned() ([]byte, func(), error) {
	b, release, err := t.Pieces.NextOwned()
	if err != nil {
		if err != io.EOF && t.what != "" {
			err = fmt.Errorf("its %s is damaged: %w", t.what, err)
		}
		return nil, nil, err
	}
	if err := t.room.take(len(b)); err != nil {
		release()
		return nil, nil, err
	}
	return b, release, nil
}

// Read implements io.Reader.
func (t *tarStream) Read(p []byte) (int, error) {
	for len(t.cur) == 0 {
		if t.release != nil {
			t.release()
			t.release = nil
		}
		var err error
		if t.cur, t.release, err = t.NextOwned(); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.cur)
	t.cur = t.cur[n:]
	return n, nil
}

// index is what is needed to decode the layer again from many places, if it is
// packed in a way that allows that.
func (t *tarStream) index() ([]byte, error) {
	if t.gzip == nil {
		return nil, nil
	}
	return t.gzip.Index().MarshalBinary()
}

// Close ends the decoding and leaves what is unread of the packed layer to
// whoever wants to read on; a piece of it may be lost.
func (t *tarStream) Close() {
	if t.gzip != nil {
		t.gzip.Close()
	}
	if t.zstd != nil {
		t.zstd.Close()
	}
}

// replay is a stream of pieces whose first one was looked at. It is read one
// way or the other.
type replay struct {
	src     layer.Pieces
	cur     []byte
	release func()
	err     error
}

func (r *replay) NextOwned() ([]byte, func(), error) {
	b, release, err := r.cur, r.release, r.err
	r.cur, r.release = nil, nil
	if len(b) > 0 || err != nil {
		return b, release, err
	}
	if release != nil {
		release()
	}
	return r.src.NextOwned()
}

func (r *replay) Read(p []byte) (int, error) {
	for len(r.cur) == 0 {
		if r.release != nil {
			r.release()
			r.release = nil
		}
		if r.err == nil {
			r.cur, r.release, r.err = r.src.NextOwned()
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.cur)
	r.cur = r.cur[n:]
	return n, nil
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
	free, ok := freeSpace(s.dir)
	if ok && free < 0 {
		return fmt.Errorf("%w: what is left stays free", unix.ENOSPC)
	}
	return nil
}

// freeSpace returns how many bytes may still be written below dir, less than
// none when the reserve is touched; not ok for a disk that does not say.
func freeSpace(dir string) (n int64, ok bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Blocks == 0 {
		return 0, false
	}
	block := int64(st.Bsize)
	reserve := min(spaceReserve, int64(st.Blocks)*block/100)
	return int64(st.Bavail)*block - reserve, true
}
