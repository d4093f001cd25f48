package download

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// The journal of a download, downloads/<hex>.map. All numbers are little
// endian.
//
//	header, 64 bytes:
//	   0  "berthdl" and the version, a byte of value 1
//	   8  size of the blob, 8 bytes
//	  16  size of a chunk, 4 bytes
//	  20  sha256 of the blob, 32 bytes
//	  52  zero, 8 bytes
//	  60  CRC-32C of all before, 4 bytes
//	then records of 12 bytes, in the order in which chunks came:
//	   0  index of the chunk, 4 bytes
//	   4  CRC-32C of its content, 4 bytes
//	   8  CRC-32C of the two, begun with the header's, 4 bytes
const (
	headerSize = 64
	recordSize = 12
	magic      = "berthdl\x01"
)

// maxBlob is the biggest blob that is taken: what is kept in memory per chunk
// must not be for a manifest to choose.
const maxBlob = 1 << 40

// header says which blob a journal is about.
type header struct {
	size  int64
	chunk int64
	sum   [32]byte
}

// record says that a chunk is in the part file.
type record struct {
	index uint32
	sum   uint32
}

// castagnoli returns the table of CRC-32C. The package keeps one and finds it
// in a moment.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli()) }

// chunks returns how many chunks the blob has.
func (h header) chunks() int { return int((h.size + h.chunk - 1) / h.chunk) }

// length returns how many bytes chunk i has.
func (h header) length(i int) int { return int(min(h.chunk, h.size-int64(i)*h.chunk)) }

func (h header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint64(b[8:], uint64(h.size))
	binary.LittleEndian.PutUint32(b[16:], uint32(h.chunk))
	copy(b[20:52], h.sum[:])
	binary.LittleEndian.PutUint32(b[60:], checksum(b[:60]))
	return b
}

// salt is what the checks of the records of this journal begin with, so that a
// record of another one is none here.
func (h header) salt() uint32 { return checksum(h.encode()[:60]) }

// encode returns the record as a journal of that salt holds it.
func (r record) encode(salt uint32) []byte {
	b := make([]byte, recordSize)
	binary.LittleEndian.PutUint32(b, r.index)
	binary.LittleEndian.PutUint32(b[4:], r.sum)
	binary.LittleEndian.PutUint32(b[8:], crc32.Update(salt, castagnoli(), b[:8]))
	return b
}

// journalLimit is how long the journal of a blob may be: some chunks may have
// come more than once.
func (h header) journalLimit() int64 {
	return headerSize + recordSize*(4*int64(h.chunks())+1024)
}

// parseHeader reads the header of a journal.
func parseHeader(b []byte) (header, bool) {
	if len(b) < headerSize || !bytes.HasPrefix(b, []byte(magic)) || checksum(b[:60]) != binary.LittleEndian.Uint32(b[60:]) {
		return header{}, false
	}
	h := header{
		size:  int64(binary.LittleEndian.Uint64(b[8:])),
		chunk: int64(binary.LittleEndian.Uint32(b[16:])),
		sum:   [32]byte(b[20:52]),
	}
	return h, h.size > 0 && h.size <= maxBlob && h.chunk > 0 && h.size/h.chunk <= maxBlob/chunkSize
}

// parseRecords calls each for the records after the header of a journal. What
// is torn or damaged is passed over: each record vouches for itself.
func parseRecords(h header, b []byte, each func(record)) {
	salt, n := h.salt(), uint32(h.chunks())
	for ; len(b) >= recordSize; b = b[recordSize:] {
		r := record{index: binary.LittleEndian.Uint32(b), sum: binary.LittleEndian.Uint32(b[4:])}
		if r.index < n && crc32.Update(salt, castagnoli(), b[:8]) == binary.LittleEndian.Uint32(b[8:]) {
			each(r)
		}
	}
}
