// Berth-shim is the shim stage alone, as small as it can be: one of these
// stands beside every running container. It is built into berth, which unpacks
// it (see package stage).
package main

import (
	"os"

	"berth/internal/shim"
)

func main() { os.Exit(shim.Main()) }
