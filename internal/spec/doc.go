// Package spec turns a container as Docker describes it into one as the Open
// Container Initiative's runtime specification describes it.
//
// Docker's words (Config, HostConfig) say what a person wants. The
// specification says what a runtime does: these mounts in this order, these
// namespaces, this user, these capabilities. [Build] is the translation, a pure
// function: everything it needs to know of the machine and of the image comes
// in with [Input], so that the same input always gives the same container, and
// a test needs neither root nor a kernel.
//
// What the specification leaves to the runtime, and this package therefore
// counts on:
//
//   - The runtime makes the device nodes /dev/null, zero, full, random, urandom
//     and tty (and console, with a terminal), and the links /dev/fd, stdin,
//     stdout, stderr, core and ptmx. Where a mount of the user's covers /dev it
//     puts those nodes over the ones it finds there and makes no links.
//   - The root file system gets the mount options in the annotation
//     [AnnotationRootOptions].
//   - A device in Linux.Devices is made with mknod where the runtime may do so,
//     else the host's node of the same path is bound. Devices under another
//     name come as bind mounts.
//   - Without root on the host the container's user namespace has one id. A
//     process whose user or group is another one than 0 gets a user namespace
//     of its own inside it, in which that id is the mapped one, and no call of
//     setgroups: the supplementary groups of the caller stay.
//   - Masked and read-only paths that do not exist are passed over.
//   - Linux.Seccomp stays empty; [SeccompProfile] says which filter applies.
package spec
