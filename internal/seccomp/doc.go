// Package seccomp turns profiles in Docker's format into filters for the
// kernel.
//
// A seccomp filter is a program in classic BPF, the tiny language of packet
// filters: load a word, compare, jump forward, return a verdict. The kernel
// runs it before every system call of the filtered process and its children.
// A profile is the readable form: rules that name system calls, perhaps with
// conditions on their arguments, on the container's capabilities or on the
// machine, and what shall become of a call that no rule mentions.
//
// [Compile] goes from one to the other without help of any library. System
// calls have different numbers on every architecture, and a 64-bit machine
// usually runs 32-bit programs as well, so a filter has one part for each. In
// such a part the numbers fall into ranges with the same verdict, and a binary
// search finds the range: for Docker's default profile seven comparisons
// instead of hundreds. Only where a rule looks at arguments does the filter
// load those, half by half, for BPF knows nothing but 32-bit words.
//
// Where profiles are unclear this package does what Docker's usual runtime
// does:
//
//   - A rule without conditions beats those with conditions, and of several the
//     first counts. Of rules with conditions the first that matches counts.
//   - Conditions of one rule that look at the same argument are alternatives,
//     others must all hold.
//   - System calls newer than the newest one a strict profile mentions end with
//     ENOSYS. A C library then falls back on an older one, as it would on an
//     older kernel; EPERM would make it give up.
//   - Names nobody knows are passed over: they belong to other architectures or
//     to later kernels.
//
// Two filters are part of the program in finished form, because nearly every
// container gets them and compiling takes longer than many another step of a
// start: [Default] is Docker's default profile with the usual capabilities, and
// [FakeRoot] is for containers that have a single user id.
//
// The tables come from golang.org/x/sys and github.com/moby/profiles by
// go generate.
package seccomp

//go:generate go run ./gen
