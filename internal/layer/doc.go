// Package layer turns the tar stream of an image layer into a folder of files
// and shows stacks of such folders as one tree.
//
// A layer is known by its diff ID, the digest of its uncompressed tar stream,
// and lies in layers/<hex>/ of the data root:
//
//	tree/        the files; a folder an overlay mount can use as it is
//	recipe       all of the tar stream that is not content of those files
//	shadow/      files that later entries of the stream replaced; often absent
//	owners.json  what the tree cannot say (see [Owners]); often absent
//	meta.json    written last: its presence says that the layer is whole
//
// A layer is unpacked without looking at the layers below it: that something
// below is hidden is said by the tar stream alone (".wh." names) and is written
// in the form the kernel's overlay expects. So all layers of an image can be
// unpacked at once and every image that has a layer shares it.
//
// # Foreign bytes
//
// The stream comes from a stranger. Nothing in it makes a path that the kernel
// resolves: names are taken apart here, each step is a known folder, opened by
// descriptor and never through a symbolic link, and links are followed, inside
// the tree only, by looking at what this unpacking has made. An entry whose
// name climbs out of the tree ends the unpacking.
//
// # Who owns the files
//
// Root keeps owners, modes, device nodes and extended attributes in the tree.
// Any other account owns all files itself, because its containers know one
// user only; it can always read its files and enter its folders, and the truth
// goes to owners.json, for the day the layer is pushed.
//
// # There and back
//
// [Set.Tar] makes the stream that a layer was unpacked from again, to the byte,
// out of the recipe and the files, so no packed copy need be kept for pushing
// and saving. [WriteDiff] makes the stream of a new layer out of what a
// container has changed, [View.Tar] a stream of all it sees.
//
// # Power loss
//
// Nothing waits for the disk while an image is unpacked: that would cost more
// than all else together. The record of a layer says instead in which boot of
// the machine it was written. [Set.Settle] syncs such layers when nobody waits
// any more. One that was not settled before the machine went down is read once,
// by making its stream again; if that has not the right digest the layer counts
// as not there. See docs/adr/0008-durable-layers.md. A process that dies, by
// whatever signal, leaves whole layers or none.
package layer
