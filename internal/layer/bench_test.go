package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// BenchmarkAdd adds the tar file that LAYER_BENCH_TAR names, or many small
// files of its own making, as a layer.
func BenchmarkAdd(b *testing.B) {
	open := func() io.ReadCloser { return io.NopCloser(bytes.NewReader(smallFiles(b))) }
	if path := os.Getenv("LAYER_BENCH_TAR"); path != "" {
		open = func() io.ReadCloser {
			f, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			return f
		}
	}
	for name, opt := range modes() {
		b.Run(name, func(b *testing.B) {
			var files int64
			var used time.Duration
			for range b.N {
				// Removed at the end only: ext4 is slow to make files just
				// after others went.
				set, _ := testSet(b)
				r := open()
				before := cpu()
				m, err := set.Add(b.Context(), r, opt)
				used += cpu() - before
				r.Close()
				if err != nil {
					b.Fatal(err)
				}
				files += m.Files
				b.SetBytes(m.TarSize)
			}
			b.ReportMetric(float64(files)/b.Elapsed().Seconds(), "files/s")
			b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}

// cpu is the time this process has computed so far.
func cpu() time.Duration {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkTar makes again what BenchmarkAdd adds.
func BenchmarkTar(b *testing.B) {
	set, _ := testSet(b)
	stream := smallFiles(b)
	m, err := set.Add(b.Context(), bytes.NewReader(stream), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(m.TarSize)
	for b.Loop() {
		if err := set.Tar(b.Context(), m.DiffID, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMaterialize copies what BenchmarkUnpack unpacks.
func BenchmarkMaterialize(b *testing.B) {
	stream, err := os.ReadFile(os.Getenv("LAYER_BENCH_TAR"))
	if err != nil {
		stream = smallFiles(b)
	}
	base := tempDir(b)
	dir := filepath.Join(base, "layer")
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	r, err := Unpack(b.Context(), dir, bytes.NewReader(stream), Options{})
	if err != nil {
		b.Fatal(err)
	}
	v := mustView(b, "", []string{dir})
	b.SetBytes(r.Size)
	b.ResetTimer()
	for i := range b.N {
		dst := filepath.Join(base, fmt.Sprint(i))
		if err := os.Mkdir(dst, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := v.Materialize(dst); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(r.Files)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

func smallFiles(b *testing.B) []byte {
	content := string(bytes.Repeat([]byte("0123456789abcdef"), 256))
	entries := []tar.Header{}
	for i := range 200 {
		entries = append(entries, folder(fmt.Sprintf("d%d", i)))
		for j := range 50 {
			entries = append(entries, reg(fmt.Sprintf("d%d/f%d", i, j), content[:(j*97)%4096]))
		}
	}
	return tarOf(b, entries...)
}
