// Package foreign has a container run by another OCI runtime: runc, crun, runsc
// (gVisor), kata. It is the lower half of `--runtime`.
//
// The process beside the container, the shim, stays in charge: it owns the
// streams, the log and the end. What it does itself for a container of our own
// (make the first process, signal it, run one more, freeze it) it asks of the
// other runtime's command line, which is runc's (see [Runtime]).
//
// The root file system is mounted in an enclosure: a mount namespace, for an
// ordinary account in a user namespace of its own, that nobody but the runtime
// sees. The shim holds it by descriptor and every later call of the runtime is
// made in it. The container's first process becomes the shim's child as soon as
// the runtime has ended, because the shim is a subreaper (prctl(2)
// PR_SET_CHILD_SUBREAPER).
//
// The runtime is a program of the host that the user has chosen. It gets a small
// environment of the host's and nothing of the image's.
package foreign
