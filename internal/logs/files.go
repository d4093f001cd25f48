package logs

import (
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// files is a driver that writes into a file and begins a new one when it is full.
// What is full becomes NAME.1, NAME.2 and so on upwards; the oldest go.
type files struct {
	path  string
	opt   Options
	form  format
	attrs string

	f    *os.File
	size int64
	buf  []byte // records that came together
	old  []int  // numbers of the old files, oldest first

	packer sync.WaitGroup // one compression at a time
	quit   atomic.Bool
}

func formatOf(o Options) format {
	if o.Driver == "" || o.Driver == JSONFile {
		return jsonFormat{}
	}
	return localFormat{}
}

func openFile(dir string, o Options) (driver, error) {
	f := &files{path: filepath.Join(dir, o.file()), opt: o, form: formatOf(o), attrs: attributes(o.Container)}
	if o.MaxSize > 0 {
		if err := f.tidy(); err != nil {
			return nil, err
		}
	}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// tidy finds the old files and what a killed writer has left half done.
func (f *files) tidy() error {
	old, err := numbered(f.path)
	if err != nil {
		return err
	}
	for _, s := range old {
		f.old = append(f.old, s.n)
		os.Remove(f.name(s.n) + packing)
	}
	f.drop()
	return nil
}

// open opens the current file, which may end in a record that was cut off.
func (f *files) open() error {
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	st, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	f.f, f.size = file, st.Size()
	if f.size == 0 {
		f.put(f.form.begin(nil, f.attrs))
		return nil
	}
	if f.size, err = f.form.heal(file, f.size); err != nil {
		file.Close()
	}
	return err
}

func (f *files) add(e entry) {
	e.attrs = f.attrs
	before := len(f.buf)
	f.buf = f.form.add(f.buf, e)
	if f.opt.MaxSize > 0 && f.size+int64(before) > 0 && f.size+int64(len(f.buf)) > f.opt.MaxSize {
		f.put(f.buf[:before])
		f.buf = f.buf[:copy(f.buf, f.buf[before:])]
		f.rotate()
	}
	if len(f.buf) >= 64<<10 {
		f.flush()
	}
}

func (f *files) flush() {
	f.put(f.buf)
	if cap(f.buf) > 64<<10 {
		f.buf = nil
	}
	f.buf = f.buf[:0]
}

// put appends whole records. On a full disk none of them is left half written.
func (f *files) put(b []byte) {
	if len(b) == 0 {
		return
	}
	n, err := f.f.Write(b)
	if err != nil && n > 0 && f.f.Truncate(f.size) == nil {
		n = 0
	}
	f.size += int64(n)
}

func (f *files) close() {
	f.flush()
	f.quit.Store(true)
	f.packer.Wait()
	f.f.Close()
}

func (f *files) name(n int) string { return f.path + "." + strconv.Itoa(n) }

// rotate makes the current file an old one and begins a new one. If it cannot,
// the current one goes on to be written.
func (f *files) rotate() error {
	n := 1
	if len(f.old) > 0 {
		n = f.old[len(f.old)-1] + 1
	}
	if err := os.Rename(f.path, f.name(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_APPEND|os.O_EXCL, 0o600)
	if err != nil {
		os.Rename(f.name(n), f.path)
		return err
	}
	f.f.Close()
	f.f, f.size = file, 0
	f.old = append(f.old, n)
	f.put(f.form.begin(nil, f.attrs))
	f.drop()
	return nil
}

// drop removes the oldest files, and packs what is left. A reader that has them
// open goes on reading.
func (f *files) drop() {
	f.packer.Wait() // who fills files faster than they are packed waits
	for len(f.old) > max(f.opt.MaxFiles, 1)-1 {
		os.Remove(f.name(f.old[0]))
		os.Remove(f.name(f.old[0]) + packed)
		f.old = f.old[1:]
	}
	if !f.opt.Compress || len(f.old) == 0 {
		return
	}
	todo := slices.Clone(f.old)
	f.packer.Go(func() {
		for _, n := range todo {
			pack(f.name(n), &f.quit)
		}
		debug.FreeOSMemory() // a compressor is bigger than all else in this process
	})
}

// The ends of the names of packed files, and of those that are being packed.
const (
	packed  = ".gz"
	packing = ".gz.tmp"
)

// pack compresses a file. The packed one appears whole, and only then the other
// one goes, so that there is one to open at each moment.
func pack(name string, quit *atomic.Bool) error {
	in, err := os.Open(name)
	if err != nil {
		return err // packed already
	}
	defer in.Close()
	out, err := os.OpenFile(name+packing, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	defer os.Remove(name + packing)
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	for buf := make([]byte, 32<<10); ; {
		n, rerr := in.Read(buf)
		if _, err := z.Write(buf[:n]); err != nil {
			return err
		}
		if rerr == io.EOF {
			break
		}
		if rerr != nil {
			return rerr
		}
		if quit.Load() {
			return nil // the next writer begins again
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	if st, err := in.Stat(); err == nil { // its last line is so old
		at := unix.NsecToTimespec(st.ModTime().UnixNano())
		unix.UtimesNanoAt(unix.AT_FDCWD, name+packing, []unix.Timespec{at, at}, 0)
	}
	if err := os.Rename(name+packing, name+packed); err != nil {
		return err
	}
	return os.Remove(name)
}

// segment is an old file of a log.
type segment struct {
	n    int
	name string
}

// numbered lists the old files of the log at path, oldest first. One that is
// packed and not yet removed counts once.
func numbered(path string) ([]segment, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var out []segment
	for _, d := range entries {
		rest, ok := strings.CutPrefix(d.Name(), filepath.Base(path)+".")
		n, err := strconv.Atoi(strings.TrimSuffix(rest, packed))
		if !ok || err != nil || n < 1 || slices.ContainsFunc(out, func(s segment) bool { return s.n == n }) {
			continue
		}
		out = append(out, segment{n, path + "." + strconv.Itoa(n)})
	}
	slices.SortFunc(out, func(a, b segment) int { return a.n - b.n })
	return out, nil
}
