// Package layer turns the tar stream of an image layer into a folder of files
// and shows stacks of such folders as one tree.
//
// A layer is known by its diff ID, the digest of its uncompressed tar stream,
// and lies in layers/<hex>/ of the data root:
//
//	tree/        the files; a folder an overlay mount can use as it is
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
// # Power loss
//
// Files are not synced one by one: that would cost more than all else
// together. The folder is renamed into place after meta.json has been synced,
// which on the usual file systems (ext4, xfs, btrfs) also brings the names to
// disk but not surely the contents of files written within the last half
// minute. A machine that loses power in that time can come back with a layer
// that has empty files. A process that dies, by whatever signal, cannot cause
// this.
package layer
