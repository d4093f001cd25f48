package layer

import (
	"context"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

const (
	// smallFile is the largest file whose content is handed to a writer;
	// larger ones are written as they come.
	smallFile = 64 << 10
	// batch is how many small files are handed to a writer at once: waking
	// one up costs about as much as writing a file.
	batch = 16
	// pending is how many batches may wait for a writer.
	pending = 8
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
	next   []job // not handed over yet; all of one chunk
	jobs   chan []job
	spare  chan []job // whose files are written
	bufs   chan []byte
	busy   sync.WaitGroup // jobs
	done   sync.WaitGroup // goroutines
	mu     sync.Mutex
	err    error
}

func startWriters(u *unpacker, cancel context.CancelCauseFunc) *writers {
	w := &writers{u: u, cancel: cancel, jobs: make(chan []job, pending), spare: make(chan []job, 2*pending), bufs: make(chan []byte, 2*batch)}
	for range cap(w.bufs) {
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
	for jobs := range w.jobs {
		for _, j := range jobs {
			if err := w.write(j); err != nil {
				w.fail(&EntryError{Name: j.name, Cause: err})
			}
		}
		w.busy.Add(-len(jobs))
		clear(jobs)
		select {
		case w.spare <- jobs[:0]:
		default:
		}
	}
}

// write fills and closes a file.
func (w *writers) write(j job) error {
	err := sys.WriteAll(j.fd, j.buf)
	if j.chunk != nil {
		w.u.stream.release(j.chunk)
	}
	if j.own != nil {
		w.bufs <- j.own
	}
	if err == nil {
		err = w.u.finishFile(j)
	}
	if e := unix.Close(j.fd); err == nil {
		err = e
	}
	return err
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

// put takes over a file. A batch holds on to one chunk only, so that the
// stream does not run out of them.
func (w *writers) put(j job) {
	if len(w.next) > 0 && w.next[0].chunk != j.chunk {
		w.flush()
	}
	w.next = append(w.next, j)
	if len(w.next) == batch {
		w.flush()
	}
}

// flush hands over what has been put.
func (w *writers) flush() {
	if len(w.next) == 0 {
		return
	}
	w.busy.Add(len(w.next))
	w.jobs <- w.next
	select {
	case w.next = <-w.spare:
	default:
		w.next = make([]job, 0, batch)
	}
}

// idle waits until all files so far are written.
func (w *writers) idle() {
	w.flush()
	w.busy.Wait()
}

// wait ends the writers and returns their first error.
func (w *writers) wait() error {
	w.flush()
	close(w.jobs)
	w.done.Wait()
	return w.err
}
