package push

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	// blockSize is how much of a stream is compressed on its own. Matches do
	// not reach across blocks, which costs about half a percent in size; in
	// return blocks can be packed, and unpacked, all at once.
	blockSize = 1 << 20
	// packLevel is where more effort stops to pay: see BenchmarkPack.
	packLevel = 6
)

// gzipHeader is that of a stream without name and time, packed on Unix.
var gzipHeader = [10]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3}

// packer writes one gzip member with every core. The bytes that come out
// depend on those that go in and on nothing else: not on the machine, the
// time, or how the writes were cut. Each block ends on a byte, with an empty
// stored block (00 00 ff ff), and refers to nothing before it.
type packer struct {
	w     io.Writer
	block []byte        // being filled
	queue chan *packed  // in order
	slots chan struct{} // bounds the blocks in memory
	free  sync.Pool     // of []byte
	outs  sync.Pool     // of *bytes.Buffer
	flate sync.Pool     // of *flate.Writer
	crc   uint32
	size  uint32
	done  chan struct{}

	mu  sync.Mutex
	err error // of w
}

// packed is a block on its way.
type packed struct {
	in    []byte
	out   *bytes.Buffer
	ready chan struct{}
}

// newPacker returns a gzip writer. Close ends the stream and does not close w.
func newPacker(w io.Writer) *packer {
	workers := runtime.GOMAXPROCS(0)
	p := &packer{w: w, queue: make(chan *packed, 2*workers), slots: make(chan struct{}, workers), done: make(chan struct{})}
	p.free.New = func() any { return make([]byte, 0, blockSize) }
	p.outs.New = func() any { return new(bytes.Buffer) }
	p.flate.New = func() any {
		z, err := flate.NewWriter(nil, packLevel)
		if err != nil {
			panic(err) // there is no such level
		}
		return z
	}
	p.block = p.free.Get().([]byte)
	go p.writeOut()
	return p
}

// Write implements io.Writer.
func (p *packer) Write(b []byte) (int, error) {
	total := len(b)
	for len(b) > 0 {
		n := min(len(b), blockSize-len(p.block))
		p.block = append(p.block, b[:n]...)
		b = b[n:]
		if len(p.block) == blockSize {
			p.submit()
			if err := p.failure(); err != nil {
				return total - len(b), err
			}
		}
	}
	return total, nil
}

// submit hands the filled block to a goroutine.
func (p *packer) submit() {
	k := &packed{in: p.block, out: p.outs.Get().(*bytes.Buffer), ready: make(chan struct{})}
	p.crc = crc32.Update(p.crc, crc32.IEEETable, k.in)
	p.size += uint32(len(k.in))
	p.block = p.free.Get().([]byte)[:0]
	p.slots <- struct{}{}
	p.queue <- k
	go func() {
		defer func() { <-p.slots }()
		z := p.flate.Get().(*flate.Writer)
		defer p.flate.Put(z)
		z.Reset(k.out) // it forgets what came before
		z.Write(k.in)
		z.Flush()
		p.free.Put(k.in[:0])
		close(k.ready)
	}()
}

// writeOut writes the blocks in their order. After a failure it only takes
// them away.
func (p *packer) writeOut() {
	defer close(p.done)
	p.write(gzipHeader[:])
	for k := range p.queue {
		<-k.ready
		p.write(k.out.Bytes())
		k.out.Reset()
		p.outs.Put(k.out)
	}
}

func (p *packer) write(b []byte) {
	if p.failure() != nil {
		return
	}
	if _, err := p.w.Write(b); err != nil {
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
	}
}

func (p *packer) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Close writes the last block and the end of the stream.
func (p *packer) Close() error {
	if len(p.block) > 0 {
		p.submit()
	}
	close(p.queue)
	<-p.done
	tail := []byte{1, 0, 0, 0xff, 0xff} // an empty stored block that says it is the last
	tail = binary.LittleEndian.AppendUint32(tail, p.crc)
	p.write(binary.LittleEndian.AppendUint32(tail, p.size))
	return p.failure()
}
