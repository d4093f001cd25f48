package push

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
)

// sample is n bytes that compress about as well as programs do.
func sample(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 0, n+64)
	for len(b) < n {
		if len(b) > 100 && r.IntN(3) > 0 {
			at, l := r.IntN(len(b)-60), 4+r.IntN(50)
			b = append(b, b[at:at+l]...)
		} else {
			b = append(b, byte(r.IntN(256)), byte(r.IntN(64)), byte(r.IntN(8)))
		}
	}
	return b[:n]
}

func pack(t testing.TB, b []byte, step int) []byte {
	t.Helper()
	var out bytes.Buffer
	p := newPacker(&out)
	for len(b) > 0 {
		n := min(step, len(b))
		if _, err := p.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestPack(t *testing.T) {
	for _, n := range []int{0, 1, 1000, blockSize - 1, blockSize, blockSize + 1, 5*blockSize + 12345} {
		in := sample(n)
		out := pack(t, in, 100_000)
		z, err := gzip.NewReader(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(got, in) {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
}

// What comes out depends on the content only.
func TestPackAlwaysTheSame(t *testing.T) {
	in := sample(4*blockSize + 77)
	want := sha256.Sum256(pack(t, in, len(in)))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, procs := range []int{1, 3} {
		runtime.GOMAXPROCS(procs)
		for _, step := range []int{333_333, len(in)} {
			if got := sha256.Sum256(pack(t, in, step)); got != want {
				t.Errorf("%d processors, pieces of %d: another stream", procs, step)
			}
		}
	}
}

type full struct{ left int }

var errFull = errors.New("full")

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestPackNoRoom(t *testing.T) {
	in := sample(3 * blockSize)
	for _, room := range []int{0, 10, 100_000} {
		p := newPacker(&full{room})
		p.Write(in)
		if err := p.Close(); !errors.Is(err, errFull) {
			t.Errorf("room %d: %v", room, err)
		}
	}
}

func BenchmarkPack(b *testing.B) {
	in := sample(16 << 20)
	if name := os.Getenv("BERTH_BENCH_FILE"); name != "" {
		var err error
		if in, err = os.ReadFile(name); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		out := pack(b, in, 1<<20)
		b.ReportMetric(float64(len(in))/float64(len(out)), "ratio")
	}
}
