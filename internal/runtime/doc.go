// Package runtime turns an OCI runtime specification into the [nsinit.Program]
// that carries it out. [Compile] is pure: it reads the specification and facts
// that its caller gives, and touches nothing. [CompileBundle], for any
// specification, looks at the host as well; [Compiled.Create] makes the process
// and [Start] lets one go on that waits.
//
// The order of a start, and why it is safe against a hostile image:
//
//  1. Own user namespace (ordinary accounts), cgroup, private mounts.
//  2. Every mount that comes from outside (binds, devices) or from the kernel
//     (proc, tmpfs, …) is made as a detached mount held by a descriptor.
//  3. The root file system is mounted, pivot_root(2) enters it and the old
//     root is let go. From here on no path can lead out, whatever symbolic
//     links the image holds, but by the links of /proc, which are never
//     followed. (For hooks, which want to find the bundle as it was, the next
//     step is done from a chroot(2) before.)
//  4. The detached mounts are put in their places, each found once and used by
//     its descriptor. /proc, /dev and /sys are never reached through a symbolic
//     link. Mounts of the user that an image could redirect go ahead of them,
//     so that a redirected mount is covered and never covers (CVE-2019-16884);
//     those of a bundle keep their order, as the specification demands.
//  5. Limits, identity, capabilities, seccomp; every other descriptor is
//     closed before the working directory is entered (CVE-2024-21626); execve.
package runtime
