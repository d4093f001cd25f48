package tarhead

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// blocks hands out a stream.
func blocks(stream []byte) Blocks {
	return func(room []byte) ([]byte, error) {
		n := copy(room, stream)
		stream = stream[n:]
		if n < len(room) {
			return room[:n], io.EOF
		}
		return room, nil
	}
}

func archive(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRead(t *testing.T) {
	long := strings.Repeat("long/", 40) + "name"
	stream := archive(t,
		tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "ignored"}},
		tar.Header{Typeflag: tar.TypeDir, Name: long + "/", Mode: 0o1755, Format: tar.FormatPAX, PAXRecords: map[string]string{XattrRecord + "user.a": "b", "comment": "c"}},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: long, Format: tar.FormatGNU, Uid: 1 << 40},
	)
	next := blocks(stream)
	var h Head
	if err := h.Read(next); err != nil || h.Name != long+"/" || h.Mode != 0o1755 || len(h.PAXRecords) != 1 || h.Own == 0 {
		t.Errorf("%+v, %v", h.Header, err)
	}
	if !bytes.Equal(h.Raw, stream[:len(h.Raw)]) {
		t.Error("the bytes are not those of the stream")
	}
	at := len(h.Raw)
	if err := h.Read(next); err != nil || h.Linkname != long || h.Uid != 1<<40 || h.Own != 0 {
		t.Errorf("%+v, %v", h.Header, err)
	}
	at += len(h.Raw)
	if err := h.Read(next); err != io.EOF || at+len(h.Raw) != len(stream) {
		t.Errorf("at the end: %v, %d bytes of %d", err, at+len(h.Raw), len(stream))
	}
}

func TestReadInvalid(t *testing.T) {
	good := archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "a"})
	header := good[:BlockSize]
	record := func(body string) []byte {
		s := archive(t, tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"x": strings.Repeat("y", len(body)-6)}})
		copy(s[BlockSize:], body)
		return s
	}
	for name, c := range map[string]struct {
		stream []byte
		err    error
	}{
		"nothing":            {nil, io.EOF},
		"half a header":      {header[:100], io.ErrUnexpectedEOF},
		"one zero block":     {make([]byte, BlockSize), io.EOF},
		"a lone zero block":  {append(make([]byte, BlockSize), header...), ErrInvalid},
		"wrong checksum":     {append([]byte("b"), header[1:]...), ErrInvalid},
		"a good record":      {record("11 xx=abcd\n"), io.EOF},
		"no length":          {record("xxxxxxxxxx\n"), ErrInvalid},
		"length too large":   {record("99 xx=abcd\n"), ErrInvalid},
		"no line feed":       {record("11 xx=abcde"), ErrInvalid},
		"no key":             {record("11 =xxabcd\n"), ErrInvalid},
		"zero byte in a key": {record("11 x\x00=abcd\n"), ErrInvalid},
	} {
		var h Head
		if err := h.Read(blocks(c.stream)); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		field string
		want  int64
		bad   bool
	}{
		{"0000644\x00", 0o644, false}, {" 644 \x00", 0o644, false}, {"\x00\x00\x00", 0, false}, {"644\x00junk", 0o644, false},
		{"64 4", 0, true}, {"648", 0, true}, {"-1", 0, true},
		{"\x80\x00\x00\x00\x00\x00\x00\x05", 5, false}, {"\xff\xff\xff\xff\xff\xff\xff\xfe", -2, false},
		{"\x80\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff", 0, true},
	} {
		var p numbers
		if got := p.number([]byte(c.field)); p.bad != c.bad || !c.bad && got != c.want {
			t.Errorf("%q: %d, %v", c.field, got, p.bad)
		}
	}
}
