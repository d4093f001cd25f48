// Berth runs containers for people who do not administer the machine.
//
// This is the command that a person types. Inside the starter image, as /hello,
// it greets. The process beside a container and the one that pulls an image are
// stages of their own: small programs that `make build` embeds (see package
// stage), or this one under another name. The one that copies files into a
// container that does not run is always this one. Called as runc, or with the
// word oci, it is the runtime that other engines drive (package oci), or becomes
// the small program for that before it has started (package prelude).
package main

import (
	"context"
	"os"
	"path/filepath"

	"berth/internal/cli"
	"berth/internal/hello"
	"berth/internal/inside"
	"berth/internal/oci"
	"berth/internal/prelude"
	"berth/internal/stage"
	"berth/internal/transfer"
	"berth/internal/version"
)

func main() {
	if oci.Borrowed() {
		os.Exit(126)
	}
	if run, ok := stageOf(os.Args[0]); ok {
		os.Exit(run())
	}
	if os.Args[0] == transfer.Arg0 {
		os.Exit(transfer.Main())
	}
	if os.Args[0] == inside.Arg0 {
		os.Exit(inside.Main())
	}
	if len(os.Args) >= 2 && os.Args[1] == hello.Arg && filepath.Base(os.Args[0]) == "hello" {
		os.Exit(hello.Main())
	}
	if name, args, ok := oci.Called(os.Args); ok {
		version := func() string { return version.Get().Version }
		if err := prelude.Over(); err != nil {
			os.Exit(1)
		}
		if os.Geteuid() == 0 {
			stage.KeepOci(prelude.Program())
		}
		os.Exit(oci.Main(name, args, oci.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Version: version}))
	}
	os.Exit(cli.Main(context.Background(), os.Args, cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}))
}
