package inflate

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"testing"

	kgzip "github.com/klauspost/compress/gzip"
)

func benchFile(b *testing.B) []byte {
	data, err := os.ReadFile(os.Getenv("INFLATE_FILE"))
	if err != nil {
		b.Skip("set INFLATE_FILE to a gzip file")
	}
	return data
}

func BenchmarkCore(b *testing.B) {
	data := benchFile(b)
	buf := make([]byte, window+256<<10+slack)
	for b.Loop() {
		total := 0
		seg := data
		d := newDecoder(func() []byte { s := seg; seg = nil; return s })
		d.take(32)
		d.take(32)
		d.take(16)
		d.out = buf
		d.w, d.limit = window, window+256<<10
		d.start()
		if data[3]&8 != 0 {
			for d.take(8) != 0 {
			}
		}
	loop:
		for {
			from := d.w
			st := d.run()
			total += d.w - from
			switch st {
			case statusEnd:
				break loop
			case statusFailed:
				b.Fatal(d.err)
			case statusFull:
				copy(d.out, d.out[d.w-window:d.w])
				d.low = max(0, d.low-(d.w-window))
				d.w = window
			}
		}
		b.SetBytes(int64(total))
	}
}

func BenchmarkKlauspost(b *testing.B) {
	data := benchFile(b)
	for b.Loop() {
		r, err := kgzip.NewReader(bytes.NewReader(data))
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}

func BenchmarkStdlib(b *testing.B) {
	data := benchFile(b)
	for b.Loop() {
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}

func benchReader(b *testing.B, n int) {
	data := benchFile(b)
	for b.Loop() {
		r := NewReader(bytes.NewReader(data), Options{Gate: NewGate(n)})
		total := 0
		for {
			p, err := r.Next()
			total += len(p)
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(total))
		r.Close()
	}
}

func BenchmarkReader1(b *testing.B) { benchReader(b, 1) }
func BenchmarkReader2(b *testing.B) { benchReader(b, 2) }
func BenchmarkReader4(b *testing.B) { benchReader(b, 4) }
