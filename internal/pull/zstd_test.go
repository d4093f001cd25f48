package pull

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// frames packs content into frames of up to n bytes each.
func frames(t testing.TB, content []byte, n int, opt ...zstd.EOption) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil, opt...)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	var out []byte
	for len(content) > 0 {
		n := min(n, len(content))
		out = enc.EncodeAll(content[:n], out)
		content = content[n:]
	}
	return out
}

// streamed packs content the way a tool does that does not know its size.
func streamed(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	enc, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	enc.Write(content)
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var skippable = []byte{0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'}

func mixed(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(1 + i>>10&15))
	}
	return b
}

func unzstd(b []byte) ([]byte, error) {
	z, err := newZstdReader(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return io.ReadAll(&replay{src: z})
}

func TestZstdFrames(t *testing.T) {
	content := mixed(11 << 20)
	large := frames(t, content, 6<<20)
	for name, packed := range map[string][]byte{
		"small frames":        frames(t, content, 100_000),
		"with checksums":      frames(t, content, 1<<20, zstd.WithEncoderCRC(true)),
		"at the limit":        frames(t, content, maxFrame),
		"large frames":        large,
		"one stream":          streamed(t, content),
		"to skip, then small": append(bytes.Clone(skippable), frames(t, content, 50_000)...),
		"small, then large":   append(frames(t, content[:5<<20], 1<<20), frames(t, content[5<<20:], 6<<20)...),
		"large, then small":   append(frames(t, content[:6<<20], 6<<20), frames(t, content[6<<20:], 1000)...),
		"ends with skippable": append(frames(t, content, 1<<20), skippable...),
	} {
		if got, err := unzstd(packed); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestZstdDamaged(t *testing.T) {
	packed := frames(t, mixed(3<<20), 1<<20)
	for _, n := range []int{1, 3, 4, 7, 100, len(packed) / 2, len(packed) - 1} {
		if _, err := unzstd(packed[:n]); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
	for _, extra := range []string{"x", "more", "something else entirely"} {
		if _, err := unzstd(append(bytes.Clone(packed), extra...)); err == nil {
			t.Errorf("followed by %q: no error", extra)
		}
	}
}

// A reader that gives up in the middle leaves nobody behind.
func TestZstdClosedEarly(t *testing.T) {
	packed := frames(t, mixed(6<<20), 100_000)
	for range 20 {
		z, err := newZstdReader(bufio.NewReader(bytes.NewReader(packed)))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := z.NextOwned(); err != nil {
			t.Fatal(err)
		}
		z.Close()
	}
}

func FuzzZstd(f *testing.F) {
	f.Add(frames(f, mixed(5000), 1000))
	f.Add(append(bytes.Clone(skippable), streamed(f, mixed(3000))...))
	f.Fuzz(func(t *testing.T, b []byte) {
		dec, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			t.Fatal(err)
		}
		defer dec.Close()
		want, wantErr := io.ReadAll(io.LimitReader(dec, 16<<20))
		got, err := unzstd(b)
		if wantErr == nil && len(want) < 16<<20 && err == nil && !bytes.Equal(got, want) {
			t.Errorf("%d bytes differ from the %d of one stream", len(got), len(want))
		}
	})
}
