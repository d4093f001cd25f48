package download

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// benchSize is what a benchmark fetches, the same noise over and over.
const benchSize = 256 << 20

// serveNoise is the helper "serve": a server in a process of its own, so that
// what it costs is not counted. It prints its address.
func serveNoise() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	data := noise(benchSize, 3)
	fmt.Printf("http://%s/ %s\n", l.Addr(), digestOf(data))
	http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	return 0
}

func startServer(b *testing.B) (url, digest string) {
	cmd := startHelper(b, false, "serve")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	fmt.Sscan(line, &url, &digest)
	return url, digest
}

// cpu returns what this process has spent.
func cpu() time.Duration {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(unix.TimevalToNsec(u.Utime) + unix.TimevalToNsec(u.Stime))
}

// BenchmarkFetch compares a download with the least that could be done: GET and
// a copy to a file; and with sha256 alone, which is part of the one and not of
// the other.
func BenchmarkFetch(b *testing.B) {
	url, digest := startServer(b)
	src := &web{client: &http.Client{Transport: &http.Transport{ReadBufferSize: 64 << 10}}, url: url}
	for _, bm := range []struct {
		name string
		run  func(dir string) error
	}{
		{"plain", func(dir string) error { return plain(src, dir) }},
		{"download", func(dir string) error {
			d, err := Open(context.Background(), src, Options{Dir: dir, Digest: digest, Size: benchSize})
			if err != nil {
				return err
			}
			defer d.Close()
			return d.Verify()
		}},
		{"sha256", func(string) error {
			h, p := sha256.New(), make([]byte, chunkSize)
			for range benchSize / chunkSize {
				h.Write(p)
			}
			return nil
		}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.SetBytes(benchSize)
			least := time.Hour
			for b.Loop() {
				begun := cpu()
				if err := bm.run(b.TempDir()); err != nil {
					b.Fatal(err)
				}
				least = min(least, cpu()-begun)
			}
			b.ReportMetric(float64(least.Milliseconds())/(float64(benchSize)/1e9), "cpu-ms/GB")
		})
	}
}

// plain is GET and a copy to a file.
func plain(src *web, dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "x"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	body, _, err := src.Range(context.Background(), 0, benchSize)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(f, body)
	return err
}

// BenchmarkLink fetches over connections that begin after 30 ms and give
// 100 MB/s each: with one of them, and with as many as Open finds good.
func BenchmarkLink(b *testing.B) {
	data := make([]byte, benchSize)
	for _, most := range []int{1, 8} {
		b.Run(fmt.Sprint(most), func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				src := &fake{data: data, hook: func(a *ask) {
					a.delay, a.piece, a.pause = 30*time.Millisecond, 512<<10, 5*time.Millisecond
				}}
				d, err := Open(context.Background(), src, Options{Dir: b.TempDir(), Digest: digestOf(data), Size: benchSize, Limit: NewLimit(most, most)})
				if err != nil {
					b.Fatal(err)
				}
				if err := d.Verify(); err != nil {
					b.Fatal(err)
				}
				d.Close()
				b.ReportMetric(float64(src.most), "connections")
			}
		})
	}
}
