package systemd

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The form of messages is that of the D-Bus specification, chapter "Message
// Protocol": everything is aligned to its size, counted from the start of the
// message; strings carry their length and a final NUL.

// object and signature are strings with another letter in the signature.
type (
	object    string
	signature string
)

// property is a pair of the type (sv).
type property struct {
	name  string
	value any // string, bool, uint64, []uint32 or []byte
}

// writer builds a message, always little-endian.
type writer struct{ b []byte }

func (w *writer) align(n int) {
	for len(w.b)%n != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *writer) u32(n uint32) {
	w.align(4)
	w.b = binary.LittleEndian.AppendUint32(w.b, n)
}

func (w *writer) u64(n uint64) {
	w.align(8)
	w.b = binary.LittleEndian.AppendUint64(w.b, n)
}

func (w *writer) str(s string) {
	w.u32(uint32(len(s)))
	w.b = append(append(w.b, s...), 0)
}

func (w *writer) sig(s string) {
	w.b = append(append(append(w.b, byte(len(s))), s...), 0)
}

// array writes the length, in bytes, of what f writes.
func (w *writer) array(alignment int, f func()) {
	w.u32(0)
	at := len(w.b) - 4
	w.align(alignment) // not counted
	from := len(w.b)
	f()
	binary.LittleEndian.PutUint32(w.b[at:], uint32(len(w.b)-from))
}

// variant writes a value after its type.
func (w *writer) variant(v any) {
	switch v := v.(type) {
	case string:
		w.sig("s")
		w.str(v)
	case object:
		w.sig("o")
		w.str(string(v))
	case signature:
		w.sig("g")
		w.sig(string(v))
	case bool:
		w.sig("b")
		n := uint32(0)
		if v {
			n = 1
		}
		w.u32(n)
	case uint64:
		w.sig("t")
		w.u64(v)
	case []uint32:
		w.sig("au")
		w.array(4, func() {
			for _, n := range v {
				w.u32(n)
			}
		})
	case []byte:
		w.sig("ay")
		w.array(1, func() { w.b = append(w.b, v...) })
	}
}

func (w *writer) properties(list []property) {
	w.array(8, func() {
		for _, p := range list {
			w.align(8)
			w.str(p.name)
			w.variant(p.value)
		}
	})
}

// Kinds of messages, and of the fields in their headers.
const (
	kindCall   = 1
	kindReply  = 2
	kindError  = 3
	kindSignal = 4

	fieldPath        = 1
	fieldInterface   = 2
	fieldMember      = 3
	fieldError       = 4
	fieldReplyTo     = 5
	fieldDestination = 6
	fieldSignature   = 8
)

// message is one as it came.
type message struct {
	kind    byte
	replyTo uint32
	member  string
	err     string
	body    reader
}

// call builds the message for one method.
func call(serial uint32, destination, path, iface, member, sig string, body func(*writer)) []byte {
	var args writer
	if body != nil {
		body(&args)
	}
	w := writer{b: []byte{'l', kindCall, 0, 1}}
	w.u32(uint32(len(args.b)))
	w.u32(serial)
	w.array(8, func() {
		field := func(code byte, v any) {
			w.align(8)
			w.b = append(w.b, code)
			w.variant(v)
		}
		field(fieldPath, object(path))
		field(fieldInterface, iface)
		field(fieldMember, member)
		if destination != "" {
			field(fieldDestination, destination)
		}
		if sig != "" {
			field(fieldSignature, signature(sig))
		}
	})
	w.align(8)
	return append(w.b, args.b...)
}

var errForm = errors.New("unexpected form of a D-Bus message")

// headLen is the part of a header that has a fixed length.
const headLen = 16

// maxMessage is far above what systemd answers.
const maxMessage = 1 << 20

// lengths reads from the fixed part how long the rest is.
func lengths(head []byte) (fields, body int, err error) {
	if head[0] != 'l' || head[3] != 1 {
		return 0, 0, errForm // systemd answers in the byte order of its machine
	}
	nf, nb := binary.LittleEndian.Uint32(head[12:]), binary.LittleEndian.Uint32(head[4:])
	if nf > maxMessage || nb > maxMessage {
		return 0, 0, fmt.Errorf("%w: it is too long", errForm)
	}
	return (int(nf) + 7) &^ 7, int(nb), nil
}

// parse reads a whole message.
func parse(b []byte) (*message, error) {
	fields, body, err := lengths(b)
	if err != nil || len(b) != headLen+fields+body {
		return nil, errForm
	}
	m := &message{kind: b[1], body: reader{b: b[headLen+fields:]}}
	r := reader{b: b[:headLen+int(binary.LittleEndian.Uint32(b[12:]))], at: headLen}
	for !r.bad && r.at < len(r.b) {
		r.align(8)
		code := r.byte()
		switch kind := r.sig(); kind {
		case "u":
			if n := r.u32(); code == fieldReplyTo {
				m.replyTo = n
			}
		case "s", "o":
			text := r.str()
			switch code {
			case fieldMember:
				m.member = text
			case fieldError:
				m.err = text
			}
		case "g":
			r.sig()
		default:
			return nil, errForm
		}
	}
	if r.bad {
		return nil, errForm
	}
	return m, nil
}

// reader takes a message apart. After a mistake it gives zeros and is bad.
type reader struct {
	b   []byte
	at  int
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b)-r.at {
		r.bad = true
		return nil
	}
	out := r.b[r.at : r.at+n]
	r.at += n
	return out
}

func (r *reader) align(n int) { r.take((n - r.at%n) % n) }

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	r.align(4)
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) str() string {
	n := r.u32()
	if n > maxMessage {
		r.bad = true
	}
	s := string(r.take(int(n)))
	r.take(1)
	return s
}

func (r *reader) sig() string {
	s := string(r.take(int(r.byte())))
	r.take(1)
	return s
}
