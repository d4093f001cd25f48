package layer

import (
	"context"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// smallFile is the largest file whose content is handed to a writer;
	// larger ones are written as they come.
	smallFile = 64 << 10
	// pending is how many small files may wait for a writer.
	pending = 64
)

// job is an open, empty file and what is to become of it.
type job struct {
	fd    int
	dir   *node
	base  string
	name  string // as the stream spells it
	attrs *attrs
	buf   []byte // the content
	chunk *chunk // where that lies, or
	own   []byte // the writers' buffer that it was copied to
}

// writers fill and close small files while the next ones are being made.
type writers struct {
	u      *unpacker
	cancel context.CancelCauseFunc
	jobs   chan job
	bufs   chan []byte
	busy   sync.WaitGroup // jobs
	done   sync.WaitGroup // goroutines
	mu     sync.Mutex
	err    error
}

func startWriters(u *unpacker, cancel context.CancelCauseFunc) *writers {
	w := &writers{u: u, cancel: cancel, jobs: make(chan job, pending), bufs: make(chan []byte, pending)}
	for range pending {
		w.bufs <- nil
	}
	for range min(4, runtime.GOMAXPROCS(0)) {
		w.done.Add(1)
		go w.run()
	}
	return w
}

func (w *writers) run() {
	defer w.done.Done()
	for j := range w.jobs {
		err := writeAll(j.fd, j.buf)
		if err == nil {
			err = w.u.finishFile(j)
		}
		if e := unix.Close(j.fd); err == nil {
			err = e
		}
		if j.chunk != nil {
			w.u.stream.release(j.chunk)
		}
		if j.own != nil {
			w.bufs <- j.own
		}
		if err != nil {
			w.fail(&EntryError{Name: j.name, Cause: err})
		}
		w.busy.Done()
	}
}

func (w *writers) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		w.cancel(err)
	}
}

// buffer returns room for the content of a small file.
func (w *writers) buffer() []byte {
	b := <-w.bufs
	if b == nil {
		b = make([]byte, smallFile)
	}
	return b
}

func (w *writers) put(j job) {
	w.busy.Add(1)
	w.jobs <- j
}

// idle waits until all files so far are written.
func (w *writers) idle() { w.busy.Wait() }

// wait ends the writers and returns their first error.
func (w *writers) wait() error {
	close(w.jobs)
	w.done.Wait()
	return w.err
}
