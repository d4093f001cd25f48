//go:build !stages

package main

import (
	"os"

	"berth/internal/network/holder"
	"berth/internal/network/wire"
	"berth/internal/remote"
	"berth/internal/remote/serve"
	"berth/internal/shim"
)

// stageOf returns the stage that a name stands for, in a berth that was built
// without the programs for them.
func stageOf(arg0 string) (run func() int, ok bool) {
	switch arg0 {
	case shim.Arg0, shim.RemoveArg0:
		return shim.Main, true
	case remote.Arg0:
		return func() int { return serve.Main(os.Stdin, os.Stdout) }, true
	case wire.Arg0:
		return holder.Main, true
	}
	return nil, false
}
