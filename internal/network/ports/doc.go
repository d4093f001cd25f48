// Package ports makes ports of containers reachable on the host: it listens
// there and carries what comes to the container.
//
// Listening is also what reserves a port. It happens before the container
// starts, so that a port that is taken is an error of the command, with the name
// of who has it. For root the kernel sends what comes from other machines to the
// container by itself (package firewall) and the sockets here see only what
// comes by loopback; an ordinary account's ports are served here altogether.
//
// A TCP connection is carried with splice(2): its bytes go from one socket to the
// other through a pipe and never come into this process. UDP has no connections,
// so a client that is heard of for the first time begins a flow, which is a
// socket of its own towards the container, and which ends when nothing has come
// for a while.
//
// The container sees who connects as far as it can be done (see [Transparent]).
package ports
