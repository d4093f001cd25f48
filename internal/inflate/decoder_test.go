package inflate

import (
	"bytes"
	"compress/flate"
	"io"
	"testing"
)

// inflateAll decodes a raw deflate stream that comes in the given segments,
// through output buffers of the given size.
func inflateAll(segments [][]byte, size int) ([]byte, error) {
	d := newDecoder(func() []byte {
		if len(segments) == 0 {
			return nil
		}
		s := segments[0]
		segments = segments[1:]
		return s
	})
	d.out = make([]byte, window+size+slack)
	d.w, d.limit = window, window+size
	d.start()
	var all []byte
	for {
		from := d.w
		st := d.run()
		all = append(all, d.out[from:d.w]...)
		switch st {
		case statusEnd:
			return all, nil
		case statusFailed:
			return all, d.err
		case statusFull:
			copy(d.out, d.out[d.w-window:d.w])
			d.low = max(0, d.low-(d.w-window))
			d.w = window
		}
	}
}

func split(data []byte, size int) (out [][]byte) {
	for len(data) > size {
		out = append(out, data[:size])
		data = data[size:]
	}
	return append(out, data)
}

func compare(t *testing.T, data []byte) {
	t.Helper()
	for _, seg := range []int{1, 7, 23, 24, 25, 100, 1 << 20} {
		for _, size := range []int{1, 300, 1 << 16} {
			compareOnce(t, data, seg, size)
		}
	}
}

func compareOnce(t *testing.T, data []byte, seg, size int) {
	t.Helper()
	want, wantErr := io.ReadAll(flate.NewReader(bytes.NewReader(data)))
	got, err := inflateAll(split(data, seg), size)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("segments of %d, buffers of %d: error %v, compress/flate says %v", seg, size, err, wantErr)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Fatalf("segments of %d, buffers of %d: wrong output", seg, size)
	}
}
