// Package recipe keeps what is needed to make the tar stream of a layer again.
//
// A registry knows a layer by the digest of its stream, and tar streams of the
// same files differ in a hundred ways. So while a layer is unpacked all of the
// stream that is not the content of one of its files goes into a recipe, which
// takes some percent of the room that a packed copy would take. It is a gzip
// stream of records:
//
//	'r' length(uint32) bytes                 as they are
//	'z' length(uint32)                       zeros
//	'f' length(uint64) length(uint32) path   the content of a file of the tree
//
// with numbers in little-endian order. A path is where the file lies, links
// followed. When a later entry of the stream takes a file's place, the file is
// not lost but moved to shadow/<n>, and shadow/moved.json tells.
//
// A recipe may be damaged, and the tree beside it changed: a [Reader] leaves
// the layer's folder for nothing, follows no link, and makes no promise about
// the bytes it makes. Whoever wants them compares the digest.
package recipe
