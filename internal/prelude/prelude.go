// Package prelude is what a process of ours does before the Go runtime.
//
// An engine starts an OCI runtime for every step of every container, and half
// of such a command's time goes into starting a Go program: the runtime makes
// threads and caches for each processor, and pages are touched for all that a
// big program is linked from. Both are decided before main, so main is too
// late to save them. `make build` therefore links the programs with
// `-ldflags '-E berth/internal/prelude.entry'`: the kernel enters [entry], some
// instructions of assembler, which look at the arguments on the stack and go on
// to the Go runtime's own entry. If the program was called as runc, or with the
// word oci, they first
//
//   - put GOMAXPROCS=1 in front of the environment: a command of this kind does
//     one thing after the other;
//   - execute the small program for it, where it has been unpacked (see package
//     stage). If that fails, this program goes on and does it itself.
//
// Without that flag, as after a plain `go build`, a program starts as ever. The
// reasons, with figures, are in docs/adr/0010-before-the-runtime.md.
package prelude

import "os"

// program is the path of the small program. The linker writes it
// (-X berth/internal/prelude.program=PATH); of at most 255 bytes.
var program string

// Program returns the path at which the small program for the OCI command line
// is looked for, or "" if there is none.
func Program() string { return program }

// Over is called by the program that was started: it takes what the prelude has
// put into the environment out again, lest programs that it starts inherit it.
func Over() error { return os.Unsetenv("GOMAXPROCS") }

// entry is where the kernel begins. It is no function of Go's: it has no caller,
// and a stack as execve(2) leaves it.
func entry()
