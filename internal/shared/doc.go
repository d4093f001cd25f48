// Package shared is images that all accounts of a machine may use: a folder that
// an administrator or a group fills and everybody reads, so that one account's
// pull serves all.
//
// It is an OCI image layout of packed layers: a third of the room, no files with
// rights that a stranger could use where they lie, nothing that depends on who
// unpacks it, and other programs can fill it, too.
//
// A reader believes none of it. What it takes goes through the same hands as
// an archive that somebody has sent: manifest, configuration, packed and
// unpacked layers are compared with the digests that lead to them before the
// image is listed as the reader's own, and nothing of the folder is looked at
// again. Who may write decides which image a name stands for, as a registry
// does; what lies under a digest nobody can change.
package shared
