// Package disk decides where a data root's contents are kept, by what the file
// systems of the machine can do.
//
// A home on a cluster lies on NFS, Lustre or the like. Images can stay there,
// but not what belongs to one machine: overlay refuses to write there, sockets
// and process numbers mean nothing to the others, and these must not take our
// containers for dead ones. So such a root is split ([state.Split]), and the
// machine's part goes to a disk of its own; see candidates for where. The same
// is done for a root whose file system keeps no extended attributes, which
// overlay needs for its marks.
//
// What a file system can do is tried with real files (Try), as mount options,
// servers and kernels all have a say in it. Only whether other machines may see
// it has to be told from its kind (KindOf). This costs something, so it happens
// when a root is made; later a statfs(2) tells that there is nothing to decide.
package disk
