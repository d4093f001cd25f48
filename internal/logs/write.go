package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// maxLine is the longest line that is kept in one piece, as in Docker.
const maxLine = 16 << 10

// driver takes lines. Lines and what flush says about them are only valid during
// the call. What cannot be kept is lost: a full disk or a server that is down
// must not end a container.
type driver interface {
	add(e entry)
	flush() // the end of what came together
	close()
}

// Writer makes lines of a container's output and gives them to its driver. It
// may be used by several goroutines; a nil Writer takes nothing.
type Writer struct {
	mu      sync.Mutex
	to      driver
	partial [2][]byte
	since   [2]time.Time // when the first byte of a partial line came
}

// Open makes ready what the options name: the log is in the folder dir.
func Open(dir string, o Options) (*Writer, error) {
	if o.Driver == None {
		return nil, nil
	}
	to, err := open(dir, o)
	if err != nil {
		return nil, err
	}
	return &Writer{to: to}, nil
}

// open opens the driver; a queue is before what may be slow, not before a copy.

func open(dir string, o Options) (driver, error) {
	var to driver
	var err error
	switch o.Driver {
	case "", JSONFile, Local:
		to, err = openFile(dir, o)
		o.NoCopy = true // it is one
	case SyslogD:
		to, err = openSyslog(o)
	case Journald:
		to, err = openJournald(journalSocket, o)
	default:
		return nil, errors.New("no log driver named " + o.Driver)
	}
	if err != nil {
		return nil, err
	}
	if o.Buffer > 0 {
		to = newQueue(to, o.Buffer)
	}
	if o.NoCopy {
		return to, nil
	}
	f, err := openFile(dir, o)
	if err != nil {
		to.close()
		return nil, err
	}
	return both{f, to}, nil
}

// both gives lines to two drivers: the copy, and where they are sent.
type both struct{ copy, to driver }

func (b both) add(e entry) {
	b.copy.add(e)
	b.to.add(e)
}

func (b both) flush() {
	b.copy.flush()
	b.to.flush()
}

func (b both) close() {
	b.copy.close()
	b.to.close()
}

// Write takes output of one stream. A line waits for its end, up to 16 KiB.
func (w *Writer) Write(s Stream, p []byte) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	i := s - Stdout
	part := &w.partial[i]
	now := time.Now()
	for len(p) > 0 {
		n := lineEnd(p, maxLine-len(*part))
		if len(*part) == 0 {
			w.since[i] = now
		}
		if p[n-1] != '\n' && len(*part)+n < maxLine {
			*part = append(*part, p[:n]...)
			break
		}
		line := p[:n]
		if len(*part) > 0 {
			*part = append(*part, line...)
			line = *part
		}
		w.to.add(entry{time: w.since[i], stream: s, line: line})
		*part = (*part)[:0]
		p = p[n:]
	}
	w.to.flush()
}

// lineEnd returns the length of the first line of p with its newline, at most
// limit.
func lineEnd(p []byte, limit int) int {
	if i := bytes.IndexByte(p[:min(limit, len(p))], '\n'); i >= 0 {
		return i + 1
	}
	return min(limit, len(p))
}

// End writes what is left of partial lines: the program that would complete them
// has ended.
func (w *Writer) End() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, part := range w.partial {
		if len(part) > 0 {
			w.to.add(entry{time: w.since[i], stream: Stdout + Stream(i), line: part})
			w.partial[i] = nil
		}
	}
	w.to.flush()
}

// Close ends the log.
func (w *Writer) Close() {
	if w != nil {
		w.End()
		w.to.close()
	}
}

// attributes is the JSON object that stands in each line, or in each file.
func attributes(c Container) string {
	if len(c.Attrs) == 0 {
		return ""
	}
	b, _ := json.Marshal(c.Attrs) // strings: no error is possible
	return string(b)
}
