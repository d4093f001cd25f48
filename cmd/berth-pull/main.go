// Berth-pull is the pull stage alone: HTTP, TLS and decompression, which no
// other command needs. It is built into berth, which unpacks it (see package
// stage) and speaks with it (see package puller).
package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"berth/internal/pull"
)

func main() {
	// A Ctrl-C reaches the caller too, who ends our input: that is the
	// orderly way.
	signal.Ignore(unix.SIGINT, unix.SIGHUP, unix.SIGTERM)
	os.Exit(pull.Main(os.Stdin, os.Stdout))
}
