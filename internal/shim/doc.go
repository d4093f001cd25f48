// Package shim is the process beside a container: one small program per
// running container, started by the command that starts the container and
// living as long as it does. There is no daemon; the shims are all that runs.
//
// A shim makes the container's first process ([nsinit.Spawn]), holds the other
// end of its terminal or pipes, writes its log, keeps its exit status, starts
// it again by its restart policy, runs further programs in it (exec) and lets
// clients connect and leave. When it dies, the container dies with it (a
// parent-death signal), so nothing ever runs unattended.
//
// It gets its orders as a finished [Plan] over a socket it inherits, and later
// over shim.sock in the container's folder, in frames (see wire.go). It parses
// no image, resolves no name and links nothing that would make it heavy.
package shim
