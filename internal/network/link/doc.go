// Package link makes the interfaces of networks: bridges, the pairs of virtual
// interfaces that join containers to them, and macvlan interfaces, with their
// addresses and routes.
//
// What the kernel knows of networks belongs to a network namespace, and a thread
// works in the one it is in. A Space is a namespace that threads of ours work in:
// a netlink socket or any other socket that is made in it belongs to it for good
// and can then be used from everywhere. A thread that has gone into a namespace
// never comes back; in an ordinary account it would not be allowed to.
//
// Nothing here remembers anything: what there is, the kernel is asked.
package link
