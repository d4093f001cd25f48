package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// Query chooses events by time.
type Query struct {
	Since  time.Time // zero: from the oldest that is kept
	Until  time.Time // zero: no end
	Follow bool      // wait for more, until Until or the end of the context
}

// Read hands the chosen events to each, the oldest first, and ends with the
// first error of each. The end of the context while it follows is no error.
func (j *Journal) Read(ctx context.Context, q Query, each func(Event) error) error {
	var w *watch
	if q.Follow {
		// Before the first look, so that nothing is written unseen between
		// the look and the wait.
		var err error
		if w, err = j.watch(); err != nil {
			return fmt.Errorf("cannot wait for events: %w", err)
		}
		defer w.close()
	}
	r := &reader{journal: j, query: q, each: each}
	defer r.close()
	for {
		err := r.all()
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil || w == nil {
			return err
		}
		if !q.Until.IsZero() && !time.Now().Before(q.Until) {
			return nil
		}
		if err := w.wait(ctx, q.Until); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// errEnough says that all further events are too late.
var errEnough = errors.New("the end of the query")

// reader goes through the journal's files, across rotations.
type reader struct {
	journal *Journal
	query   Query
	each    func(Event) error
	file    *os.File // nil: none read yet
	rest    []byte   // a line without its end
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// all reads what there is now.
func (r *reader) all() error {
	for {
		if r.file != nil {
			if err := r.drain(); err != nil {
				return err
			}
		}
		next, err := r.next()
		if err != nil || next == nil {
			return err
		}
		// A line may have come between the drain and the rotation; none
		// comes after it.
		if r.file != nil {
			if err := r.drain(); err != nil {
				next.Close()
				return err
			}
			r.file.Close()
		}
		r.file, r.rest = next, nil
	}
}

// next opens the file after the one that is read: the former one, unless that
// is the one, else the current. It is nil at the end.
func (r *reader) next() (*os.File, error) {
	for {
		current, err := open(r.journal.current())
		if err != nil {
			return nil, err
		}
		former, err := open(r.journal.former())
		if err != nil {
			closeFile(current)
			return nil, err
		}
		switch {
		case same(former, current): // it was put aside between the two opens
			closeFile(former)
			closeFile(current)
			continue
		case former != nil && !same(former, r.file) && !same(current, r.file):
			closeFile(current)
			return former, nil
		}
		closeFile(former)
		if same(current, r.file) {
			closeFile(current)
			return nil, nil
		}
		return current, nil
	}
}

// open returns nil for a file that is not there.
func open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

func closeFile(f *os.File) {
	if f != nil {
		f.Close()
	}
}

func same(a, b *os.File) bool {
	if a == nil || b == nil {
		return false
	}
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}

// drain hands on the lines up to the end of the file. A line without an end
// may be one that is being written, and is kept for later.
func (r *reader) drain() error {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.file.Read(buf)
		r.rest = append(r.rest, buf[:n]...)
		done := 0
		for {
			i := bytes.IndexByte(r.rest[done:], '\n')
			if i < 0 {
				break
			}
			if err := r.line(r.rest[done : done+i]); err != nil {
				return err
			}
			done += i + 1
		}
		r.rest = r.rest[:copy(r.rest, r.rest[done:])]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// line hands on one event, if it is among the chosen. What cannot be read is
// the half line of a writer that was killed.
func (r *reader) line(b []byte) error {
	if t, ok := timeOf(b); ok && t < r.since() {
		return nil
	}
	var l line
	if json.Unmarshal(b, &l) != nil || l.Action == "" {
		return nil
	}
	at := time.Unix(0, l.Time)
	if !r.query.Since.IsZero() && at.Before(r.query.Since) {
		return nil
	}
	if !r.query.Until.IsZero() && at.After(r.query.Until) {
		return errEnough
	}
	return r.each(Event{Type: l.Type, Action: l.Action, ID: l.ID, Attributes: l.Attributes, Time: at})
}

func (r *reader) since() int64 {
	if r.query.Since.IsZero() {
		return 0
	}
	return r.query.Since.UnixNano()
}

// timeOf reads the time of a line without decoding the line.
func timeOf(b []byte) (int64, bool) {
	b, ok := bytes.CutPrefix(b, []byte(`{"time":`))
	if !ok {
		return 0, false
	}
	digits, _, ok := bytes.Cut(b, []byte(","))
	if !ok {
		return 0, false
	}
	t, err := strconv.ParseInt(string(digits), 10, 64)
	return t, err == nil
}
