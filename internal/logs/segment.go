package logs

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"time"
)

// file is one file of a log, opened. The descriptor keeps it readable when it is
// renamed, packed or removed.
type file struct {
	n     int // its number; that of the current file is the one it will get
	f     *os.File
	src   io.Reader
	zip   bool
	size  int64 // when it was opened; what a packed one holds is all there
	read  int64 // bytes that were handed out
	leave int   // records to leave out first
	buf   []byte
	attrs string
	bad   bool // damaged from here on
}

// rotations bounds the tries to open a set of files that belong together, 1 ms
// apart, while the writer begins new ones all the time.
const rotations = 500

// open opens the files whose number is from or more, oldest first, so that none
// is missing in between: when the newest number was the same before and after,
// nothing was renamed.
func (r *Reader) open(from int) (out []*file, err error) {
	for range rotations {
		var again bool
		if out, again, err = r.try(from); err != nil || !again {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the log: %w", err)
	}
	return out, nil
}

// try opens them once. What it returns with again is right but for a hole before
// the last file.
func (r *Reader) try(from int) (out []*file, again bool, err error) {
	defer func() {
		if err != nil || again {
			for _, f := range out {
				f.close()
			}
		}
	}()
	old, err := numbered(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil // the container was removed
	}
	if err != nil {
		return nil, false, err
	}
	newest := 0
	for _, s := range old {
		newest = s.n
		if s.n < from {
			continue
		}
		f, err := openSegment(s)
		if err != nil {
			return out, false, err
		}
		if f != nil {
			out = append(out, f)
		}
	}
	cur, err := openPlain(newest+1, r.path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return out, false, err
	}
	if cur != nil {
		out = append(out, cur)
	}
	after, err := numbered(r.path)
	if err != nil {
		return out, false, nil // removed meanwhile
	}
	moved := len(after) > 0 && after[len(after)-1].n != newest
	return out, moved || missing && newest > 0 && from <= newest+1 && !r.settled(newest), nil
}

// settled reports that a writer was killed just between renaming the current
// file and beginning a new one: the renamed one is old.
func (r *Reader) settled(newest int) bool {
	s := segment{newest, fmt.Sprintf("%s.%d", r.path, newest)}
	for _, name := range []string{s.name, s.name + packed} {
		if st, err := os.Stat(name); err == nil {
			return time.Since(st.ModTime()) > time.Second
		}
	}
	return true
}

// openSegment opens an old file, packed or not; nil means that it was the oldest
// and went. The packed one is there before the other goes, hence the order.
func openSegment(s segment) (*file, error) {
	f, err := openPlain(s.n, s.name)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f, err = openPlain(s.n, s.name+packed)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f.zip, f.size = true, math.MaxInt64
	return f, f.rewind()
}

func openPlain(n int, name string) (*file, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &file{n: n, f: f, src: f, size: st.Size()}, nil
}

func (f *file) close() { f.f.Close() }

// rewind begins to read from the start.
func (f *file) rewind() error {
	f.buf, f.read, f.bad = nil, 0, false
	if _, err := f.f.Seek(0, io.SeekStart); err != nil || !f.zip {
		return err
	}
	z, err := gzip.NewReader(f.f)
	f.src = z
	return err
}

// next returns the next record, nil if there is none yet; past: only of what was
// there when the file was opened.
func (f *file) next(form format, past bool) ([]byte, error) {
	for !f.bad {
		n := form.size(f.buf)
		if n < 0 {
			f.bad = true // what follows cannot be told apart; the next file is whole
			break
		}
		if n > 0 {
			if past && f.read >= f.size {
				return nil, nil
			}
			rec := f.buf[:n:n]
			f.buf, f.read = f.buf[n:], f.read+int64(n)
			if f.leave > 0 {
				f.leave--
				if e, ok := form.parse(rec); !ok || e.stream != localAttrs {
					continue
				}
			}
			return rec, nil
		}
		if more, err := f.fill(); err != nil || !more {
			return nil, err
		}
	}
	return nil, nil
}

// fill reads on.
func (f *file) fill() (bool, error) {
	const piece = 64 << 10
	b := make([]byte, len(f.buf)+piece)
	n := copy(b, f.buf)
	m, err := f.src.Read(b[n:])
	f.buf = b[:n+m]
	if m > 0 || err == nil {
		return true, nil
	}
	if err != io.EOF {
		return false, fmt.Errorf("cannot read the log: %w", err)
	}
	return false, nil
}

// skipAll leaves out all that is there.
func (f *file) skipAll(form format) error {
	if f.zip {
		f.src, f.buf = eof{}, nil
		return nil
	}
	have, err := f.tail(form, 1)
	f.leave += have
	return err
}

// eof is what is left of a packed file that is left out.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// tail leaves out all but the last n lines, and tells how many there are.
func (f *file) tail(form format, n int) (int, error) {
	if !f.zip {
		have, at, ok, err := f.backwards(form, n)
		if err != nil {
			return 0, err
		}
		if ok {
			f.buf, f.read = nil, at
			_, err = f.f.Seek(at, io.SeekStart)
			return have, err
		}
	}
	have, all := 0, 0
	for {
		rec, err := f.next(form, true)
		if err != nil {
			return 0, err
		}
		if rec == nil {
			break
		}
		all++
		if e, ok := form.parse(rec); ok && e.stream != localAttrs {
			have++
		}
	}
	f.leave = max(have-n, 0) + all - have
	return min(have, n), f.rewind()
}

// backwards finds the start of the last n lines from the end of the file. !ok
// means that it is damaged, and must be read from its start.
func (f *file) backwards(form format, n int) (have int, at int64, ok bool, err error) {
	// What stands at the start is about all lines.
	if rec, err := f.next(form, true); err != nil {
		return 0, 0, false, err
	} else if rec != nil {
		if e, ok := form.parse(rec); ok && e.stream == localAttrs {
			f.attrs = string(e.line)
		}
	}
	if err := f.rewind(); err != nil {
		return 0, 0, false, err
	}
	var buf []byte // of the file from at to where the record ends that is looked for
	for at = f.size; have < n; {
		k := form.last(buf)
		switch {
		case k < 0:
			return 0, 0, false, nil
		case k > 0:
			if e, ok := form.parse(buf[len(buf)-k:]); ok && e.stream != localAttrs {
				have++
			}
			buf = buf[:len(buf)-k]
		case at == 0:
			switch {
			case len(buf) == 0:
				return have, 0, true, nil
			case form.size(buf) != len(buf):
				return 0, 0, false, nil
			}
			if e, ok := form.parse(buf); ok && e.stream != localAttrs {
				have++
			}
			return have, 0, true, nil
		default:
			more := min(at, max(64<<10, int64(len(buf))))
			b := make([]byte, more, more+int64(len(buf)))
			if _, err := f.f.ReadAt(b, at-more); err != nil {
				return 0, 0, false, fmt.Errorf("cannot read the log: %w", err)
			}
			buf, at = append(b, buf...), at-more
		}
	}
	return have, at + int64(len(buf)), true, nil
}
