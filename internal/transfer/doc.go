// Package transfer carries files into and out of the tree of a container, as
// tar streams.
//
// The tree belongs to somebody who may be hostile and at work: folders become
// links to /etc between two system calls. So there is one rule. A [Root] is a
// descriptor of the folder that the container sees as "/"; every path is
// resolved by the kernel inside of it (openat2(2) with RESOLVE_IN_ROOT), and
// what was found is used by its descriptor, never by its name again. Links lead
// where they would lead the container: to a place inside. What a container does
// to its tree meanwhile can confuse the copy, and nothing else. On our side of
// a copy (see [OpenFolder]) links of the stream are not followed at all.
//
// # Where the root comes from
//
// Of a running container it is /proc/PID/root of its first process, opened
// through a descriptor of /proc/PID so that no other process can take its
// place. Of one that does not run nothing is mounted. Then a process of our own
// (the stage [Main]) mounts the layers and the volumes for itself, in a mount
// namespace that ends with it, and answers questions over a socket
// ([Session]). For an ordinary account that process also sits in a user
// namespace, where it is root over the account's own files: a container may
// have made some that the account cannot read.
//
// # Owners
//
// What is copied in belongs to root of the container, and what is copied out
// to who copies, unless the caller wants owners kept; an account can keep only
// its own. Set-user-ID bits, capabilities and device nodes come out only when
// owners are kept, else a container could leave programs of root on the host.
package transfer
