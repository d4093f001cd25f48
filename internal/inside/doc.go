// Package inside works on files that belong to ids of an account's ranges.
//
// Where /etc/subuid grants an account ids of its own, what its containers write
// has true owners on the disk: user 999 of a container is user 100998 of the
// machine, say. The account may make, read or remove such files only as root of
// a user namespace that has these ids (package userns). So what has to do with
// them is done by a process that is started there: layers are unpacked and packed
// again, trees are copied, measured and removed.
//
// An [Account] is the caller's half. It opens the namespace when the first
// process is to be started, so whoever needs none pays nothing. [Main] is the
// other half: one request on descriptor 3, JSON, then the stream that it is about
// on standard input or output, and an answer. The process ends with its caller,
// but for one that removes: what was begun goes on.
package inside
