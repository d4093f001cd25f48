package inflate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"
)

// indexOf decodes z, checks the output, and returns its index after a round
// trip through its encoded form.
func indexOf(t *testing.T, z, want []byte, opt Options) *Index {
	t.Helper()
	r := NewReader(bytes.NewReader(z), opt)
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("decoding: %v, right: %v", err, bytes.Equal(got, want))
	}
	raw, err := r.Index().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	ix := new(Index)
	if err := ix.UnmarshalBinary(raw); err != nil {
		t.Fatal(err)
	}
	again, _ := ix.MarshalBinary()
	if !bytes.Equal(raw, again) {
		t.Fatal("the encoded form changes")
	}
	return ix
}

func TestIndex(t *testing.T) {
	data := layerLike(5, 3<<20)
	for name, z := range map[string][]byte{
		"nothing":      gzipped(nil, 6),
		"small":        gzipped(data[:100], 6),
		"level 6":      gzipped(data, 6),
		"level 1":      gzipped(data, 1),
		"stored":       gzipped(data, 0),
		"members":      bytes.Repeat(gzipped(data[:50_000], 6), 40),
		"two and zero": join(gzipped(data, 6), gzipped(data, 9), gzipped(nil, 1)),
	} {
		want, err := io.ReadAll(NewReader(bytes.NewReader(z), Options{Gate: NewGate(1)}))
		if err != nil {
			t.Fatal(err)
		}
		for how, opt := range map[string]Options{
			"serial":   {Gate: NewGate(1), Checkpoint: 300_000},
			"parallel": {Gate: NewGate(4), Checkpoint: 100_000, segment: 24 << 10, piece: 30_000},
			"all":      {Gate: NewGate(2), Checkpoint: 1},
		} {
			ix := indexOf(t, z, want, opt)
			if n := int64(len(want)) / (opt.Checkpoint + 200_000); int64(ix.Points()) < n {
				t.Errorf("%s, %s: only %d points", name, how, ix.Points())
			}
			b, err := ix.Open(bytes.NewReader(z), int64(len(z)), opt)
			if err != nil {
				t.Fatal(err)
			}
			readRanges(t, name+", "+how, b, want)
		}
	}
}

func readRanges(t *testing.T, name string, b *Blob, want []byte) {
	t.Helper()
	if b.Size() != int64(len(want)) {
		t.Fatalf("%s: size %d instead of %d", name, b.Size(), len(want))
	}
	all := b.Range(0, b.Size())
	defer all.Close()
	if got, err := io.ReadAll(all); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: reading all: %v, right: %v", name, err, bytes.Equal(got, want))
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		off := r.IntN(len(want) + 1)
		p := make([]byte, r.IntN(200_000))
		n, err := b.ReadAt(p, int64(off))
		if !bytes.Equal(p[:n], want[off:min(len(want), off+len(p))]) || (err == nil) != (n == len(p)) || err != nil && err != io.EOF {
			t.Errorf("%s: reading %d at %d: %d, %v", name, len(p), off, n, err)
		}
	}
	if _, err := b.ReadAt(nil, b.Size()+1); err == nil {
		t.Errorf("%s: could read behind the end", name)
	}
}

// TestIndexOfAnotherBlob: nothing but an error comes of an index that does not
// fit.
func TestIndexOfAnotherBlob(t *testing.T) {
	data := layerLike(6, 1<<20)
	z := gzipped(data, 6)
	ix := indexOf(t, z, data, Options{Checkpoint: 100_000})
	if _, err := ix.Open(bytes.NewReader(z), int64(len(z))-1, Options{}); !errors.Is(err, ErrIndex) {
		t.Errorf("wrong size: %v", err)
	}
	if _, err := new(Index).Open(bytes.NewReader(nil), 0, Options{}); !errors.Is(err, ErrIndex) {
		t.Errorf("empty index: %v", err)
	}
	other := gzipped(layerLike(7, 1<<20), 6)
	other = append(other, make([]byte, len(z))...)[:len(z)]
	b, err := ix.Open(bytes.NewReader(other), int64(len(z)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := b.Range(0, b.Size())
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err == nil {
		t.Error("reading another blob succeeded")
	}
	b, _ = ix.Open(bytes.NewReader(z[:len(z)/2]), int64(len(z)), Options{})
	r = b.Range(0, b.Size())
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a blob: %v", err)
	}
}

func TestIndexRefuses(t *testing.T) {
	data := layerLike(6, 400_000)
	raw, _ := indexOf(t, gzipped(data, 6), data, Options{Checkpoint: 100_000}).MarshalBinary()
	for at := range len(raw) {
		if at > 200 && at%97 != 0 {
			continue
		}
		bad := bytes.Clone(raw)
		bad[at] ^= 0x10
		if err := new(Index).UnmarshalBinary(bad); !errors.Is(err, ErrIndex) {
			t.Fatalf("byte %d changed: %v", at, err)
		}
		if err := new(Index).UnmarshalBinary(raw[:at]); !errors.Is(err, ErrIndex) {
			t.Fatalf("%d bytes: %v", at, err)
		}
	}
}

// FuzzIndex reads foreign indices, with a right checksum, and reads through
// those that are accepted.
func FuzzIndex(f *testing.F) {
	data := sample(8, 200_000)
	z := gzipped(data, 6)
	r := NewReader(bytes.NewReader(z), Options{Checkpoint: 30_000})
	io.Copy(io.Discard, r)
	raw, _ := r.Index().MarshalBinary()
	f.Add(raw[len(indexMagic) : len(raw)-4])
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append([]byte(indexMagic), body...)
		b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
		ix := new(Index)
		if err := ix.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, ErrIndex) {
				t.Fatal(err)
			}
			return
		}
		if again, _ := ix.MarshalBinary(); len(again) > len(b) {
			t.Fatal("an accepted index grows")
		}
		blob, err := ix.Open(bytes.NewReader(z), ix.in, Options{})
		if err != nil {
			t.Fatal(err)
		}
		blob.ReadAt(make([]byte, 100), min(150_000, blob.Size()))
	})
}
