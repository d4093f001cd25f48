package download

import "sync/atomic"

// buffer is the memory of a chunk. Several may use it at once, none of them
// writing; the last to release it gives it back to its Limit.
type buffer struct {
	data  []byte
	home  *Limit // nil: left to the garbage collector
	users atomic.Int32
}

func (b *buffer) share() *buffer {
	b.users.Add(1)
	return b
}

func (b *buffer) release() {
	if b != nil && b.users.Add(-1) == 0 && b.home != nil {
		b.home.putBack(b.data[:cap(b.data)])
	}
}

// releaser returns a function that releases b, once.
func (b *buffer) releaser() func() {
	var done atomic.Bool
	return func() {
		if !done.Swap(true) {
			b.release()
		}
	}
}
