package inflate

import (
	"bytes"
	"compress/flate"
	"math/rand/v2"
	"testing"
)

// sample makes data that compress in interesting ways: runs, repetitions at
// many distances, text-like and random stretches.
func sample(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	out := make([]byte, 0, size+70000)
	for len(out) < size {
		n := 1 + r.IntN(2000)
		switch k := r.IntN(6); {
		case k == 0:
			n *= 1 + r.IntN(8)
			b := byte(r.Uint32())
			for range n {
				out = append(out, b)
			}
		case k == 1:
			for range n {
				out = append(out, byte(r.Uint32()))
			}
		case k < 4 && len(out) > 0:
			dist := 1 + r.IntN(min(len(out), 1<<(1+r.IntN(16))))
			for range n {
				out = append(out, out[len(out)-dist])
			}
		default:
			for range n {
				out = append(out, "etaoin shrdlu\n\x00\x01\xff"[r.IntN(17)&r.IntN(17)])
			}
		}
	}
	return out[:size]
}

func deflated(data []byte, level int) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, level)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func TestDecoderAgainstStandardLibrary(t *testing.T) {
	for seed := range uint64(6) {
		data := sample(seed, 1+int(seed*seed)*9000)
		for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, 1, 6, 9} {
			z := deflated(data, level)
			got, err := inflateAll([][]byte{z}, 1<<16)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("seed %d, level %d: %v, right output: %v", seed, level, err, bytes.Equal(got, data))
			}
			compare(t, z)
		}
	}
}

func TestDecoderDamaged(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for seed := range uint64(4) {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 6} {
			z := deflated(sample(seed, 30000), level)
			for range 25 {
				bad := bytes.Clone(z)
				bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
				compareOnce(t, bad, 1<<20, 1<<16)
				compareOnce(t, bad[:r.IntN(len(bad))], 1+r.IntN(200), 1+r.IntN(70000))
			}
		}
	}
}

// FuzzDecoder holds the decoder against compress/flate: the same data, or an
// error from both.
func FuzzDecoder(f *testing.F) {
	for seed := range uint64(3) {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 9} {
			f.Add(deflated(sample(seed, 3000), level), uint16(40), uint16(300))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, seg, size uint16) {
		compareOnce(t, data, 1+int(seg), 300+int(size))
		compareOnce(t, data, 1<<20, 1<<16)
	})
}
