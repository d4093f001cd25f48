// Berth runs containers for people who do not administer the machine.
//
// One binary has three stages. As "berth-shim" it is the process beside a
// container; as /hello inside the starter image it greets; otherwise it is the
// command that a person typed.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"berth/internal/cli"
	"berth/internal/hello"
	"berth/internal/shim"
)

func main() {
	switch {
	case os.Args[0] == shim.Arg0:
		os.Exit(shim.Main())
	case len(os.Args) >= 2 && os.Args[1] == hello.Arg && filepath.Base(os.Args[0]) == "hello":
		os.Exit(hello.Main())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	code := cli.Main(ctx, os.Args, cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	stop()
	os.Exit(code)
}
