package pull

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxWindow is how far back a zstd stream may refer: what the tool
	// itself takes without being told. A stream that asks for more asks for
	// memory.
	maxWindow = 128 << 20
	// maxFrame is the content of the largest frame that is decoded in one
	// go. Larger ones, or ones that do not say, are streamed.
	maxFrame = 4 << 20
	// maxDecoders bounds how many frames are in memory, decoded or not.
	maxDecoders = 8
)

// Zstandard frames (RFC 8878, section 3.1): a magic number, a header that may
// tell how much content follows, blocks of up to 128 KiB, each with its packed
// size before it, and perhaps a checksum.
const (
	zstdMagic       = 0xfd2fb528
	zstdSkip        = 0x184d2a50 // the last four bits are free
	zstdMaxBlock    = 128 << 10
	zstdBlockHeader = 3
)

// isZstd knows a zstd frame and the frames to skip that may come before one.
func isZstd(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	m := binary.LittleEndian.Uint32(b)
	return m == zstdMagic || m&^0xf == zstdSkip
}

// zstdReader decodes a zstd stream. Builders that make layers seekable
// (zstd:chunked, eStargz with zstd, pzstd) write many small frames, which do
// not refer to each other: those are decoded at once on all cores. From the
// first large frame on the rest is one stream, as the plain tool writes it.
type zstdReader struct {
	in  *bufio.Reader
	dec *zstd.Decoder // of small frames; safe for many goroutines

	order chan chan decoded // results to come, in the order of the stream
	quit  chan struct{}
	once  sync.Once
	idle  sync.WaitGroup
	err   error // what ended order; nil when rest goes on

	rest *zstd.Decoder // from the first large frame on
	from io.Reader     // what rest reads
}

type decoded struct {
	b   []byte
	err error
}

func newZstdReader(in *bufio.Reader) (*zstdReader, error) {
	cores := min(runtime.GOMAXPROCS(0), maxDecoders)
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(cores), zstd.WithDecoderMaxMemory(maxFrame), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	z := &zstdReader{in: in, dec: dec, order: make(chan chan decoded, cores), quit: make(chan struct{})}
	z.idle.Go(z.scan)
	return z, nil
}

// scan cuts the stream into frames and has each decoded.
func (z *zstdReader) scan() {
	defer close(z.order)
	for {
		frame, whole, err := nextFrame(z.in)
		if err != nil {
			z.err = err
			return
		}
		if !whole {
			z.from = io.MultiReader(bytes.NewReader(frame), z.in)
			return
		}
		result := make(chan decoded, 1)
		select {
		case z.order <- result:
		case <-z.quit:
			z.err = io.ErrClosedPipe
			return
		}
		z.idle.Go(func() {
			b, err := z.dec.DecodeAll(frame, nil)
			result <- decoded{b, err}
		})
	}
}

// NextOwned returns the next piece of the content.
func (z *zstdReader) NextOwned() ([]byte, func(), error) {
	for z.rest == nil {
		result, ok := <-z.order
		if !ok {
			if z.err != nil {
				return nil, nil, z.err
			}
			rest, err := zstd.NewReader(z.from, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(maxWindow))
			if err != nil {
				return nil, nil, err
			}
			z.rest = rest
			break
		}
		d := <-result
		if len(d.b) > 0 || d.err != nil {
			return d.b, func() {}, d.err
		}
	}
	b := make([]byte, chunkSize)
	n, err := io.ReadFull(z.rest, b) // an error after some bytes comes again
	if n > 0 {
		return b[:n], func() {}, nil
	}
	return nil, nil, err
}

// Close ends the decoding; nobody may be reading. It waits for the next bytes of
// the stream.
func (z *zstdReader) Close() {
	z.once.Do(func() {
		close(z.quit)
		go func() { // an order that nobody takes any more
			for range z.order {
			}
		}()
		z.idle.Wait()
		z.dec.Close()
		if z.rest != nil {
			z.rest.Close()
		}
	})
}

// nextFrame reads one frame. Whole is false when it is a large one, of which
// only the beginning was read. Frames to skip are skipped. The error is io.EOF
// at the end of the stream.
func nextFrame(in *bufio.Reader) (frame []byte, whole bool, err error) {
	var head [4]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			if err == io.ErrUnexpectedEOF {
				err = errors.New("it is followed by something else")
			}
			return nil, false, err
		}
		m := binary.LittleEndian.Uint32(head[:])
		if m == zstdMagic {
			break
		}
		if m&^0xf != zstdSkip {
			return nil, false, fmt.Errorf("a frame begins with %#08x", m)
		}
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return nil, false, cut(err)
		}
		if _, err := io.CopyN(io.Discard, in, int64(binary.LittleEndian.Uint32(head[:]))); err != nil {
			return nil, false, cut(err)
		}
	}
	return readFrame(in, head[:])
}

// readFrame reads what follows the magic number.
func readFrame(in *bufio.Reader, magic []byte) (frame []byte, whole bool, err error) {
	h, err := in.Peek(zstd.HeaderMaxSize - len(magic))
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	frame = append(frame, magic...)
	var hd zstd.Header
	if err := hd.Decode(append(frame[:4:4], h...)); err != nil {
		return nil, false, cut(err)
	}
	if !hd.HasFCS || hd.FrameContentSize > maxFrame {
		return frame, false, nil
	}
	if frame, err = take(in, frame, hd.HeaderSize-len(magic)); err != nil {
		return nil, false, err
	}
	for last := false; !last; {
		if frame, err = take(in, frame, zstdBlockHeader); err != nil {
			return nil, false, err
		}
		b := frame[len(frame)-zstdBlockHeader:]
		block := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		last = block&1 != 0
		size := int(block >> 3)
		if kind := block >> 1 & 3; kind == 1 { // one byte, repeated
			size = 1
		}
		if size > zstdMaxBlock || len(frame) > 2*maxFrame {
			return nil, false, errors.New("a block is larger than it may be")
		}
		if frame, err = take(in, frame, size); err != nil {
			return nil, false, err
		}
	}
	if hd.HasCheckSum {
		frame, err = take(in, frame, 4)
	}
	return frame, err == nil, err
}

// take appends the next n bytes.
func take(in *bufio.Reader, to []byte, n int) ([]byte, error) {
	at := len(to)
	to = append(to, make([]byte, n)...)
	_, err := io.ReadFull(in, to[at:])
	return to, cut(err)
}

// cut says that an end within a frame is none.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
