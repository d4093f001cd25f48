package layer

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
)

// A recipe says how to make the tar stream of a layer again, byte for byte,
// from the files in its tree: it has all of the stream that is not the content
// of one of them. It is a gzip stream of records:
//
//	'r' length(uint32) bytes                 as they are
//	'z' length(uint32)                       zeros
//	'f' length(uint64) length(uint32) path   the content of a file of the tree
//
// with numbers in little-endian order. A path is where the file lies, links
// followed. When a later entry of the stream takes a file's place, the file is
// not lost but moved to shadow/<n>, and shadow/moved.json tells.
const (
	recipeFile = "recipe"
	shadowDir  = "shadow"
	movedFile  = "moved.json"

	recipeMagic = "berth-recipe-1\n"
	recipeRaw   = 'r'
	recipeZeros = 'z'
	recipeBody  = 'f'
)

const (
	recipeBuffer  = 128 << 10 // handed to the compressor at once
	recipeBuffers = 4
	// maxMovedBytes bounds what is remembered of files that were replaced.
	maxMovedBytes = 64 << 20
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

// recipe writes the recipe of a layer while that is unpacked. All methods but
// newRecipe do nothing on nil.
type recipe struct {
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

func newRecipe(folder string, cancel context.CancelCauseFunc) (*recipe, error) {
	f, err := os.OpenFile(filepath.Join(folder, recipeFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	r := &recipe{
		folder: folder, cancel: cancel, out: f, done: make(chan struct{}),
		full: make(chan []byte, recipeBuffers), free: make(chan []byte, recipeBuffers),
		buf: append(make([]byte, 0, recipeBuffer+4096), recipeMagic...),
	}
	for range recipeBuffers - 1 {
		r.free <- nil
	}
	go r.compress()
	return r, nil
}

// compress writes what comes until the channel is closed.
func (r *recipe) compress() {
	defer close(r.done)
	w := bufio.NewWriterSize(r.out, recipeBuffer)
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

// raw records bytes of the stream. Most of them are zeros in headers, which
// would cost the compressor more time than all the rest.
func (r *recipe) raw(b []byte) {
	if r == nil {
		return
	}
	for len(b) > 0 {
		plain, zeros := splitZeros(b)
		r.plain(b[:plain])
		if zeros > 0 {
			r.closeRaw()
			r.buf = append(r.buf, recipeZeros)
			r.buf = binary.LittleEndian.AppendUint32(r.buf, uint32(zeros))
		}
		b = b[plain+zeros:]
	}
	if len(r.buf) >= recipeBuffer {
		r.flush()
	}
}

func (r *recipe) plain(b []byte) {
	if len(b) == 0 {
		return
	}
	if r.open == 0 {
		r.buf = append(r.buf, recipeRaw)
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
		if !allZero(b[i : i+manyZeros]) {
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

func (r *recipe) closeRaw() {
	if r.open > 0 {
		binary.LittleEndian.PutUint32(r.buf[r.open:], uint32(len(r.buf)-r.open-4))
		r.open = 0
	}
}

// file records that the next n bytes of the stream are the content of a file.
func (r *recipe) file(dir *node, base string, n int64) {
	if r == nil || n == 0 {
		return
	}
	r.closeRaw()
	r.files++
	path := dir.join(base)
	r.buf = append(r.buf, recipeBody)
	r.buf = binary.LittleEndian.AppendUint64(r.buf, uint64(n))
	r.buf = binary.LittleEndian.AppendUint32(r.buf, uint32(len(path)))
	r.buf = append(r.buf, path...)
}

func (r *recipe) flush() {
	r.closeRaw()
	r.full <- r.buf
	r.buf = (<-r.free)[:0]
}

// finish writes all that is left.
func (r *recipe) finish() error {
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
	return writeVolatile(filepath.Join(r.folder, shadowDir, movedFile), movedList{V: 1, Moved: r.moved})
}

func (r *recipe) stop() {
	r.once.Do(func() {
		close(r.full)
		<-r.done
		if err := r.out.Close(); r.err == nil {
			r.err = err
		}
	})
}

// abandon ends the recipe, whole or not.
func (r *recipe) abandon() { r.stop() }

// remove removes what this layer has made under a name. Files whose contents
// the recipe needs only move away.
func (u *unpacker) remove(dir *node, fd int, base string) error {
	if u.recipe == nil {
		return removeAt(fd, base)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFDIR:
		if unix.Unlinkat(fd, base, unix.AT_REMOVEDIR) == nil {
			return nil // it was empty
		}
	case kind != unix.S_IFREG || st.Size == 0:
		return unix.Unlinkat(fd, base, 0)
	}
	return u.recipe.moveAway(dir, fd, base)
}

func (r *recipe) moveAway(dir *node, fd int, base string) error {
	shadow := filepath.Join(r.folder, shadowDir)
	if len(r.moved) == 0 {
		if err := os.Mkdir(shadow, 0o700); err != nil {
			return err
		}
	}
	path := dir.join(base)
	if r.movedBytes += len(path) + 64; r.movedBytes > maxMovedBytes {
		return errors.New("layer replaces too many of its own files")
	}
	err := unix.Renameat(fd, base, unix.AT_FDCWD, filepath.Join(shadow, fmt.Sprint(len(r.moved))))
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
