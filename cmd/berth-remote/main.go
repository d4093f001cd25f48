// Berth-remote is what talks to registries: HTTP, TLS and decompression, which
// no other command needs. It is built into berth, which unpacks it (see package
// stage) and speaks with it (see package remote).
package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"berth/internal/remote/serve"
)

func main() {
	// A Ctrl-C reaches the caller too, who ends our input: that is the
	// orderly way.
	signal.Ignore(unix.SIGINT, unix.SIGHUP, unix.SIGTERM)
	os.Exit(serve.Main(os.Stdin, os.Stdout))
}
