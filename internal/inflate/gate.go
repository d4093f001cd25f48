package inflate

import (
	"runtime"
	"sync/atomic"
)

// A Gate bounds how many decoders run at once among all readers that share it.
// The decoder that a stream's output waits for always passes; the speculative
// ones pass while there is room.
type Gate struct {
	size int32
	busy atomic.Int32
}

// NewGate returns a gate for n decoders; for GOMAXPROCS of them if n < 1.
func NewGate(n int) *Gate {
	if n < 1 {
		n = runtime.GOMAXPROCS(0)
	}
	return &Gate{size: int32(min(n, 1<<10))}
}

// enter passes in any case.
func (g *Gate) enter() { g.busy.Add(1) }

// try passes if there is room.
func (g *Gate) try() bool {
	for {
		n := g.busy.Load()
		if n >= g.size {
			return false
		}
		if g.busy.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (g *Gate) leave() { g.busy.Add(-1) }
