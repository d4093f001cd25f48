// Package pull brings an image from a registry into the data root.
//
// A layer is never on disk in the form in which it travels. Its bytes run
// through a chain of goroutines, so that receiving, verifying, inflating,
// hashing and writing overlap:
//
//	registry.Blob ──► ring of buffers ──► inflate ──► layer.Unpack
//	(sha256 of what    (source.go)        (inflate.go)  (sha256 of the tar
//	 travels)                                            stream, files)
//
// Unpack works in a temporary folder and renames it into place after the end
// of the stream, and the stream ends well only when the digest of the packed
// layer was right; so both digests are checked before anybody can see the
// layer. The layers of an image take this way at once, the biggest first. When
// all are there, package store lists the image and gives it its names in one
// step.
//
// Two processes that want the same layer share the work (layer.Claim). A
// killed pull leaves finished layers and temporary folders, which the next
// pull uses and anybody sweeps.
package pull
