package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkUnpack unpacks the tar file that LAYER_BENCH_TAR names, from
// memory, or many small files of its own making.
func BenchmarkUnpack(b *testing.B) {
	stream, err := os.ReadFile(os.Getenv("LAYER_BENCH_TAR"))
	if err != nil {
		stream = smallFiles(b)
	}
	for name, opt := range modes() {
		b.Run(name, func(b *testing.B) {
			base := tempDir(b)
			b.SetBytes(int64(len(stream)))
			var files int64
			for i := range b.N {
				dir := filepath.Join(base, fmt.Sprint(i))
				if err := os.Mkdir(dir, 0o755); err != nil {
					b.Fatal(err)
				}
				r, err := Unpack(b.Context(), dir, bytes.NewReader(stream), opt)
				if err != nil {
					b.Fatal(err)
				}
				// Removed at the end only: ext4 is slow to make files
				// just after others went.
				files += r.Files
			}
			b.ReportMetric(float64(files)/b.Elapsed().Seconds(), "files/s")
		})
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
