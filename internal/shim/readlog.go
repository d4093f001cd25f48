package shim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// LogQuery chooses lines of a log. Since and Until are zero for no limit; Tail
// is negative for all lines. Prefix stands before each line.
type LogQuery struct {
	Tail       int
	Since      time.Time
	Until      time.Time
	Timestamps bool
	Prefix     string
	Stdout     io.Writer
	Stderr     io.Writer
}

// logEntry is one line of log.json.
type logEntry struct {
	Log    string    `json:"log"`
	Stream string    `json:"stream"`
	Time   time.Time `json:"time"`
}

// OpenLog opens the log at path. A container that never ran has none yet.
func OpenLog(path string, q LogQuery) (*LogReader, error) {
	l := &LogReader{path: path, q: q}
	return l, l.open()
}

// LogReader reads log.json and follows it through rotations.
type LogReader struct {
	q       LogQuery
	path    string
	f       *os.File
	in      *bufio.Reader
	partial []byte
	done    bool // past --until
}

// open opens the current file. A container that never ran has none.
func (l *LogReader) open() error {
	f, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the log: %w", err)
	}
	l.Close()
	l.f, l.in, l.partial = f, bufio.NewReaderSize(f, 64<<10), nil
	return nil
}

// Close closes the log.
func (l *LogReader) Close() {
	if l.f != nil {
		l.f.Close()
	}
}

// Past writes what is in the log already: all files, oldest first, or the
// last lines.
func (l *LogReader) Past() error {
	var old []string
	for i := 1; ; i++ {
		p := l.path + "." + strconv.Itoa(i)
		if _, err := os.Stat(p); err != nil {
			break
		}
		old = append([]string{p}, old...)
	}
	if l.f == nil {
		return nil
	}
	if l.q.Tail == 0 {
		_, err := l.f.Seek(0, io.SeekEnd)
		l.in.Reset(l.f)
		return err
	}
	if l.q.Tail > 0 {
		return l.tail(old)
	}
	for _, p := range old {
		b, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(b) {
			if err := l.emit(line); err != nil {
				return err
			}
		}
	}
	return l.More()
}

// tail keeps the last lines in a ring while it reads.
func (l *LogReader) tail(old []string) error {
	n := l.q.Tail
	ring := make([][]byte, 0, min(n, 4096))
	next := 0
	add := func(line []byte) {
		line = bytes.Clone(line)
		if len(ring) < n {
			ring = append(ring, line)
			return
		}
		ring[next] = line
		next = (next + 1) % n
	}
	for _, p := range old {
		if b, err := os.ReadFile(p); err == nil {
			for line := range bytes.Lines(b) {
				add(line)
			}
		}
	}
	for {
		line, err := l.line()
		if err != nil {
			break
		}
		add(line)
	}
	for i := range ring {
		if err := l.emit(ring[(next+i)%len(ring)]); err != nil {
			return err
		}
	}
	return nil
}

// line returns the next whole line, or io.EOF when there is none yet.
func (l *LogReader) line() ([]byte, error) {
	b, err := l.in.ReadBytes('\n')
	l.partial = append(l.partial, b...)
	if err != nil {
		return nil, io.EOF
	}
	line := l.partial
	l.partial = nil
	return line, nil
}

// More writes what has come since.
func (l *LogReader) More() error {
	if l.f == nil {
		if err := l.open(); err != nil || l.f == nil {
			return err
		}
	}
	for {
		line, err := l.line()
		if err == io.EOF {
			if l.rotated() {
				if err := l.open(); err != nil {
					return err
				}
				continue
			}
			return nil
		}
		if err := l.emit(line); err != nil {
			return err
		}
	}
}

// rotated reports whether the file at the path is a new one.
func (l *LogReader) rotated() bool {
	a, err := l.f.Stat()
	b, err2 := os.Stat(l.path)
	return err == nil && err2 == nil && !os.SameFile(a, b)
}

func (l *LogReader) emit(line []byte) error {
	var en logEntry
	if l.done || json.Unmarshal(line, &en) != nil {
		return nil // a line cut off by a crash
	}
	if !l.q.Since.IsZero() && en.Time.Before(l.q.Since) {
		return nil
	}
	if !l.q.Until.IsZero() && en.Time.After(l.q.Until) {
		l.done = true
		return nil
	}
	w := l.q.Stdout
	if en.Stream == "stderr" {
		w = l.q.Stderr
	}
	if w == nil {
		return nil
	}
	prefix := ""
	if l.q.Timestamps {
		prefix = en.Time.UTC().Format("2006-01-02T15:04:05.000000000Z") + " "
	}
	prefix += l.q.Prefix
	_, err := io.WriteString(w, prefix+en.Log)
	return err
}
