package logs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"
	"unicode/utf8"
)

// Stream is where a program wrote to.
type Stream byte

// The streams, by their descriptors.
const (
	Stdout Stream = 1
	Stderr Stream = 2
)

func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// entry is a line of output with its line feed, or a piece of one without: when
// it is longer than maxLine, or the program ended before it did.
type entry struct {
	time   time.Time
	stream Stream
	line   []byte
	attrs  string // JSON object, or empty
}

// format is how entries lie in a file.
type format interface {
	// begin is what a new file begins with.
	begin(b []byte, attrs string) []byte
	add(b []byte, e entry) []byte
	// size is the length of the record at the start of b: 0 if it is not whole
	// yet, negative if it is none.
	size(b []byte) int
	// parse reads a record; !ok means that it holds no line.
	parse(rec []byte) (e entry, ok bool)
	// last is the length of the last record of b, which ends where a record
	// ends; 0 if b does not hold all of it, negative if it is none.
	last(b []byte) int
	// heal has the next record of a file of some size start anew, if the
	// last one was cut off, and returns the size.
	heal(f *os.File, size int64) (int64, error)
}

// jsonFormat is Docker's json-file: `{"log","stream","attrs","time"}` a line.
type jsonFormat struct{}

func (jsonFormat) begin(b []byte, _ string) []byte { return b }

func (jsonFormat) add(b []byte, e entry) []byte {
	b = append(b, `{"log":"`...)
	b = appendText(b, e.line)
	b = append(b, `","stream":"`...)
	b = append(b, e.stream.String()...)
	if e.attrs != "" {
		b = append(b, `","attrs":`...)
		b = append(b, e.attrs...)
		b = append(b, `,"time":"`...)
	} else {
		b = append(b, `","time":"`...)
	}
	b = e.time.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, "\"}\n"...)
}

func (jsonFormat) size(b []byte) int { return bytes.IndexByte(b, '\n') + 1 }

func (jsonFormat) parse(rec []byte) (entry, bool) {
	var j struct {
		Log    string          `json:"log"`
		Stream string          `json:"stream"`
		Attrs  json.RawMessage `json:"attrs"`
		Time   time.Time       `json:"time"`
	}
	if json.Unmarshal(rec, &j) != nil {
		return entry{}, false // cut off by a crash
	}
	e := entry{time: j.Time, stream: Stdout, line: []byte(j.Log), attrs: string(j.Attrs)}
	if j.Stream == "stderr" {
		e.stream = Stderr
	}
	return e, true
}

func (jsonFormat) last(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	i := bytes.LastIndexByte(b[:len(b)-1], '\n')
	if i < 0 {
		return 0
	}
	return len(b) - 1 - i
}

func (jsonFormat) heal(f *os.File, size int64) (int64, error) {
	var last [1]byte
	_, err := f.ReadAt(last[:], size-1)
	if err == nil && last[0] != '\n' {
		_, err = f.Write([]byte{'\n'})
		size++
	}
	return size, err
}

// appendText escapes p for a JSON string, to the byte as Docker does: bytes that
// are not UTF-8 become U+FFFD.
func appendText(b, p []byte) []byte {
	const hex = "0123456789abcdef"
	for len(p) > 0 {
		c := p[0]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c == '\n':
				b = append(b, '\\', 'n')
			case c == '\r':
				b = append(b, '\\', 'r')
			case c < 0x20 || c == '<' || c == '>' || c == '&':
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				b = append(b, c)
			}
			p = p[1:]
			continue
		}
		r, n := utf8.DecodeRune(p)
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(b, `\ufffd`...)
		case r == '\u2028' || r == '\u2029':
			b = append(b, `\u202`...)
			b = append(b, hex[r&15])
		default:
			b = append(b, p[:n]...)
		}
		p = p[n:]
	}
	return b
}

// localFormat is ours: the length of what follows, in four bytes; a byte that
// says what it is; the time in ns since 1970, in eight; the line; and the length
// again, so that a file can be read from its end. Numbers are little endian.
// Attributes, which are the same for all lines, have a record of their own at
// the start of each file.
type localFormat struct{}

const (
	localHead  = 4 + 1 + 8
	localTail  = 4
	localAttrs = 3       // in the place of a stream
	localMax   = 1 << 20 // bytes that are taken for a record, not for damage
)

func (f localFormat) begin(b []byte, attrs string) []byte {
	if attrs == "" || len(attrs) > localMax/2 {
		return b
	}
	return f.add(b, entry{time: time.Unix(0, 0), stream: localAttrs, line: []byte(attrs)})
}

func (localFormat) add(b []byte, e entry) []byte {
	n := uint32(1 + 8 + len(e.line))
	b = binary.LittleEndian.AppendUint32(b, n)
	b = append(b, byte(e.stream))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.time.UnixNano()))
	b = append(b, e.line...)
	return binary.LittleEndian.AppendUint32(b, n)
}

func (localFormat) size(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < 9 || n > localMax {
		return -1
	}
	if len(b) < n+8 {
		return 0
	}
	if int(binary.LittleEndian.Uint32(b[n+4:])) != n {
		return -1
	}
	return n + 8
}

func (localFormat) parse(rec []byte) (entry, bool) {
	e := entry{
		stream: Stream(rec[4]),
		time:   time.Unix(0, int64(binary.LittleEndian.Uint64(rec[5:]))),
		line:   rec[localHead : len(rec)-localTail],
	}
	return e, e.stream == Stdout || e.stream == Stderr || e.stream == localAttrs
}

func (localFormat) last(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	n := int(binary.LittleEndian.Uint32(b[len(b)-4:]))
	if n < 9 || n > localMax {
		return -1
	}
	if len(b) < n+8 {
		return 0
	}
	if int(binary.LittleEndian.Uint32(b[len(b)-n-8:])) != n {
		return -1
	}
	return n + 8
}

// heal cuts off what is not whole.
func (l localFormat) heal(f *os.File, size int64) (int64, error) {
	tail := make([]byte, min(size, 64<<10))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return size, err
	}
	if l.last(tail) > 0 {
		return size, nil
	}
	r := &file{f: f, src: io.NewSectionReader(f, 0, size), size: size}
	for {
		if rec, err := r.next(l, true); err != nil || rec == nil {
			return r.read, errors.Join(err, f.Truncate(r.read))
		}
	}
}
