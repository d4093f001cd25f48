package logs

import (
	"bytes"
	"sync"
	"time"
)

// queue is the mode non-blocking: lines wait for a slow driver, so that the
// program does not. When they need more than so many bytes, new ones are
// dropped.
type queue struct {
	to    driver
	limit int64

	mu      sync.Mutex
	more    sync.Cond
	waiting []entry
	bytes   int64
	closing bool
	done    chan struct{}
}

func newQueue(to driver, limit int64) *queue {
	q := &queue{to: to, limit: limit, done: make(chan struct{})}
	q.more.L = &q.mu
	go q.run()
	return q
}

func (q *queue) add(e entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes > 0 && q.bytes+int64(len(e.line)) > q.limit {
		return
	}
	e.line = bytes.Clone(e.line)
	q.waiting = append(q.waiting, e)
	q.bytes += int64(len(e.line))
}

func (q *queue) flush() { q.more.Signal() }

func (q *queue) run() {
	defer close(q.done)
	for {
		q.mu.Lock()
		for len(q.waiting) == 0 && !q.closing {
			q.more.Wait()
		}
		batch := q.waiting
		q.waiting = nil
		q.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, e := range batch {
			q.to.add(e)
			q.mu.Lock()
			q.bytes -= int64(len(e.line))
			q.mu.Unlock()
		}
		q.to.flush()
	}
}

// lastWords is how long the end of a container waits for its lines to be taken.
const lastWords = 2 * time.Second

func (q *queue) close() {
	q.mu.Lock()
	q.closing = true
	q.mu.Unlock()
	q.more.Signal()
	select {
	case <-q.done:
		q.to.close()
	case <-time.After(lastWords):
	}
}
