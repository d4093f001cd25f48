// Package holder is the process that makes the networks of one data root: it
// gives addresses, makes bridges, interfaces and rules, answers names and
// forwards ports. Package network says why there is one, package wire what it is
// asked.
//
// It works in a network namespace where the bridges are: for root the host's, in
// which the process is as well. An ordinary account's holder is in a user
// namespace but in the host's network namespace, so that it can reach what the
// account can; the bridges are in a namespace of its own, in which single threads
// work (package link).
//
// What a container has hangs on the connection over which it was asked for, its
// lease. The shim of the container has the other end. When that closes, by
// whatever death, everything is taken back. When the holder dies the shims notice,
// start another one, and tell it what they had (adopt): interfaces and bridges are
// still there, since shims hold the namespaces open; rules and sockets are made
// anew.
//
// The holder ends when nobody has been connected for a few seconds.
package holder
