// Berth-oci is the OCI runtime alone: what other engines start for every step of
// every container, so as small as it can be. It is built into berth, which
// unpacks it for the superuser (see package stage) and executes it before its
// own Go runtime starts (see package prelude). It may be copied anywhere and
// given to an engine by its own path.
package main

import (
	"os"

	"berth/internal/oci"
	"berth/internal/prelude"
	"berth/internal/version"
)

func main() {
	if oci.Borrowed() {
		os.Exit(126)
	}
	name, args, ok := oci.Called(os.Args)
	if !ok {
		name, args = oci.Name, os.Args[1:]
	}
	if err := prelude.Over(); err != nil {
		os.Exit(1)
	}
	version := func() string { return version.Get().Version }
	os.Exit(oci.Main(name, args, oci.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Version: version}))
}
