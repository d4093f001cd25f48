// Berth-net is the holder of networks: bridges, addresses, rules, names and ports
// of one account's containers, and the libraries for that, which nothing else
// links. It is built into berth, which unpacks it (see package stage) and starts
// it with the first container that needs a network.
package main

import (
	"os"

	"berth/internal/network/holder"
)

func main() { os.Exit(holder.Main()) }
