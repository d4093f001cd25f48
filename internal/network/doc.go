// Package network has the words of berth's networks: what a network is, what a
// container asks of it and what it got. It only names things; the packages below
// it do them.
//
// Containers on a bridge have a network namespace of their own, joined by a pair
// of virtual interfaces to a bridge, a switch in the kernel. For root the bridge
// is the host's. An ordinary account cannot make one there, so its bridges are
// in a network namespace of the account's, which an uplink connects to the host.
//
// In both cases one process of the account, the holder (package holder), gives
// addresses, makes interfaces and rules, answers names and forwards ports. It
// starts with the first container that needs it and ends with the last. It keeps
// nothing on disk that matters: bridges and namespaces are the kernel's, what a
// container got is in its folder and with its shim, and all rules and sockets go
// with the process that made them. So a holder that is killed is replaced by the
// first shim that notices, which tells the new one what was.
package network
