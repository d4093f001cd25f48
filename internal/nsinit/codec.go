package nsinit

import (
	"encoding/binary"
	"errors"
)

// The encoding of a program: numbers are uvarints, strings and lists carry
// their length before them.
//
//	program: version flags #ops op…
//	op:      call what out skip then #allow errno… #args arg…
//	arg:     kind (one byte), then a number (n, r), a string (s, b, f) or a
//	         list of strings (v)
//
// JSON was tried first: reading a plan took longer than carrying it out.

const codecVersion = 1

var errCodec = errors.New("damaged program")

// AppendBinary appends the encoded program to b.
func (p *Program) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, codecVersion)
	b = binary.AppendUvarint(b, p.Flags)
	b = binary.AppendUvarint(b, uint64(len(p.Ops)))
	for i := range p.Ops {
		op := &p.Ops[i]
		b = appendString(b, op.Call)
		b = appendString(b, op.What)
		b = binary.AppendUvarint(b, uint64(op.Out))
		b = binary.AppendUvarint(b, uint64(op.Skip))
		b = binary.AppendUvarint(b, uint64(op.Then))
		b = binary.AppendUvarint(b, uint64(len(op.Allow)))
		for _, e := range op.Allow {
			b = binary.AppendVarint(b, int64(e))
		}
		b = binary.AppendUvarint(b, uint64(len(op.Args)))
		for _, a := range op.Args {
			b = a.append(b)
		}
	}
	return b, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func (a Arg) append(b []byte) []byte {
	b = append(b, a.kind)
	switch a.kind {
	case 'n', 'r':
		return binary.AppendUvarint(b, a.n)
	case 'v':
		b = binary.AppendUvarint(b, uint64(len(a.v)))
		for _, s := range a.v {
			b = appendString(b, s)
		}
		return b
	}
	return appendString(b, a.s)
}

// UnmarshalBinary reads what AppendBinary wrote.
func (p *Program) UnmarshalBinary(b []byte) error {
	d := &decoder{b: b}
	if d.byte() != codecVersion {
		return errors.New("a program of another version of berth")
	}
	p.Flags = d.uint()
	p.Ops = make([]Op, d.count())
	for i := range p.Ops {
		op := &p.Ops[i]
		op.Call, op.What = d.string(), d.string()
		op.Out, op.Skip, op.Then = Reg(d.uint()), int(d.uint()), int(d.uint())
		if n := d.count(); n > 0 {
			op.Allow = make([]int, n)
		}
		for j := range op.Allow {
			op.Allow[j] = int(d.int())
		}
		if n := d.count(); n > 0 {
			op.Args = make([]Arg, n)
		}
		for j := range op.Args {
			op.Args[j] = d.arg()
		}
	}
	if d.bad || len(d.b) > 0 {
		return errCodec
	}
	return nil
}

// decoder reads from b and remembers whether anything was wrong.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() {
	d.bad, d.b = true, nil
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads a length, which cannot exceed what is left: each thing counted
// takes at least one byte.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) string() string {
	n := d.count()
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) arg() Arg {
	a := Arg{kind: d.byte()}
	switch a.kind {
	case 'n', 'r':
		a.n = d.uint()
	case 's', 'b', 'f':
		a.s = d.string()
	case 'v':
		a.v = make([]string, d.count())
		for i := range a.v {
			a.v[i] = d.string()
		}
	default:
		d.fail()
	}
	return a
}
