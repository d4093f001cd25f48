package inflate

import (
	"fmt"
	"io"
)

// corruptError is ErrCorrupt with the place.
type corruptError struct {
	offset int64 // bytes of input consumed, about
	why    string
}

func (e *corruptError) Error() string {
	return fmt.Sprintf("%v: %s at byte %d", ErrCorrupt, e.why, e.offset)
}

func (e *corruptError) Unwrap() error { return ErrCorrupt }

// blockHeader reads what stands before the data of a block and sets the stage.
func (d *decoder) blockHeader() {
	head := d.take(3)
	if d.err != nil {
		return
	}
	d.final = head&1 != 0
	switch head >> 1 {
	case 0:
		d.align()
		d.stored = int(d.take(16))
		if inverse := int(d.take(16)); d.err == nil && inverse != d.stored^0xffff {
			d.corrupt("length of a stored block does not match its complement")
		}
		d.stage = stageStored
	case 1:
		d.useFixed()
		d.stage = stageCodes
	case 2:
		d.dynamicHeader()
		d.stage = stageCodes
	default:
		d.corrupt("block of the reserved type")
	}
}

// preOrder is the order in which the lengths of the code of code lengths are
// stored (RFC 1951, 3.2.7).
var preOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamicHeader reads the codes of a block and builds the tables.
func (d *decoder) dynamicHeader() {
	d.fixed = false
	lits, dists, pres := d.take(5)+257, d.take(5)+1, d.take(4)+4
	if d.err != nil {
		return
	}
	if lits > maxLitSyms || dists > maxDistSyms {
		d.corrupt("block with too many codes")
		return
	}
	var pre [19]uint8
	for _, sym := range preOrder[:pres] {
		pre[sym] = uint8(d.take(3))
	}
	if d.err != nil {
		return
	}
	if !d.build(d.pre[:], preBits, pre[:], d.preSym[:]) {
		d.corrupt("bad code of code lengths")
		return
	}
	if d.codeLengths(d.lens[:lits+dists]); d.err != nil {
		return
	}
	if !d.build(d.lit[:], litBits, d.lens[:lits], d.litSym[:]) {
		d.corrupt("bad code of literals and lengths")
		return
	}
	if !d.build(d.dist[:], distBits, d.lens[lits:lits+dists], d.distSym[:]) {
		d.corrupt("bad code of distances")
		return
	}
}

// codeLengths reads run-length coded code lengths.
func (d *decoder) codeLengths(lens []uint8) {
	for i := 0; i < len(lens); {
		if d.n < preBits+7 {
			d.fill()
		}
		e := d.pre[d.bits&(1<<preBits-1)]
		if e&entrySpecial != 0 {
			d.corrupt("bad code length")
			return
		}
		if d.drop(uint(e & entryBits)); d.err != nil {
			return
		}
		sym := uint8(e >> 16)
		if sym < 16 {
			lens[i] = sym
			i++
			continue
		}
		var value uint8
		var run uint
		switch sym {
		case 16:
			if i == 0 {
				d.corrupt("repetition of no code length")
				return
			}
			value, run = lens[i-1], 3+d.take(2)
		case 17:
			run = 3 + d.take(3)
		default:
			run = 11 + d.take(7)
		}
		if d.err != nil {
			return
		}
		if int(run) > len(lens)-i {
			d.corrupt("too many code lengths")
			return
		}
		for range run {
			lens[i] = value
			i++
		}
	}
}

// copyStored copies a stored block up to its end (true) or the output limit.
func (d *decoder) copyStored() bool {
	for d.stored > 0 && d.w < d.limit {
		if d.n == 0 && d.pos == len(d.in) && !d.nextSegment() {
			d.err = io.ErrUnexpectedEOF
			return false
		}
		n := min(d.stored, d.limit-d.w)
		if d.n > 0 {
			n = min(n, int(d.n/8))
		} else {
			n = min(n, len(d.in)-d.pos)
		}
		if d.wide == nil {
			d.bytes(d.out[d.w : d.w+n])
		} else {
			for i := range n {
				var b [1]byte
				d.bytes(b[:])
				d.wide[d.w+i] = uint16(b[0])
			}
		}
		d.w += n
		d.stored -= n
	}
	return d.stored == 0
}

// symbol decodes one literal or match, carefully. It reports true at the end
// of the block and after an error.
func (d *decoder) symbol() bool {
	d.fill()
	e := d.lit[d.bits&litMask]
	if e&(entryInvalid|entryEnd) == entrySpecial {
		e = d.lit[(e>>16+uint32(d.bits>>litBits)&(1<<(e>>8&15)-1))&(litSize-1)]
	}
	switch {
	case e&entryLiteral != 0:
		return d.literal(e)
	case e&entryInvalid == entryInvalid:
		d.corrupt("bad code of a literal or length")
		return true
	case e&entrySpecial != 0:
		d.drop(uint(e & entryBits))
		return true
	}
	length := d.value(e)
	d.fill()
	e = d.dist[d.bits&distMask]
	if e&entryInvalid == entrySpecial {
		e = d.dist[(e>>16+uint32(d.bits>>distBits)&(1<<(e>>8&15)-1))&(distSize-1)]
	}
	if e&entrySpecial != 0 {
		d.corrupt("bad code of a distance")
		return true
	}
	dist := d.value(e)
	if d.err != nil {
		return true
	}
	if dist > d.w-d.low {
		d.corrupt("match before the start of the data")
		return true
	}
	for range length {
		if d.wide == nil {
			d.out[d.w] = d.out[d.w-dist]
		} else {
			d.wide[d.w] = d.wide[d.w-dist]
		}
		d.w++
	}
	return false
}

// value consumes the code of a length or distance and its extra bits.
func (d *decoder) value(e uint32) int {
	total, code := e&entryBits, e>>8&15
	v := int(e>>16) + int(d.bits&(1<<total-1)>>code)
	d.drop(uint(total))
	return v
}

// literal writes the byte of an entry.
func (d *decoder) literal(e uint32) bool {
	if d.drop(uint(e & entryBits)); d.err != nil {
		return true
	}
	if d.wide == nil {
		d.out[d.w] = byte(e >> 16)
	} else {
		d.wide[d.w] = uint16(e >> 16)
	}
	d.w++
	return false
}
