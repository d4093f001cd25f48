// Berth runs containers for people who do not administer the machine.
//
// This is the command that a person types. Inside the starter image, as /hello,
// it greets. The process beside a container and the one that pulls an image are
// stages of their own: small programs that `make build` embeds (see package
// stage), or this one under another name. The one that copies files into a
// container that does not run is always this one.
package main

import (
	"context"
	"os"
	"path/filepath"

	"berth/internal/cli"
	"berth/internal/hello"
	"berth/internal/transfer"
)

func main() {
	if run, ok := stageOf(os.Args[0]); ok {
		os.Exit(run())
	}
	if os.Args[0] == transfer.Arg0 {
		os.Exit(transfer.Main())
	}
	if len(os.Args) >= 2 && os.Args[1] == hello.Arg && filepath.Base(os.Args[0]) == "hello" {
		os.Exit(hello.Main())
	}
	os.Exit(cli.Main(context.Background(), os.Args, cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}))
}
