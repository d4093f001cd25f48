package pull

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"berth/internal/inflate"
	"berth/internal/layer"
	"berth/internal/sys"
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
	room sys.Space
	read *replay // this stream, for who wants bytes in his own buffer

	gzip *inflate.Reader // nil when it is packed in another way
	zstd *zstdReader
}

// unpacked returns the tar stream within a packed layer. How it is packed is
// seen from its first bytes: registries are not to be trusted with that.
func unpacked(src layer.Pieces, room sys.Space, gate *inflate.Gate) (*tarStream, error) {
	first, release, err := src.NextOwned()
	if err != nil && err != io.EOF {
		return nil, err
	}
	in := &replay{src: src, cur: first, release: release, err: err}
	t := &tarStream{room: room}
	t.read = &replay{src: t}
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
	if err := t.room.Take(len(b)); err != nil {
		release()
		return nil, nil, err
	}
	return b, release, nil
}

// Read implements io.Reader.
func (t *tarStream) Read(p []byte) (int, error) { return t.read.Read(p) }

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
