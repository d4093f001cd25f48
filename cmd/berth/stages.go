//go:build stages

package main

// stageOf knows no other stage: shim and pull are programs of their own.
func stageOf(string) (run func() int, ok bool) { return nil, false }
