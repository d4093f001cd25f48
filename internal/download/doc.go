// Package download brings one blob from a registry: in ranges over several
// connections, in order for its reader, and so that nothing that came is
// fetched a second time, whatever happens in between.
//
// # The idea
//
// A blob is cut into chunks of 1 MiB. A chunk is missing, asked for, or here.
// Workers, one a connection, take runs of missing chunks ("spans"), the lowest
// first, and ask for each as one range. A chunk that is complete is written to
// its place in the part file, and only then a line of the journal says so. On
// the other side the feeder walks over the chunks in order, waits for each,
// and gives it to the reader and to sha256, which has a goroutine of its own:
//
//	worker ┐             part file + journal
//	worker ┼─► chunk ─►  ──────────────────  ─► feeder ─► out ─► NextOwned
//	worker ┘             memory, if it is          └────► sha256
//	                     wanted soon
//
// A chunk that the reader will want soon stays in memory; others are read again
// from the part file, which costs a copy from the page cache.
//
// # Going on
//
// Neither file is ever synced. After SIGKILL the page cache has all that the
// journal says. After a power loss it may not: a line of the journal carries
// the CRC-32C of its chunk and one of its own, so a chunk that did not reach
// the disk is recognised when it is read, and fetched again. In the end the
// digest of all bytes decides; what is wrong is removed.
//
// The journal is also the lock (flock) of its download: a second one of the
// same blob, in this process or another, waits for the first and goes on with
// what it left.
//
// Blobs of a few MiB (see smallBlob) live in memory only and have no files.
//
// # How many connections
//
// It begins with one. While the feeder waits for the network most of the time,
// and the network is not faster than anything that follows could be, the number
// doubles, up to what [Limit] grants; a reader that is slower than the network
// is served by one. A registry that says "too many requests" halves the number
// for all downloads of the Limit. A server that ignores ranges is read as one
// stream. When nothing is left to ask for, an idle worker takes over half of
// what the slowest has before it, or the chunk at which it hangs.
//
// # Memory
//
// A download holds at most 8 chunks that are being received, 10 that wait for
// the reader, and 7 between feeder, sha256 and reader, beside those that the
// reader has not released: about 24 MiB. Downloads that share a Limit keep
// chunks waiting only while they have fewer than 48 in use together, which
// bounds all of them to about 64 MiB. A small blob is held until Close.
package download
