package inflate

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	kgzip "github.com/klauspost/compress/gzip"
)

// parallel has small segments, so that a few megabytes make many jobs.
func parallel() Options {
	return Options{Gate: NewGate(4), segment: 24 << 10, piece: 30_000}
}

func klauspostGzipped(t *testing.T, data []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := kgzip.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	w.Close()
	return b.Bytes()
}

// layerLike is data that look like files: words in changing surroundings, so
// that matches reach far back and never stop.
func layerLike(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	words := make([][]byte, 4000)
	for i := range words {
		words[i] = sample(seed+uint64(i), 2+r.IntN(30))
	}
	out := make([]byte, 0, size+64)
	for len(out) < size {
		out = append(out, words[r.IntN(len(words))]...)
		out = append(out, byte(r.Uint32()), byte(r.Uint32()&15))
	}
	return out[:size]
}

// headStart waits until the first job of r is done, so that it will be used.
func headStart(t *testing.T, r *Reader) {
	t.Helper()
	for range 2000 {
		if j := r.ahead.firstJob(); j != nil {
			<-j.done
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("no job was started")
}

func TestParallel(t *testing.T) {
	data := layerLike(1, 6<<20)
	for name, z := range map[string][]byte{
		"level 1":       gzipped(data, 1),
		"level 6":       gzipped(data, 6),
		"klauspost 1":   klauspostGzipped(t, data, 1),
		"klauspost 5":   klauspostGzipped(t, data, 5),
		"huffman only":  gzipped(data, -2),
		"members":       bytes.Repeat(gzipped(data[:100_000], 6), 50),
		"short members": bytes.Repeat(gzipped(data[:3000], 6), 2000),
		"mixed":         join(gzipped(data[:2<<20], 0), gzipped(data, 6), gzipped(sample(4, 4<<20), 9)),
		"zeros first":   gzipped(join(make([]byte, 64<<20), data), 6),
	} {
		zr, err := gzip.NewReader(bytes.NewReader(z))
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(zr)
		if err != nil {
			t.Fatal(err)
		}
		// klauspost/compress goes on in the same block as long as its code is
		// good enough: there may be nothing to find.
		sure := !strings.HasPrefix(name, "klauspost") && name != "mixed" && name != "zeros first"
		r := NewReader(bytes.NewReader(z), parallel())
		if sure {
			headStart(t, r)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, right: %v", name, err, bytes.Equal(got, want))
		}
		r.Close()
		t.Logf("%s: %d jobs were used, %d not", name, r.ahead.taken, r.ahead.missed)
		if r.ahead.taken == 0 && sure {
			t.Errorf("%s: no job was used", name)
		}
		// Workers of jobs that nobody waited for may still be at it.
		for range 1000 {
			if r.opt.Gate.busy.Load() == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if busy := r.opt.Gate.busy.Load(); busy != 0 {
			t.Errorf("%s: %d places in the gate are taken after the end", name, busy)
		}
	}
}

// TestParallelDamaged: errors in the middle of jobs come out as from the
// standard library.
func TestParallelDamaged(t *testing.T) {
	data := layerLike(2, 3<<20)
	z := join(gzipped(data, 6), gzipped(data[:1<<20], 1))
	r := rand.New(rand.NewPCG(3, 3))
	for range 40 {
		bad := bytes.Clone(z)
		bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		checkReader(t, bad, parallel())
		checkReader(t, z[:r.IntN(len(z))], parallel())
	}
}

// TestFalseStart: a gzip stream stored inside another one, and a dynamic block
// inside a stored block, look like starts and are none.
func TestFalseStart(t *testing.T) {
	inner := gzipped(layerLike(3, 2<<20), 6)
	for _, z := range [][]byte{
		gzipped(inner, 0), gzipped(inner, 6), gzipped(bytes.Repeat(inner[:100_000], 20), 0),
	} {
		checkReader(t, z, parallel())
	}
}

// TestWide decodes everything with symbols of 16 bits.
func TestWide(t *testing.T) {
	for seed := range uint64(8) {
		data := sample(seed, 300_000)
		for _, level := range []int{flateHuffmanOnly, 0, 1, 6, 9} {
			z := deflated(data, level)
			sent := false
			d := newDecoder(func() []byte {
				if sent {
					return nil
				}
				sent = true
				return z
			})
			d.wide = make([]uint16, window+len(data)+slack)
			markers(d.wide)
			d.start()
			d.w, d.limit = window, len(d.wide)-slack
			for d.w < d.limit {
				if st := d.run(); st == statusFailed {
					t.Fatal(d.err)
				} else if st == statusEnd {
					break
				}
			}
			got := make([]byte, len(data))
			newResolver(make([]byte, window)).resolve(got, d.wide[window:d.w])
			if d.w-window != len(data) || !bytes.Equal(got, data) {
				t.Fatalf("seed %d, level %d: wrong output", seed, level)
			}
		}
	}
}

const flateHuffmanOnly = -2

func TestLastMarker(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 17, 100} {
		s := make([]uint16, n)
		if k := lastMarker(s); k != 0 {
			t.Errorf("%d symbols without marker: %d", n, k)
		}
		for i := range s {
			s[i] = marker + 5
			if k := lastMarker(s); k != i+1 {
				t.Errorf("%d symbols, marker at %d: %d", n, i, k)
			}
		}
	}
}

// TestFinder: every block of a stream that is of its kind is found.
func TestFinder(t *testing.T) {
	z := deflated(layerLike(9, 2<<20), 6)
	f := newFinder()
	sent := false
	d := newDecoder(func() []byte {
		if sent {
			return nil
		}
		sent = true
		return z
	})
	d.out = make([]byte, 4<<20)
	d.w, d.limit = window, len(d.out)-slack
	d.start()
	blocks := 0
	for at := 0; ; blocks++ {
		if z[at>>3]>>(at&7)&7 == 4 && at%8 < 5 {
			for from := at - 40; from <= at; from++ {
				k := max(0, from)
				for {
					i, member := f.next(z, k)
					if i == at && !member {
						break
					}
					if i < 0 || i > at {
						t.Fatalf("searched from %d, passed the block at %d (%d)", from, at, i)
					}
					k = i + 1
				}
			}
		}
		if st := d.run(); st == statusEnd {
			break
		} else if st != statusBlock {
			t.Fatal(d.err)
		}
		at = int(d.offset())
	}
	if blocks < 10 {
		t.Fatalf("only %d blocks", blocks)
	}
}
