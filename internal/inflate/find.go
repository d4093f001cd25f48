package inflate

import (
	"encoding/binary"
	"math/bits"
)

// A finder looks for places where decoding may begin, in data of which it
// knows nothing: headers of dynamic blocks that are not the last of their
// stream, and headers of gzip members. What it finds may be wrong; nothing
// relies on it (see job).
//
// A dynamic block begins with 3 bits of type, three counts, and a code of code
// lengths that must be complete. Of random bit positions one in 9 survives the
// first test, which is made for 48 of them at once, and about one in 200 of
// those the second. The rest is left to decoder.dynamicHeader.
type finder struct {
	// room[x] is how much of a code four code lengths of 3 bits each take, in
	// units of 1/128.
	room [1 << 12]uint16
}

func newFinder() *finder {
	f := new(finder)
	for x := range f.room {
		for _, l := range [4]int{x & 7, x >> 3 & 7, x >> 6 & 7, x >> 9} {
			if l > 0 {
				f.room[x] += 128 >> l
			}
		}
	}
	return f
}

// headerBytes is what plausible reads at most of a header, from the byte it
// begins in: (47+17)/8 bytes, a load of 8 and one more.
const headerBytes = 24

// next returns the first bit offset >= from where a block or (member) a gzip
// member may begin, or -1. The last bytes of data are not searched.
func (f *finder) next(data []byte, from int) (at int, member bool) {
	for pos := from >> 3; pos+headerBytes <= len(data); pos += 6 {
		word := binary.LittleEndian.Uint64(data[pos:])
		// Bit i of found: position i has the bits 0, 01 (read from the right:
		// not final, dynamic), at most 286 literals and 30 distances.
		found := ^word & ^(word >> 1) & (word >> 2) &
			^(word >> 4 & (word >> 5) & (word >> 6) & (word >> 7)) &
			^(word >> 9 & (word >> 10) & (word >> 11) & (word >> 12)) & (1<<48 - 1)
		if start := from - pos*8; start > 0 {
			found = found >> uint(start) << uint(start)
		}
		magic := gzipMagic(word) // byte of the word, 6 if there is none
		for found != 0 {
			i := bits.TrailingZeros64(found)
			if i > magic*8 {
				break
			}
			found &= found - 1
			if f.plausible(data[pos:], uint(i)) {
				return pos*8 + i, false
			}
		}
		if magic < 6 && pos*8+magic*8 >= from && data[pos+magic+3]&0xe0 == 0 {
			return (pos + magic) * 8, true
		}
	}
	return -1, false
}

// plausible looks at the code of code lengths of a block at bit i < 48.
func (f *finder) plausible(data []byte, i uint) bool {
	at := i + 13
	v := binary.LittleEndian.Uint64(data[at>>3:]) >> (at & 7)
	count := uint(v&15) + 4
	// 4 bits of count, up to 57 of lengths: the last ones may need another load.
	at += 4
	v = binary.LittleEndian.Uint64(data[at>>3:])>>(at&7) | uint64(data[at>>3+8])<<(64-at&7)
	v &= 1<<(3*count) - 1
	return f.room[v&0xfff]+f.room[v>>12&0xfff]+f.room[v>>24&0xfff]+f.room[v>>36&0xfff]+f.room[v>>48&0xfff] == 128
}

// gzipMagic finds the first three bytes of a gzip header that begin in the
// first 6 bytes of word.
func gzipMagic(word uint64) int {
	const magic = 0x088b1f
	// A byte of x is zero where word has the first byte of the magic number.
	x := word ^ 0x1f1f1f1f1f1f1f1f
	for hit := (x - 0x0101010101010101) & ^x & 0x8080808080808080; hit != 0; hit &= hit - 1 {
		i := bits.TrailingZeros64(hit) / 8
		if i < 6 && word>>(8*uint(i))&0xffffff == magic {
			return i
		}
	}
	return 6
}
