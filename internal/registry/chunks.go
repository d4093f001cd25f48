package registry

import (
	"context"
	"io"
)

// chunks reads a content ahead, a chunk at a time, into two buffers that take
// turns: while one is sent the other is filled.
type chunks struct {
	cancel context.CancelFunc
	free   chan []byte
	full   chan chunk
	cur    []byte
}

type chunk struct {
	b   []byte
	err error // io.EOF comes with the last bytes
}

// readChunks begins to read. Only the goroutine that it starts touches the
// content, and it ends when ctx does.
func readChunks(ctx context.Context, content Content, size int) *chunks {
	ctx, cancel := context.WithCancel(ctx)
	c := &chunks{cancel: cancel, free: make(chan []byte, 2), full: make(chan chunk)}
	c.free <- nil // made when it is first needed: most blobs are small
	c.free <- nil
	go c.pump(ctx, content, size)
	return c
}

func (c *chunks) pump(ctx context.Context, content Content, size int) {
	defer close(c.full)
	in, err := content(ctx)
	if err != nil {
		c.give(ctx, chunk{err: err})
		return
	}
	defer in.Close()
	for err == nil {
		var b []byte
		select {
		case b = <-c.free:
		case <-ctx.Done():
			return
		}
		b, err = fill(ctx, in, b[:0], size)
		if !c.give(ctx, chunk{b, err}) {
			return
		}
	}
}

func (c *chunks) give(ctx context.Context, k chunk) bool {
	select {
	case c.full <- k:
		return true
	case <-ctx.Done():
		return false
	}
}

// fill reads up to size bytes into b, which grows with what comes.
func fill(ctx context.Context, in io.Reader, b []byte, size int) ([]byte, error) {
	for len(b) < size {
		if len(b) == cap(b) {
			bigger := make([]byte, len(b), min(size, max(64<<10, 4*cap(b))))
			copy(bigger, b)
			b = bigger
		}
		n, err := in.Read(b[len(b):min(cap(b), size)])
		b = b[:len(b)+n]
		if err != nil {
			return b, err
		}
		if ctx.Err() != nil {
			return b, ctx.Err()
		}
	}
	return b, nil
}

// next returns the next chunk, which is valid until the following call.
func (c *chunks) next() ([]byte, error) {
	if c.cur != nil {
		c.free <- c.cur
		c.cur = nil
	}
	k, ok := <-c.full
	if !ok {
		return nil, context.Canceled
	}
	c.cur = k.b
	return k.b, k.err
}

// close ends the reading and waits for that.
func (c *chunks) close() {
	c.cancel()
	for range c.full {
	}
}
