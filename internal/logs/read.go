package logs

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrNotReadable says that a driver keeps nothing that could be read.
var ErrNotReadable = errors.New("configured logging driver does not support reading")

// Query chooses lines of a log. Since and Until are zero for no limit; Tail is
// negative for all lines.
type Query struct {
	Tail       int
	Since      time.Time
	Until      time.Time
	Timestamps bool
	Details    bool // the attributes before each line
	Stdout     io.Writer
	Stderr     io.Writer
}

// Reader reads a log, whatever its writer does meanwhile, and follows it into
// new files.
type Reader struct {
	q    Query
	path string
	form format
	at   *file // the one that is being read; nil: none yet
	rest []*file
	done bool // past Until

	out []byte // lines that were not written yet, of one stream
	to  Stream
}

// OpenReader opens the log in the folder dir. A container that never ran has
// none yet.
func OpenReader(dir string, o Options, q Query) (*Reader, error) {
	if !o.Readable() {
		return nil, ErrNotReadable
	}
	r := &Reader{q: q, path: filepath.Join(dir, o.file()), form: formatOf(o)}
	var err error
	r.rest, err = r.open(0)
	return r, err
}

// Close closes the log.
func (r *Reader) Close() {
	if r.at != nil {
		r.at.close()
	}
	for _, f := range r.rest {
		f.close()
	}
	r.at, r.rest = nil, nil
}

// Done reports that no later line can be asked for.
func (r *Reader) Done() bool { return r.done }

// Past writes what was in the log when it was opened: all of it, or the last
// lines.
func (r *Reader) Past() error {
	if r.q.Tail >= 0 {
		if err := r.skip(r.q.Tail); err != nil {
			return err
		}
	}
	for {
		if err := r.read(true); err != nil || !r.advance() {
			return err
		}
	}
}

// More writes what has come since.
func (r *Reader) More() error {
	for {
		if err := r.read(false); err != nil {
			return err
		}
		if r.advance() {
			continue
		}
		next, err := r.newer()
		if err != nil || len(next) == 0 {
			return err
		}
		// What was written before the new file was begun is all there now.
		if err := r.read(false); err != nil {
			return err
		}
		r.rest = next
		r.advance()
	}
}

// advance goes to the next file that is open.
func (r *Reader) advance() bool {
	if len(r.rest) == 0 {
		return false
	}
	if r.at != nil {
		r.at.close()
	}
	r.at, r.rest = r.rest[0], r.rest[1:]
	return true
}

// newer opens the files after the one that was read to its end, if there are any.
func (r *Reader) newer() ([]*file, error) {
	if r.at == nil {
		return r.open(0)
	}
	a, err := r.at.f.Stat()
	if err != nil {
		return nil, err
	}
	if b, err := os.Stat(r.path); err != nil || os.SameFile(a, b) {
		return nil, nil // not begun, or the container is removed
	}
	return r.open(r.at.n + 1)
}

// skip leaves out all but the last n lines of what is open.
func (r *Reader) skip(n int) error {
	for i := len(r.rest) - 1; i >= 0; i-- {
		if n == 0 {
			if err := r.rest[i].skipAll(r.form); err != nil {
				return err
			}
			continue
		}
		have, err := r.rest[i].tail(r.form, n)
		if err != nil {
			return err
		}
		n -= have
	}
	return nil
}

// read writes the rest of the file that is being read; past: only what it held
// when it was opened.
func (r *Reader) read(past bool) error {
	return errors.Join(r.lines(past), r.flush())
}

func (r *Reader) lines(past bool) error {
	for r.at != nil && !r.done {
		rec, err := r.at.next(r.form, past)
		if err != nil || rec == nil {
			return err
		}
		e, ok := r.form.parse(rec)
		if !ok {
			continue
		}
		if e.stream == localAttrs {
			r.at.attrs = string(e.line)
			continue
		}
		if e.attrs == "" {
			e.attrs = r.at.attrs
		}
		if err := r.emit(e); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) emit(e entry) error {
	if !r.q.Since.IsZero() && e.time.Before(r.q.Since) {
		return nil
	}
	if !r.q.Until.IsZero() && e.time.After(r.q.Until) {
		r.done = true
		return nil
	}
	if e.stream != r.to || len(r.out) > 32<<10 {
		if err := r.flush(); err != nil {
			return err
		}
		r.to = e.stream
	}
	if r.q.Timestamps {
		r.out = e.time.UTC().AppendFormat(r.out, "2006-01-02T15:04:05.000000000Z ")
	}
	if r.q.Details {
		r.out = append(append(r.out, details(e.attrs)...), ' ')
	}
	r.out = append(r.out, e.line...)
	return nil
}

// flush writes the lines of one stream at once: lines of the other come after
// them, as they did in the container.
func (r *Reader) flush() error {
	w := r.q.Stdout
	if r.to == Stderr {
		w = r.q.Stderr
	}
	var err error
	if w != nil && len(r.out) > 0 {
		_, err = w.Write(r.out)
	}
	r.out = r.out[:0]
	return err
}

// details is how Docker prints attributes: sorted, escaped as in an address.
func details(attrs string) string {
	var m map[string]string
	if attrs == "" || json.Unmarshal([]byte(attrs), &m) != nil {
		return ""
	}
	var kv []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		kv = append(kv, url.QueryEscape(k)+"="+url.QueryEscape(m[k]))
	}
	return strings.Join(kv, ",")
}
