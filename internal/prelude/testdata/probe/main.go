// Probe shows with what it was started. With the argument "exec", a path, a name
// and arguments it executes the program of that path under that name.
package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"berth/internal/prelude"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "exec" {
		fmt.Println(syscall.Exec(os.Args[2], os.Args[3:], os.Environ()))
		return
	}
	fmt.Printf("%q %d %q\n", os.Args, runtime.GOMAXPROCS(0), os.Getenv("GOMAXPROCS"))
	fmt.Println(prelude.Over(), os.Getenv("AFTER"), len(os.Environ()), prelude.Program())
	if exe, err := os.Executable(); err == nil {
		fmt.Println(exe)
	}
}
