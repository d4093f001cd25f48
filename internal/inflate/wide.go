package inflate

import (
	"encoding/binary"
	"unsafe"
)

// A stretch in the middle of a stream can be decoded before the 32 KiB in front
// of it are known. Its symbols have 16 bits: values below 256 are bytes, and
// marker+i stands for "byte i of the window before". An array of such markers
// is the history the stretch begins with, so that matches copy them around like
// everything else.
const marker = 1 << 15

// markers fills the history of a wide buffer.
func markers(wide []uint16) {
	for i := range wide[:window] {
		wide[i] = marker + uint16(i)
	}
}

// lastMarker returns the index behind the last marker in symbols, 0 if there is
// none.
func lastMarker(symbols []uint16) int {
	n := len(symbols)
	for n >= 16 {
		s := symbols[n-16 : n]
		if (s[0]|s[1]|s[2]|s[3]|s[4]|s[5]|s[6]|s[7]|s[8]|s[9]|s[10]|s[11]|s[12]|s[13]|s[14]|s[15])&marker != 0 {
			break
		}
		n -= 16
	}
	for n > 0 && symbols[n-1]&marker == 0 {
		n--
	}
	return n
}

// A resolver turns symbols into bytes.
type resolver [1 << 16]byte

// newResolver makes one from the 32 KiB before a stretch.
func newResolver(before []byte) *resolver {
	r := new(resolver)
	for i := range 256 {
		r[i] = byte(i)
	}
	copy(r[marker:], before[len(before)-window:])
	return r
}

// resolve writes one byte per symbol.
func (r *resolver) resolve(dst []byte, symbols []uint16) {
	dst = dst[:len(symbols)]
	for len(symbols) >= 8 && len(dst) >= 8 {
		s, b := symbols[:8], dst[:8]
		v := uint64(r[s[0]]) | uint64(r[s[1]])<<8 | uint64(r[s[2]])<<16 | uint64(r[s[3]])<<24 |
			uint64(r[s[4]])<<32 | uint64(r[s[5]])<<40 | uint64(r[s[6]])<<48 | uint64(r[s[7]])<<56
		binary.LittleEndian.PutUint64(b, v)
		symbols, dst = symbols[8:], dst[8:]
	}
	for i, s := range symbols {
		dst[i] = r[s]
	}
}

// fastWide is fast for symbols of 16 bits. The same proof holds with every
// length and distance in symbols.
func (d *decoder) fastWide() bool {
	t := &d.tables
	limit, low := d.limit, d.low
	if len(d.wide) < limit+slack || d.w > limit || low < 0 {
		panic("inflate: output buffer without slack")
	}
	in := unsafe.Pointer(unsafe.SliceData(d.in))
	out := unsafe.Pointer(unsafe.SliceData(d.wide))
	pos, last, w := d.pos, len(d.in)-fastInput, d.w
	bits, n := d.bits, uint64(d.n)

	bits |= load64(in, pos) << (n & 63)
	pos += int(^n >> 3 & 7)
	n |= 56
	e := uint64(t.lit[bits&litMask])
	for pos <= last && w < limit {
		bits |= load64(in, pos) << (n & 63)
		pos += int(^n >> 3 & 7)
		n |= 56
		if e&entryLiteral != 0 {
			store16(out, w, e>>16)
			bits >>= e & entryBits
			n -= e
			w++
			e = uint64(t.lit[bits&litMask])
			if e&entryLiteral != 0 {
				store16(out, w, e>>16)
				bits >>= e & entryBits
				n -= e
				w++
				e = uint64(t.lit[bits&litMask])
				if e&entryLiteral != 0 {
					store16(out, w, e>>16)
					bits >>= e & entryBits
					n -= e
					w++
					e = uint64(t.lit[bits&litMask])
					continue
				}
			}
		}
		if e&entrySpecial != 0 {
			if e&(entryInvalid|entryEnd) == entrySpecial {
				e = uint64(t.lit[(e>>16+bits>>litBits&(1<<(e>>8&15)-1))&(litSize-1)])
			}
			if e&entryLiteral != 0 {
				store16(out, w, e>>16)
				bits >>= e & entryBits
				n -= e
				w++
				e = uint64(t.lit[bits&litMask])
				continue
			}
			if e&entrySpecial != 0 {
				return d.leave(bits, n, pos, w, uint32(e))
			}
		}
		length := int(e>>16 + bits&(1<<(e&entryBits)-1)>>(e>>8&15))
		bits >>= e & entryBits
		n -= e
		bits |= load64(in, pos) << (n & 63)
		pos += int(^n >> 3 & 7)
		n |= 56
		f := uint64(t.dist[bits&distMask])
		if f&entrySpecial != 0 {
			if f&entryInvalid == entrySpecial {
				f = uint64(t.dist[(f>>16+bits>>distBits&(1<<(f>>8&15)-1))&(distSize-1)])
			}
			if f&entrySpecial != 0 {
				return d.leave(bits, n, pos, w, entryInvalid)
			}
		}
		dist := int(f>>16 + bits&(1<<(f&entryBits)-1)>>(f>>8&15))
		bits >>= f & entryBits
		n -= f
		e = uint64(t.lit[bits&litMask])
		if dist > w-low {
			d.leave(bits, n, pos, w, 0)
			d.corrupt("match before the start of the data")
			return true
		}
		dst := unsafe.Add(out, 2*w)
		src := unsafe.Add(dst, -2*dist)
		w += length
		if dist >= 8 {
			copy16(dst, src)
			copy16(unsafe.Add(dst, 16), unsafe.Add(src, 16))
			for length > 16 {
				dst, src = unsafe.Add(dst, 32), unsafe.Add(src, 32)
				copy16(dst, src)
				copy16(unsafe.Add(dst, 16), unsafe.Add(src, 16))
				length -= 16
			}
		} else {
			copyNearWide(dst, src, dist, length)
		}
	}
	return d.leave(bits, n, pos, w, 0)
}

// copyNearWide copies a match that is closer than 8 symbols, 4 at a time.
func copyNearWide(dst, src unsafe.Pointer, dist, length int) {
	word, step := load64(src, 0), 4
	switch dist {
	case 1:
		word = word & 0xffff * 0x0001000100010001
	case 2:
		word = word & 0xffffffff * 0x0000000100000001
	case 3:
		word, step = word&0xffffffffffff|word<<48, 3
	default:
		for {
			store64(dst, 0, load64(src, 0))
			if length <= 4 {
				return
			}
			dst, src = unsafe.Add(dst, 8), unsafe.Add(src, 8)
			length -= 4
		}
	}
	for {
		store64(dst, 0, word)
		if length <= step {
			return
		}
		dst = unsafe.Add(dst, 2*step)
		length -= step
	}
}

func store16(p unsafe.Pointer, at int, v uint64) { *(*uint16)(unsafe.Add(p, 2*at)) = uint16(v) }
