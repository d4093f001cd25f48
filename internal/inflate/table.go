package inflate

import "math/bits"

// A Huffman table maps the next bits of the input to what they mean. The first
// litBits (distBits) bits index the main table; codes that are longer go on in
// a subtable behind it. One entry answers everything the inner loop asks:
//
//	bits  0..7   bits to consume: the code and its extra bits
//	bits  8..11  length of the code alone; of a link: index bits of the subtable
//	bit  12      of special entries: no such code
//	bit  13      of special entries: end of block
//	bit  14      special: end of block, link, no such code
//	bit  15      a literal
//	bits 16..31  payload: the literal, the base length or distance, the place of
//	             the subtable
const (
	litBits  = 11
	distBits = 8

	litMask  = 1<<litBits - 1
	distMask = 1<<distBits - 1

	// Upper bounds of what complete codes of at most 15 bits need, main table
	// and subtables (zlib's "enough" gives 2342 and 402), rounded up to powers
	// of two so that an index is bounded by a mask.
	litSize  = 1 << 12
	distSize = 1 << 9

	preBits = 7 // the code of code lengths has no longer codes

	entryBits    = 63 // mask of the bits to consume, as a shift count
	entrySpecial = 1 << 14
	entryLiteral = 1 << 15
	entryInvalid = entrySpecial | 1<<12
	entryEnd     = entrySpecial | 1<<13

	maxCode     = 15
	numLit      = 288 // symbols 286 and 287 exist in the fixed code only and may not be used
	numDist     = 32  // as 30 and 31
	maxLitSyms  = 286 // in a dynamic block
	maxDistSyms = 30
	endOfBlock  = 256
)

// tables are the codes of the current block, and the templates they are built
// of: what each symbol's entry looks like before its code is known.
type tables struct {
	lit  [litSize]uint32
	dist [distSize]uint32
	pre  [1 << preBits]uint32

	litSym  [numLit]uint32
	distSym [numDist]uint32
	preSym  [19]uint32

	fixed  bool // lit and dist hold the fixed code
	lens   [numLit + numDist]uint8
	sorted [numLit]uint16
}

// describe fills the templates (RFC 1951, 3.2.5).
func (t *tables) describe() {
	for i := range 256 {
		t.litSym[i] = entryLiteral | uint32(i)<<16
	}
	t.litSym[endOfBlock] = entryEnd
	base, extra := uint32(3), uint32(0)
	for i := 257; i < 285; i++ {
		t.litSym[i] = base<<16 | extra
		base += 1 << extra
		if i >= 264 && (i-260)%4 == 0 {
			extra++
		}
	}
	t.litSym[285] = 258 << 16
	t.litSym[286], t.litSym[287] = entryInvalid, entryInvalid
	base, extra = 1, 0
	for i := range 30 {
		t.distSym[i] = base<<16 | extra
		base += 1 << extra
		if i >= 3 && i%2 == 1 {
			extra++
		}
	}
	t.distSym[30], t.distSym[31] = entryInvalid, entryInvalid
	for i := range t.preSym {
		t.preSym[i] = uint32(i) << 16
	}
}

// useFixed builds the code of blocks of type 1, unless it is there already.
func (t *tables) useFixed() {
	if t.fixed {
		return
	}
	for i := range numLit {
		switch {
		case i < 144:
			t.lens[i] = 8
		case i < 256:
			t.lens[i] = 9
		case i < 280:
			t.lens[i] = 7
		default:
			t.lens[i] = 8
		}
	}
	for i := range numDist {
		t.lens[numLit+i] = 5
	}
	t.build(t.lit[:], litBits, t.lens[:numLit], t.litSym[:])
	t.build(t.dist[:], distBits, t.lens[numLit:], t.distSym[:])
	t.fixed = true
}

// build makes the table of a canonical code from the lengths of its codes. It
// reports false for a code that compress/flate refuses: one that is
// over-subscribed or incomplete, except the empty code and the code whose only
// symbol has one bit. Bits that are no code lead to entryInvalid.
func (t *tables) build(table []uint32, tableBits uint, lens []uint8, syms []uint32) bool {
	var count, next [maxCode + 1]int
	for _, l := range lens {
		count[l&maxCode]++
	}
	used := len(lens) - count[0]
	if used == 0 {
		fill(table[:1<<tableBits], entryInvalid)
		return true
	}
	space, at := 0, 0 // codes of 15 bits taken; place in sorted
	for l := 1; l <= maxCode; l++ {
		space += count[l] << (maxCode - l)
		next[l] = at
		at += count[l]
	}
	if space != 1<<maxCode && !(used == 1 && count[1] == 1) {
		return false
	}
	sorted := t.sorted[:used]
	for sym, l := range lens {
		if l != 0 {
			sorted[next[l&maxCode]] = uint16(sym)
			next[l&maxCode]++
		}
	}
	if used == 1 {
		fill(table[:1<<tableBits], entryInvalid)
		e := syms[sorted[0]] + 1<<8 + 1
		for i := 0; i < 1<<tableBits; i += 2 {
			table[i] = e
		}
		return true
	}
	code, sorted := fillMain(table, tableBits, count[:], sorted, syms)
	if len(sorted) > 0 {
		fillSub(table, tableBits, count[:], sorted, syms, code)
	}
	return true
}

func fill(table []uint32, e uint32) {
	for i := range table {
		table[i] = e
	}
}

// nextCode adds one to a canonical code of n bits that is kept bit-reversed, as
// the stream has it. The last code of all has only ones and stays as it is.
func nextCode(code, n uint) uint {
	free := code ^ (1<<n - 1)
	if free == 0 {
		return code
	}
	bit := uint(1) << (bits.Len(free) - 1)
	return code&(bit-1) | bit
}

// fillMain enters the codes of up to tableBits bits. The table is full for
// codes of n bits when it has 1<<n entries; for n+1 it is doubled. It returns
// the next code and the symbols that are left.
func fillMain(table []uint32, tableBits uint, count []int, sorted []uint16, syms []uint32) (uint, []uint16) {
	code, size := uint(0), 1
	for n := uint(1); n <= tableBits; n++ {
		copy(table[size:2*size], table[:size])
		size *= 2
		add := uint32(n<<8 | n)
		for _, sym := range sorted[:count[n]] {
			table[code] = syms[sym] + add
			code = nextCode(code, n)
		}
		sorted = sorted[count[n]:]
		if len(sorted) == 0 {
			for ; size < 1<<tableBits; size *= 2 {
				copy(table[size:2*size], table[:size])
			}
			return code, nil
		}
	}
	return code, sorted
}

// fillSub enters the longer codes. Codes are in ascending order, so those with
// the same first tableBits bits follow each other; their subtable gets as many
// index bits as the longest of them needs.
func fillSub(table []uint32, tableBits uint, count []int, sorted []uint16, syms []uint32, code uint) {
	prefix, start, end, subBits := ^uint(0), 0, 1<<tableBits, uint(0)
	n := tableBits + 1
	for len(sorted) > 0 {
		for count[n] == 0 {
			n++
		}
		if p := code & (1<<tableBits - 1); p != prefix {
			prefix, start = p, end
			// The subtable is complete when its codes fill it: widen until then.
			subBits = n - tableBits
			for room := count[n]; room < 1<<subBits && tableBits+subBits < maxCode; {
				subBits++
				room = room<<1 + count[tableBits+subBits]
			}
			end = start + 1<<subBits
			table[prefix] = uint32(start)<<16 | entrySpecial | uint32(subBits)<<8 | uint32(tableBits)
		}
		e := syms[sorted[0]] + uint32(n<<8|n)
		for i := start + int(code>>tableBits); i < end; i += 1 << (n - tableBits) {
			table[i] = e
		}
		code = nextCode(code, n)
		sorted = sorted[1:]
		count[n]--
	}
}
