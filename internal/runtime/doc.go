// Package runtime turns an OCI runtime specification into the [nsinit.Program]
// that carries it out. It is pure: it reads the specification and facts that
// its caller gives, and touches nothing.
//
// The order of a start, and why it is safe against a hostile image:
//
//  1. Own user namespace (ordinary accounts), cgroup, private mounts.
//  2. Every mount that comes from outside (binds, devices) or from the kernel
//     (proc, tmpfs, …) is made as a detached mount held by a descriptor.
//  3. The root file system is mounted, pivot_root(2) enters it and the old
//     root is let go. From here on no path can lead out, whatever symbolic
//     links the image holds: there is nothing left outside to lead to.
//  4. The detached mounts are put in their places by ordinary paths. Mounts of
//     the user that an image could redirect go first, /proc, /dev and /sys
//     after them and never through a symbolic link, so that a redirected
//     mount is covered and never covers (CVE-2019-16884, CVE-2025-31133).
//  5. Limits, identity, capabilities, seccomp; every other descriptor is
//     closed before the working directory is entered (CVE-2024-21626); execve.
package runtime
