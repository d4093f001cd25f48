package recipe

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"berth/internal/state"
	"berth/internal/sys"
)

// Names in the folder of a layer.
const (
	File   = "recipe"
	Tree   = "tree"   // where the files lie
	Shadow = "shadow" // where those went whose place was taken

	movedName = "moved.json" // in Shadow
)

const (
	magic     = "berth-recipe-1\n"
	kindRaw   = 'r'
	kindZeros = 'z'
	kindBody  = 'f'
)

const (
	bufferSize = 128 << 10 // handed to the compressor at once
	buffers    = 4
	// maxMovedBytes bounds what is remembered of files that were replaced.
	maxMovedBytes = 64 << 20
	// maxPath is more than any path has: 257 names of 255 bytes, and slashes.
	maxPath = 257 * 256
)

// moved tells that what lay at a path was moved away when so many files had
// been recorded. Its place in the list is its name in the shadow folder.
type moved struct {
	Files int64  `json:"n"`
	Path  string `json:"p,omitempty"`
	Raw   []byte `json:"pb,omitempty"` // instead of a path that is not UTF-8
}

type movedList struct {
	V     int     `json:"v"`
	Moved []moved `json:"moved"`
}

// Writer writes the recipe of a layer while that is unpacked. It is for one
// goroutine. All methods do nothing on nil, but for MoveAway.
type Writer struct {
	folder string
	cancel context.CancelCauseFunc
	out    *os.File
	buf    []byte
	open   int // where the length of the unfinished raw record is in buf; 0: none is
	full   chan []byte
	free   chan []byte
	done   chan struct{}
	once   sync.Once
	err    error // of the compressor, after done

	files      int64 // records of contents
	moved      []moved
	movedBytes int
}

// Create begins the recipe in the folder of a layer. Cancel is called once if it
// cannot be written, at whatever moment, so that the unpacking can end.
func Create(folder string, cancel context.CancelCauseFunc) (*Writer, error) {
	f, err := os.OpenFile(filepath.Join(folder, File), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	r := &Writer{
		folder: folder, cancel: cancel, out: f, done: make(chan struct{}),
		full: make(chan []byte, buffers), free: make(chan []byte, buffers),
		buf: append(make([]byte, 0, bufferSize+4096), magic...),
	}
	for range buffers - 1 {
		r.free <- nil
	}
	go r.compress()
	return r, nil
}

// compress writes what comes until the channel is closed.
func (r *Writer) compress() {
	defer close(r.done)
	w := bufio.NewWriterSize(r.out, bufferSize)
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	for b := range r.full {
		if err == nil {
			if _, err = z.Write(b); err != nil {
				r.cancel(err) // ends the rest
			}
		}
		r.free <- b
	}
	if err == nil {
		err = z.Close()
	}
	if err == nil {
		err = w.Flush()
	}
	r.err = err
}

// Raw records bytes of the stream. Most of them are zeros in headers, which
// would cost the compressor more time than all the rest.
func (r *Writer) Raw(b []byte) {
	if r == nil {
		return
	}
	for len(b) > 0 {
		plain, zeros := splitZeros(b)
		r.plain(b[:plain])
		if zeros > 0 {
			r.closeRaw()
			r.buf = append(r.buf, kindZeros)
			r.buf = binary.LittleEndian.AppendUint32(r.buf, uint32(zeros))
		}
		b = b[plain+zeros:]
	}
	if len(r.buf) >= bufferSize {
		r.flush()
	}
}

func (r *Writer) plain(b []byte) {
	if len(b) == 0 {
		return
	}
	if r.open == 0 {
		r.buf = append(r.buf, kindRaw)
		r.open = len(r.buf)
		r.buf = append(r.buf, 0, 0, 0, 0)
	}
	r.buf = append(r.buf, b...)
}

// manyZeros is the shortest run of zeros that becomes a record.
const manyZeros = 64

// splitZeros returns how many bytes of b stand before a long run of zeros, and
// how long that is. It need not find the first zero of a run.
func splitZeros(b []byte) (plain, zeros int) {
	const step = manyZeros / 2
	for i := 0; i+manyZeros <= len(b); i += step {
		if !sys.AllZero(b[i : i+manyZeros]) {
			continue
		}
		end := i + manyZeros
		for end < len(b) && b[end] == 0 {
			end++
		}
		return i, end - i
	}
	return len(b), 0
}

func (r *Writer) closeRaw() {
	if r.open > 0 {
		binary.LittleEndian.PutUint32(r.buf[r.open:], uint32(len(r.buf)-r.open-4))
		r.open = 0
	}
}

// Content records that the next n bytes of the stream are the content of the
// file at a path of the tree.
func (r *Writer) Content(path string, n int64) {
	if r == nil || n == 0 {
		return
	}
	r.closeRaw()
	r.files++
	r.buf = append(r.buf, kindBody)
	r.buf = binary.LittleEndian.AppendUint64(r.buf, uint64(n))
	r.buf = binary.LittleEndian.AppendUint32(r.buf, uint32(len(path)))
	r.buf = append(r.buf, path...)
}

func (r *Writer) flush() {
	r.closeRaw()
	r.full <- r.buf
	r.buf = (<-r.free)[:0]
}

// Finish writes all that is left.
func (r *Writer) Finish() error {
	if r == nil {
		return nil
	}
	r.flush()
	r.stop()
	if r.err != nil {
		return fmt.Errorf("cannot write the recipe of the layer: %w", r.err)
	}
	if len(r.moved) == 0 {
		return nil
	}
	return state.WriteVolatileJSON(filepath.Join(r.folder, Shadow, movedName), movedList{V: 1, Moved: r.moved})
}

func (r *Writer) stop() {
	r.once.Do(func() {
		close(r.full)
		<-r.done
		if err := r.out.Close(); r.err == nil {
			r.err = err
		}
	})
}

// Abandon ends the recipe, whole or not.
func (r *Writer) Abandon() {
	if r != nil {
		r.stop()
	}
}

// MoveAway moves what lies at a path of the tree to the shadow folder, as its
// content is needed for the stream: base in the open folder dir.
func (r *Writer) MoveAway(path string, dir int, base string) error {
	shadow := filepath.Join(r.folder, Shadow)
	if len(r.moved) == 0 {
		if err := os.Mkdir(shadow, 0o700); err != nil {
			return err
		}
	}
	if r.movedBytes += len(path) + 64; r.movedBytes > maxMovedBytes {
		return errors.New("layer replaces too many of its own files")
	}
	err := unix.Renameat(dir, base, unix.AT_FDCWD, filepath.Join(shadow, fmt.Sprint(len(r.moved))))
	if err != nil {
		return err
	}
	m := moved{Files: r.files, Path: path}
	if !utf8.ValidString(path) {
		m.Path, m.Raw = "", []byte(path)
	}
	r.moved = append(r.moved, m)
	return nil
}
