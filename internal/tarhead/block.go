package tarhead

import (
	"archive/tar"
	"bytes"
	"strings"
	"time"
)

// parse reads a header block.
func parse(h *tar.Header, b []byte) error {
	var p numbers
	if !sumFits(b, p.octal(b[148:156])) || p.bad {
		return ErrInvalid
	}
	h.Typeflag = b[156]
	h.Name, h.Linkname = cString(b[:100]), cString(b[157:257])
	h.Size, h.Mode = p.number(b[124:136]), p.number(b[100:108])
	h.Uid, h.Gid = int(p.number(b[108:116])), int(p.number(b[116:124]))
	h.ModTime = time.Unix(p.number(b[136:148]), 0)
	var prefix string
	switch magic := string(b[257:265]); {
	case strings.HasPrefix(magic, "ustar\x00") && string(b[508:]) == "tar\x00": // star
		prefix = cString(b[345:476])
		p.number(b[476:488])
		p.number(b[488:500])
	case strings.HasPrefix(magic, "ustar\x00"):
		prefix = cString(b[345:500])
	case magic == "ustar  \x00":
		prefix = gnuPrefix(b)
	default: // v7 has no more
		if p.bad {
			return ErrInvalid
		}
		return nil
	}
	h.Devmajor, h.Devminor = p.number(b[329:337]), p.number(b[337:345])
	if prefix != "" {
		h.Name = prefix + "/" + h.Name
	}
	if p.bad {
		return ErrInvalid
	}
	return nil
}

// gnuPrefix returns what old writers of Go put where GNU has times.
func gnuPrefix(b []byte) string {
	var p numbers
	for _, field := range [][]byte{b[345:357], b[357:369]} {
		if field[0] != 0 {
			p.number(field)
		}
	}
	if !p.bad {
		return ""
	}
	s := cString(b[345:500])
	for _, c := range []byte(s) {
		if c >= 0x80 {
			return ""
		}
	}
	return s
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// sumFits reports whether the checksum of a header is right, as unsigned or,
// as some old writers had it, signed bytes. Its own field counts as spaces.
func sumFits(b []byte, want int64) bool {
	var sum, high int64
	for _, c := range b {
		sum += int64(c)
		high += int64(c >> 7)
	}
	for _, c := range b[148:156] {
		sum += ' ' - int64(c)
		high -= int64(c >> 7)
	}
	return want == sum || want == sum-high*256
}

// numbers parses the numeric fields of headers and remembers failure.
type numbers struct{ bad bool }

// number reads an octal field, or one in base 256.
func (p *numbers) number(b []byte) int64 {
	if b[0]&0x80 == 0 {
		return p.octal(b)
	}
	// A two's complement number; the topmost bit only says that it is one.
	fill := byte(0)
	if b[0]&0x40 != 0 {
		fill = 0xff
	}
	x := uint64(0)
	for i, c := range b {
		c ^= fill
		if i == 0 {
			c &= 0x7f
		}
		if x>>56 != 0 {
			p.bad = true
			return 0
		}
		x = x<<8 | uint64(c)
	}
	if x>>63 != 0 {
		p.bad = true
		return 0
	}
	if fill != 0 {
		return ^int64(x)
	}
	return int64(x)
}

// octal reads an octal number with spaces and zero bytes around it.
func (p *numbers) octal(b []byte) int64 {
	for len(b) > 0 && (b[0] == ' ' || b[0] == 0) {
		b = b[1:]
	}
	x := int64(0)
	for i, c := range b {
		switch {
		case c >= '0' && c <= '7':
			x = x<<3 | int64(c-'0')
			continue
		case c == ' ':
			if len(bytes.Trim(b[i:], " \x00")) > 0 {
				p.bad = true
			}
		case c != 0: // which ends it, whatever follows
			p.bad = true
		}
		break
	}
	return x
}
