package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	"berth/internal/tarhead"
)

// entriesOf lists what archive/tar or our own reader makes of a stream.
func entriesOf(stream []byte, t *testing.T, own bool) (out []string, err error) {
	s := newStream(t.Context(), bytes.NewReader(stream))
	defer s.close()
	mine := &tarReader{s: s}
	theirs := tar.NewReader(bytes.NewReader(stream))
	for {
		var h *tar.Header
		if own {
			h, err = mine.next()
		} else {
			h, err = theirs.Next()
		}
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		xattrs := maps.Collect(maps.All(h.PAXRecords))
		maps.DeleteFunc(xattrs, func(k, v string) bool { return !strings.HasPrefix(k, xattrRecord) })
		text := fmt.Sprintf("%c %q %q %d %o %d %d %d.%d %d %d %q", h.Typeflag, h.Name, h.Linkname, h.Size, h.Mode, h.Uid, h.Gid,
			h.ModTime.Unix(), h.ModTime.Nanosecond(), h.Devmajor, h.Devminor, xattrs)
		// Of every other entry the content is left to be skipped.
		if len(out)%2 == 0 {
			var content []byte
			if own {
				content, err = mine.all()
			} else {
				content, err = io.ReadAll(io.LimitReader(theirs, 1<<20))
			}
			if err != nil {
				return out, err
			}
			text += fmt.Sprintf(" %q", content)
		}
		out = append(out, text)
	}
}

// all reads the content of the current entry.
func (t *tarReader) all() (out []byte, err error) {
	if t.sparse != nil {
		return io.ReadAll(io.LimitReader(t.sparse, 1<<20))
	}
	for t.left > 0 && len(out) < 1<<20 {
		b, err := t.take()
		if err != nil {
			return nil, err
		}
		out = append(out, b[:min(len(b), 1<<20-len(out))]...)
	}
	return out, nil
}

// FuzzTarReader compares our reader with archive/tar.
func FuzzTarReader(f *testing.F) {
	for _, stream := range difficultStreams(f) {
		if len(stream) < 20_000 {
			f.Add(stream, uint16(0), byte(0))
		}
	}
	for _, stream := range oddStreams(f) {
		f.Add(stream, uint16(0), byte(0))
	}
	f.Fuzz(func(t *testing.T, stream []byte, at uint16, b byte) {
		if len(stream) >= tarhead.BlockSize {
			mend(stream, int(at)%len(stream), b)
		}
		got, gotErr := entriesOf(stream, t, true)
		want, wantErr := entriesOf(stream, t, false)
		if (gotErr == nil) != (wantErr == nil) || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("got\n%s\n%v\nwant\n%s\n%v", strings.Join(got, "\n"), gotErr, strings.Join(want, "\n"), wantErr)
		}
	})
}

// mend changes a byte and makes the checksum of the block it lies in right
// again, without which hardly any change would get far.
func mend(stream []byte, at int, b byte) {
	stream[at] = b
	block := stream[at/tarhead.BlockSize*tarhead.BlockSize:]
	if len(block) < tarhead.BlockSize || at%tarhead.BlockSize >= 148 && at%tarhead.BlockSize < 156 {
		return
	}
	block = block[:tarhead.BlockSize]
	sum := int64(0)
	for i, c := range block {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int64(c)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
}

// oddStreams have one of everything that headers can say.
func oddStreams(t testing.TB) (out [][]byte) {
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		long := strings.Repeat("x/", 60) + "y"
		for _, h := range []tar.Header{
			{Typeflag: tar.TypeReg, Name: "a", Size: 3, Mode: 0o644, Uid: 1, Gid: 2, ModTime: when},
			{Typeflag: tar.TypeDir, Name: long + "/", Mode: 0o4755},
			{Typeflag: tar.TypeSymlink, Name: "l", Linkname: long},
			{Typeflag: tar.TypeSymlink, Name: "ll", Linkname: strings.Repeat("z", 200)},
			{Typeflag: tar.TypeReg, Name: strings.Repeat("q", 200), Uid: 1 << 30, Size: 3},
			{Typeflag: tar.TypeChar, Name: "c", Devmajor: 1, Devminor: 3},
			{Typeflag: tar.TypeReg, Name: "x", Size: 3, PAXRecords: map[string]string{xattrRecord + "user.a": "b\x00c", "comment": "d"}},
		} {
			h.Format = format
			if format != tar.FormatPAX {
				h.PAXRecords, h.ModTime = nil, when.Truncate(1e9)
			}
			if w.WriteHeader(&h) != nil {
				continue // this format cannot say it
			}
			if h.Size > 0 {
				io.WriteString(w, "abc")
			}
		}
		if format == tar.FormatPAX {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"path": "all"}, Format: format}); err != nil {
				t.Fatal(err)
			}
		}
		w.Close()
		out = append(out, b.Bytes())
	}
	return out
}
