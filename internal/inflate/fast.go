package inflate

import (
	"runtime"
	"unsafe"
)

// fastMachine says that words are little-endian and may lie anywhere, as the
// inner loops need it. Elsewhere the careful loop does all.
const fastMachine = runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"

// fast is the inner loop: it decodes while at least fastInput bytes of the
// segment are left and the output is below its limit. It reports true at the
// end of the block.
//
// Why the unsafe accesses stay inside their buffers:
//
//   - Input: an iteration begins with pos <= len(in)-fastInput, loads 8 bytes
//     at pos at most twice and moves on by at most 7 each time: it reads below
//     pos+15 <= len(in). (24 leaves room.)
//   - Output: an iteration begins with w < limit. It writes at most three
//     literals, or two and a match of at most 258 bytes, whose copy loop writes
//     less than 32 bytes too much: all below limit+2+258+32 < limit+slack, and
//     len(out) >= limit+slack is checked on entry.
//   - History: a match is refused unless dist <= w-low, low >= 0, so it starts
//     inside out. Copies read below what they write, or, for a short distance,
//     8 bytes at w-dist.
//   - Tables are arrays with power-of-two sizes, indexed under a mask.
//
// The bit buffer is filled to 56..63 bits at the top: three literal entries
// need at most 33 of them, two and the code of a length 22+20. It is filled
// again for the distance, which needs 28, so that 28 are left to look up the
// next entry before the copy. n is exact in its low 6 bits only; above the n
// valid bits the buffer may hold bits of the byte at pos, which the next load
// brings again.
func (d *decoder) fast() bool {
	t := &d.tables
	limit, low := d.limit, d.low
	if len(d.out) < limit+slack || d.w > limit || low < 0 {
		panic("inflate: output buffer without slack")
	}
	in := unsafe.Pointer(unsafe.SliceData(d.in))
	out := unsafe.Pointer(unsafe.SliceData(d.out))
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
			store8(out, w, e>>16)
			bits >>= e & entryBits
			n -= e
			w++
			e = uint64(t.lit[bits&litMask])
			if e&entryLiteral != 0 {
				store8(out, w, e>>16)
				bits >>= e & entryBits
				n -= e
				w++
				e = uint64(t.lit[bits&litMask])
				if e&entryLiteral != 0 {
					store8(out, w, e>>16)
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
				store8(out, w, e>>16)
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
		dst := unsafe.Add(out, w)
		src := unsafe.Add(dst, -dist)
		w += length
		if dist >= 16 {
			copy16(dst, src)
			copy16(unsafe.Add(dst, 16), unsafe.Add(src, 16))
			for length > 32 {
				dst, src = unsafe.Add(dst, 32), unsafe.Add(src, 32)
				copy16(dst, src)
				copy16(unsafe.Add(dst, 16), unsafe.Add(src, 16))
				length -= 32
			}
		} else {
			copyNear(dst, src, dist, length)
		}
	}
	return d.leave(bits, n, pos, w, 0)
}

// leave writes the loop's variables back. Whole bytes in the bit buffer go back
// to the input. e tells what ended the loop: an end of block (true), a code
// that does not exist, or nothing.
func (d *decoder) leave(bits, n uint64, pos, w int, e uint32) bool {
	if e&entryEnd == entryEnd {
		bits >>= e & entryBits
		n -= uint64(e)
	}
	n &= 63
	d.pos, d.w = pos-int(n>>3), w
	d.n = uint(n & 7)
	d.bits = bits & (1<<d.n - 1)
	if e&entryEnd == entryEnd {
		return true
	}
	if e != 0 {
		d.corrupt("bad code")
		return true
	}
	return false
}

// near describes how a distance below 16 is copied: the first bytes of the
// match repeated in a word, and how many of a word's bytes are written per step
// so that the pattern continues in the next one.
var nearStep = [16]uint8{0, 8, 8, 6, 8, 5, 6, 7, 8, 8, 8, 8, 8, 8, 8, 8}
var nearMul = [8]uint64{0, 0x0101010101010101, 0x0001000100010001, 0x0001000001000001, 0x0000000100000001, 0x0000010000000001, 0x0001000000000001, 0x0100000000000001}

// copyNear copies a match that is closer than 16 bytes.
func copyNear(dst, src unsafe.Pointer, dist, length int) {
	if dist >= 8 {
		for {
			store64(dst, 0, load64(src, 0))
			if length <= 8 {
				return
			}
			dst, src = unsafe.Add(dst, 8), unsafe.Add(src, 8)
			length -= 8
		}
	}
	word := load64(src, 0) & (1<<(8*uint(dist)&63) - 1) * nearMul[dist&7]
	step := int(nearStep[dist&7])
	for {
		store64(dst, 0, word)
		if length <= step {
			return
		}
		dst = unsafe.Add(dst, step)
		length -= step
	}
}

func load64(p unsafe.Pointer, at int) uint64     { return *(*uint64)(unsafe.Add(p, at)) }
func store64(p unsafe.Pointer, at int, v uint64) { *(*uint64)(unsafe.Add(p, at)) = v }
func store8(p unsafe.Pointer, at int, v uint64)  { *(*byte)(unsafe.Add(p, at)) = byte(v) }
func copy16(dst, src unsafe.Pointer)             { *(*[16]byte)(dst) = *(*[16]byte)(src) }
