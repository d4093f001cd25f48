package inflate

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func gzipped(data []byte, level int) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, level)
	w.Name, w.Comment, w.Extra = "name", "comment", []byte("extra")
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// small makes every boundary come often.
var small = Options{segment: 100, piece: 300}

func TestReader(t *testing.T) {
	big := sample(3, 900_000)
	for name, z := range map[string][]byte{
		"nothing":      gzipped(nil, 6),
		"one byte":     gzipped([]byte("x"), 6),
		"big":          gzipped(big, 6),
		"fast":         gzipped(big, 1),
		"stored":       gzipped(big, 0),
		"huffman only": gzipped(big, -2),
		"zeros":        gzipped(make([]byte, 3<<20), 9),
		"two members":  join(gzipped(big, 6), gzipped(big[:1000], 1)),
		"many members": bytes.Repeat(gzipped(big[:700], 6), 300),
		"empty members": join(gzipped(nil, 6), gzipped(nil, 6), gzipped([]byte("x"), 6),
			gzipped(nil, 0)),
	} {
		zr, err := gzip.NewReader(bytes.NewReader(z))
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(zr)
		if err != nil {
			t.Fatal(err)
		}
		for how, opt := range map[string]Options{"default": {}, "small": small, "one core": {Gate: NewGate(1)}} {
			for via, src := range map[string]io.Reader{
				"at once": bytes.NewReader(z), "one byte a time": iotest.OneByteReader(bytes.NewReader(z)),
				"data with error": iotest.DataErrReader(bytes.NewReader(z)),
			} {
				r := NewReader(src, opt)
				got, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, %s, %s: %v, right: %v", name, how, via, err, bytes.Equal(got, want))
				}
				if _, err := r.Next(); err != io.EOF {
					t.Errorf("%s: after the end: %v", name, err)
				}
				r.Close()
			}
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	ok := gzipped([]byte("hello, hello, hello"), 6)
	bad := func(at int, xor byte) []byte {
		b := bytes.Clone(ok)
		if at < 0 {
			at += len(b)
		}
		b[at] ^= xor
		return b
	}
	sourceErr := errors.New("the line is dead")
	for name, c := range map[string]struct {
		src  io.Reader
		want error
		text string
	}{
		"empty":           {bytes.NewReader(nil), io.ErrUnexpectedEOF, "empty"},
		"half a header":   {bytes.NewReader(ok[:5]), io.ErrUnexpectedEOF, "too early"},
		"half":            {bytes.NewReader(ok[:len(ok)-12]), io.ErrUnexpectedEOF, "too early"},
		"half a trailer":  {bytes.NewReader(ok[:len(ok)-3]), io.ErrUnexpectedEOF, "too early"},
		"no magic":        {bytes.NewReader(bad(0, 1)), ErrCorrupt, "header"},
		"wrong sum":       {bytes.NewReader(bad(-8, 1)), ErrCorrupt, "crc32"},
		"wrong size":      {bytes.NewReader(bad(-1, 1)), ErrCorrupt, "trailer"},
		"garbage after":   {bytes.NewReader(join(ok, []byte("0123456789"))), ErrCorrupt, "after the last one"},
		"zeros after":     {bytes.NewReader(join(ok, make([]byte, 512))), ErrCorrupt, "zeros"},
		"one zero after":  {bytes.NewReader(join(ok, []byte{0})), io.ErrUnexpectedEOF, "too early"},
		"second is bad":   {bytes.NewReader(join(ok, bad(-8, 1))), ErrCorrupt, "crc32"},
		"source fails":    {io.MultiReader(bytes.NewReader(ok[:20]), iotest.ErrReader(sourceErr)), sourceErr, "dead"},
		"fails at once":   {iotest.ErrReader(sourceErr), sourceErr, "dead"},
		"fails at end":    {io.MultiReader(bytes.NewReader(ok), iotest.ErrReader(sourceErr)), sourceErr, "dead"},
		"endless comment": {bytes.NewReader(join([]byte{0x1f, 0x8b, 8, 16, 0, 0, 0, 0, 0, 0}, bytes.Repeat([]byte("a"), 5000))), ErrCorrupt, "text"},
	} {
		r := NewReader(c.src, Options{})
		_, err := io.Copy(io.Discard, r)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %v with %q", name, err, c.want, c.text)
		}
		if _, again := r.Next(); again != err {
			t.Errorf("%s: second error differs: %v", name, again)
		}
		r.Close()
	}
}

// checkReader compares a Reader with compress/gzip on arbitrary input.
func checkReader(t *testing.T, z []byte, opt Options) {
	t.Helper()
	var want []byte
	zr, wantErr := gzip.NewReader(bytes.NewReader(z))
	if wantErr == nil {
		want, wantErr = io.ReadAll(zr)
	}
	r := NewReader(bytes.NewReader(z), opt)
	defer r.Close()
	got, err := io.ReadAll(r)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("error %v, compress/gzip says %v", err, wantErr)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Fatal("wrong output")
	}
}

func TestReaderDamaged(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	z := join(gzipped(sample(5, 40_000), 6), gzipped(sample(6, 10_000), 1), gzipped(sample(7, 9000), 0))
	for range 300 {
		bad := bytes.Clone(z)
		bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		checkReader(t, bad, Options{})
		checkReader(t, bad[:r.IntN(len(bad))], small)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(join(gzipped(sample(5, 4000), 6), gzipped(sample(6, 1000), 1)))
	f.Add(join(gzipped(layerLike(7, 12_000), 6), gzipped(sample(6, 3000), 0)))
	f.Add(bytes.Repeat(gzipped([]byte("a member of its own"), 6), 60))
	f.Fuzz(func(t *testing.T, z []byte) {
		checkReader(t, z, Options{})
		checkReader(t, z, small)
		checkReader(t, z, Options{Gate: NewGate(3), segment: 512, piece: 300})
	})
}

// TestOwnedPieces keeps all pieces and releases them out of order.
func TestOwnedPieces(t *testing.T) {
	want := sample(11, 2_000_000)
	r := NewReader(bytes.NewReader(gzipped(want, 6)), Options{piece: 5000})
	defer r.Close()
	var pieces [][]byte
	var releases []func()
	for {
		b, release, err := r.NextOwned()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		pieces, releases = append(pieces, b), append(releases, release)
		if len(pieces)%7 == 0 { // some come back early, twice
			k := len(pieces) - 3
			pieces[k] = bytes.Clone(pieces[k])
			releases[k]()
			releases[k]()
		}
	}
	if !bytes.Equal(join(pieces...), want) {
		t.Fatal("pieces changed while they were owned")
	}
	for _, release := range releases {
		release()
	}
}

// TestClose ends readers in all states, from within a stream and before its
// first piece, and looks for goroutines that stayed.
func TestClose(t *testing.T) {
	z := gzipped(sample(12, 3_000_000), 1)
	before := runtime.NumGoroutine()
	for i := range 20 {
		r := NewReader(bytes.NewReader(z), Options{piece: 5000, segment: 4000})
		for range i {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}
		r.Close()
		r.Close()
		if _, err := r.Next(); err != ErrClosed {
			t.Fatalf("after Close: %v", err)
		}
	}
	for range 500 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}
