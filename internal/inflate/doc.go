// Package inflate decodes gzip, the compression of nearly all image layers, as
// fast as the machine can: with an inner loop made for 64-bit processors, and
// with several cores inside one ordinary stream. docs/adr/0007 has the figures.
//
// # The format
//
// A gzip file is a chain of members, each a header, a deflate stream and a
// checksum. A deflate stream is a chain of blocks. A block is either stored or
// a sequence of Huffman codes for literals and for matches, which repeat what
// was up to 32 KiB before; its header describes the codes. Blocks do not begin
// at byte boundaries, carry no marks, and need the 32 KiB before them: the
// format is made to be read from the front, by one.
//
// # One core
//
// A decoder turns blocks into bytes: block.go and table.go read headers and
// build tables, fast.go is the inner loop, and its careful brother in block.go
// does the edges of buffers. A feed reads the source ahead on its own goroutine
// in segments of 256 KiB; a stream drives a decoder over them on another one; a
// Reader hands out pieces of 256 KiB and verifies the members' checksums.
//
// # Several cores in one stream
//
// Workers decode stretches (jobs) further on, in two stages:
//
//  1. A worker searches for bits that look like a block's header (find.go) and
//     decodes from there, not knowing the 32 KiB before. Its symbols have 16
//     bits: a byte, or "byte i of what was before" (wide.go). Matches copy such
//     markers like bytes. Mostly they die out, and the worker goes on with bytes
//     and the ordinary loop. A member's header is a start as well, and needs no
//     markers.
//  2. When the decoder in order, which never guesses, arrives at the very bit
//     where a job began, it takes the result, puts the now known 32 KiB in place
//     of the markers of the last 32 KiB, and goes on at the job's end. The
//     other markers are replaced by further goroutines.
//
// A job that began anywhere else was a wrong guess and is thrown away. So are
// jobs that met an error behind their first block: only the decoder in order
// says what is wrong with a stream. Correctness never depends on a guess.
//
// # The gate
//
// Guessing costs about a fifth more work than decoding in order, so it is worth
// it only for cores that have nothing to do. All Readers of a program share a
// Gate of as many places as there are cores. Decoders in order always pass, jobs
// pass while a place is free: three layers on two cores are decoded without
// jobs, the last of them on both. A job is placed so far ahead that it is done
// when the decoder in order gets there, which then waits a moment at most. With a
// gate of one, no job ever runs.
//
// Some streams cannot be shared: those with few or endless blocks
// (klauspost/compress writes such for uniform data), of fixed codes only, or so
// well compressed that a job would exceed its bounds. They are decoded in order.
//
// # Memory
//
// A Reader holds at most 6 segments of 256 KiB and, besides what the caller has
// not released, 6 pieces of 288 KiB: about 4 MiB. With a gate of n > 1 come 5+4n
// segments, and n jobs; a job ends at the next block behind 12 MiB of output and
// gives up at 24, of which the part with markers counts twice. With layers as
// they are a job takes 3 to 6 MiB. At most 32 jobs run in a stream.
//
// # Checkpoints
//
// While it decodes, a Reader can make an Index: places with the 32 KiB before
// them, deflated. With it the blob can be read again from anywhere, and by all
// cores without guessing (Blob). What is read through an index is only as
// trustworthy as the index and the blob: compare digests.
package inflate
