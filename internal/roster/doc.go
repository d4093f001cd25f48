// Package roster is the list of an account's containers: a folder for each,
// with its record (what was asked for) and its status (what has become of it),
// and a file for each name.
//
// Nobody keeps the list in memory. Whoever wants to know reads the folders,
// without a lock, because what is in them is only ever replaced by rename; and
// whatever is written, a container whose shim is not alive does not run. Who
// changes a container holds its lock. A name belongs to a container from the
// moment its file is linked; a killed rename may leave it two, of which the one
// in its record counts.
//
// The package finds, reads, names, lists and filters containers. What they do
// is the engine's.
package roster
