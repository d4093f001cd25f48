// Agent is the attacker: what the tests of this folder run inside containers.
// It is a program of its own, without a line of berth.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: agent swap|ambush|watch|reach|fds|sockets|memory|freeze|sleep …")
		os.Exit(2)
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "swap":
		swap(args)
	case "ambush":
		ambush(args)
	case "watch":
		watch(args)
	case "reach":
		reach()
	case "fds":
		descriptors()
	case "sockets":
		sockets()
	case "memory":
		memory()
	case "freeze":
		freeze()
	case "sleep":
		n, _ := strconv.ParseFloat(args[0], 64)
		time.Sleep(time.Duration(n * float64(time.Second)))
	default:
		fmt.Fprintln(os.Stderr, "agent: unknown attack "+os.Args[1])
		os.Exit(2)
	}
}
