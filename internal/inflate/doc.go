// Package inflate decodes gzip, the compression of nearly all image layers, as
// fast as the machine can: with an inner loop made for 64-bit processors, and
// with several cores inside one ordinary stream.
//
// A gzip file is a chain of members, each a header, a deflate stream and a
// checksum. A deflate stream is a chain of blocks. A block is either stored or
// a sequence of Huffman codes for literals and for matches, which repeat what
// was up to 32 KiB before. Blocks do not begin at byte boundaries, carry no
// marks, and need the 32 KiB before them: the format is made to be read from
// the front.
//
// decoder is the core: block headers and tables (block.go, table.go), the inner
// loop (fast.go) and its careful brother for the edges of buffers. feed reads
// the source ahead on its own goroutine, stream drives a decoder over it, and
// Reader hands out the pieces and verifies the checksums.
package inflate
