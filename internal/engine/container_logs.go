package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"berth/internal/shim"
)

// logEntry is one line of log.json.
type logEntry struct {
	Log    string    `json:"log"`
	Stream string    `json:"stream"`
	Time   time.Time `json:"time"`
}

// ContainerLogs writes a container's output, and with Follow goes on until the
// container ends.
func (e *Engine) ContainerLogs(ctx context.Context, ref string, opt LogsOptions) error {
	id, err := e.find(ref)
	if err != nil {
		return err
	}
	r, st, err := e.load(id)
	if err != nil {
		return err
	}
	if r.HostConfig.LogConfig.Type == "none" {
		return &Error{Kind: ErrNotSupported, Text: "configured logging driver does not support reading"}
	}
	l := &logReader{opt: opt, path: e.containerDir(id, shim.LogFile), details: details(r)}
	defer l.close()
	if err := l.open(); err != nil {
		return err
	}
	if err := l.past(); err != nil || !opt.Follow {
		return err
	}
	for {
		// The status is read before the rest of the file: what a stopped
		// container has written is all there then.
		if st, err = e.status(id); err != nil {
			return err
		}
		if err := l.more(); err != nil {
			return err
		}
		if !active(st) || !e.containerExists(id) {
			return l.more()
		}
		if err := l.wait(ctx); err != nil {
			return err
		}
	}
}

// details is what --details puts before each line: the labels and variables
// that --log-opt names.
func details(r *record) string {
	var kv []string
	c := r.HostConfig.LogConfig.Config
	for _, k := range strings.Split(c["labels"], ",") {
		if v, ok := r.Config.Labels[k]; ok {
			kv = append(kv, k+"="+v)
		}
	}
	for _, k := range strings.Split(c["env"], ",") {
		for _, e := range r.Config.Env {
			if name, v, _ := strings.Cut(e, "="); k != "" && name == k {
				kv = append(kv, k+"="+v)
			}
		}
	}
	sort.Strings(kv)
	return strings.Join(kv, ",") + " "
}

// logReader reads log.json and follows it through rotations.
type logReader struct {
	opt     LogsOptions
	path    string
	details string
	f       *os.File
	in      *bufio.Reader
	partial []byte
	done    bool // past --until
}

// open opens the current file. A container that never ran has none.
func (l *logReader) open() error {
	f, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the log: %w", err)
	}
	l.close()
	l.f, l.in, l.partial = f, bufio.NewReaderSize(f, 64<<10), nil
	return nil
}

func (l *logReader) close() {
	if l.f != nil {
		l.f.Close()
	}
}

// past writes what is in the log already: all files, oldest first, or the
// last lines.
func (l *logReader) past() error {
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
	if l.opt.Tail == 0 {
		_, err := l.f.Seek(0, io.SeekEnd)
		l.in.Reset(l.f)
		return err
	}
	if l.opt.Tail > 0 {
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
	return l.more()
}

// tail keeps the last lines in a ring while it reads.
func (l *logReader) tail(old []string) error {
	n := l.opt.Tail
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
func (l *logReader) line() ([]byte, error) {
	b, err := l.in.ReadBytes('\n')
	l.partial = append(l.partial, b...)
	if err != nil {
		return nil, io.EOF
	}
	line := l.partial
	l.partial = nil
	return line, nil
}

// more writes what has come since.
func (l *logReader) more() error {
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
func (l *logReader) rotated() bool {
	a, err := l.f.Stat()
	b, err2 := os.Stat(l.path)
	return err == nil && err2 == nil && !os.SameFile(a, b)
}

func (l *logReader) emit(line []byte) error {
	var en logEntry
	if l.done || json.Unmarshal(line, &en) != nil {
		return nil // a line cut off by a crash
	}
	if !l.opt.Since.IsZero() && en.Time.Before(l.opt.Since) {
		return nil
	}
	if !l.opt.Until.IsZero() && en.Time.After(l.opt.Until) {
		l.done = true
		return nil
	}
	w := l.opt.Stdout
	if en.Stream == "stderr" {
		w = l.opt.Stderr
	}
	if w == nil {
		return nil
	}
	prefix := ""
	if l.opt.Timestamps {
		prefix = en.Time.UTC().Format("2006-01-02T15:04:05.000000000Z") + " "
	}
	if l.opt.Details {
		prefix += l.details
	}
	_, err := io.WriteString(w, prefix+en.Log)
	return err
}

// wait sleeps a little: a log is looked at twenty times a second.
func (l *logReader) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}
