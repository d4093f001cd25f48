package recipe

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/state"
	"berth/internal/sys"
)

// ErrNone says that a layer was unpacked by a berth that kept no recipe,
// so that its tar stream cannot be made again.
var ErrNone = errors.New("was unpacked by an older berth, which did not keep what is needed to pack it again: remove the image and pull it again")

// ErrDamaged says that a recipe is not one.
var ErrDamaged = errors.New("its recipe is damaged: remove the image and pull it again")

// Flags for folders and for files, none of which follow a symbolic link at the
// end of the name; names given to them have no slash.
const (
	openFolder = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	openFile   = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_NOCTTY | unix.O_CLOEXEC
)

// Reader makes a tar stream from a recipe. It is for one goroutine.
type Reader struct {
	dir  int // the layer's folder
	in   *bufio.Reader
	gzip *gzip.Reader
	rest []io.Closer

	raw   int64 // bytes to be copied from the recipe
	zeros int64 // zeros to be made
	body  int64 // bytes to be copied from file
	file  int   // -1: none
	name  string
	files int64
	moved map[string][]move // by path

	lastDir string // below dir, of the folder that lastFd is
	lastFd  int
}

// move is a [moved] with its number.
type move struct {
	files int64
	n     int
}

// Open reads the recipe in the folder of a layer.
func Open(folder string) (_ *Reader, err error) {
	r := &Reader{dir: -1, lastFd: -1, file: -1}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	f, err := os.Open(filepath.Join(folder, File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	r.rest = append(r.rest, f)
	if r.gzip, err = gzip.NewReader(bufio.NewReaderSize(f, bufferSize)); err != nil {
		return nil, damaged(err)
	}
	r.in = bufio.NewReaderSize(r.gzip, bufferSize)
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r.in, head); err != nil || string(head) != magic {
		return nil, damaged(err)
	}
	if r.dir, err = sys.OpenAt(unix.AT_FDCWD, folder, openFolder, 0); err != nil {
		return nil, err
	}
	return r, r.readMoved(filepath.Join(folder, Shadow, movedName))
}

// damaged tells a recipe that is not right from a disk that is not.
func damaged(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return err
	}
	return ErrDamaged
}

func (r *Reader) readMoved(path string) error {
	var l movedList
	if err := state.ReadJSON(path, &l); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if l.V > 1 {
		return fmt.Errorf("record %s was written by a newer berth", path)
	}
	r.moved = map[string][]move{}
	for i, m := range l.Moved {
		p := cmp.Or(m.Path, string(m.Raw))
		r.moved[p] = append(r.moved[p], move{m.Files, i})
	}
	return nil
}

// Close closes the files that are open.
func (r *Reader) Close() {
	for _, fd := range []int{r.file, r.lastFd, r.dir} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	for _, c := range r.rest {
		c.Close()
	}
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for r.raw == 0 && r.zeros == 0 && r.body == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	if r.raw > 0 {
		n, err := r.in.Read(p[:min(r.raw, int64(len(p)))])
		r.raw -= int64(n)
		if err != nil {
			err = damaged(err)
		}
		return n, err
	}
	if r.zeros > 0 {
		n := int(min(r.zeros, int64(len(p))))
		clear(p[:n])
		r.zeros -= int64(n)
		return n, nil
	}
	n, err := sys.Read(r.file, p[:min(r.body, int64(len(p)))])
	r.body -= int64(n)
	if err == nil && n == 0 && len(p) > 0 {
		return 0, fmt.Errorf("its file %s is shorter than it was: remove the image and pull it again", r.name)
	}
	if r.body == 0 {
		unix.Close(r.file)
		r.file = -1
	}
	return n, err
}

// next reads the head of a record.
func (r *Reader) next() error {
	kind, err := r.in.ReadByte()
	if err == io.EOF {
		return err
	}
	if err != nil {
		return damaged(err)
	}
	var b [12]byte
	switch kind {
	case kindRaw, kindZeros:
		if _, err := io.ReadFull(r.in, b[:4]); err != nil {
			return damaged(err)
		}
		n := int64(binary.LittleEndian.Uint32(b[:]))
		if kind == kindRaw {
			r.raw = n
		} else {
			r.zeros = n
		}
		return nil
	case kindBody:
		if _, err := io.ReadFull(r.in, b[:12]); err != nil {
			return damaged(err)
		}
		n, size := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint32(b[8:])
		if n == 0 || n > 1<<62 || size > maxPath {
			return ErrDamaged
		}
		path := make([]byte, size)
		if _, err := io.ReadFull(r.in, path); err != nil {
			return damaged(err)
		}
		r.body = int64(n)
		return r.open(string(path))
	}
	return ErrDamaged
}

// open opens the file that was at a path of the tree when it was recorded.
func (r *Reader) open(path string) error {
	r.name = path
	where := r.where(path)
	r.files++
	dir, base := where[:strings.LastIndexByte(where, '/')], where[strings.LastIndexByte(where, '/')+1:]
	if err := r.enter(dir); err != nil {
		return fmt.Errorf("cannot open its file %s: %w", path, err)
	}
	fd, err := sys.OpenAt(r.lastFd, base, openFile, 0)
	if err != nil {
		return fmt.Errorf("cannot open its file %s: %w", path, err)
	}
	r.file = fd
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return ErrDamaged
	}
	return nil
}

// where finds out where a file lies that was recorded at a path: there, or
// where it was moved first after that, by itself or with a folder around it.
func (r *Reader) where(path string) string {
	first, at := move{files: 1<<63 - 1}, 0
	for end := len(path); end > 0 && r.moved != nil; end = strings.LastIndexByte(path[:end], '/') {
		moves := r.moved[path[:end]]
		i, _ := slices.BinarySearchFunc(moves, r.files, func(m move, n int64) int { return cmp.Compare(m.files, n+1) })
		if i < len(moves) && (moves[i].files < first.files || moves[i].files == first.files && moves[i].n < first.n) {
			first, at = moves[i], end
		}
	}
	if at == 0 {
		return Tree + "/" + path
	}
	return Shadow + "/" + strconv.Itoa(first.n) + path[at:]
}

// enter makes lastFd the folder at a path below the layer's. It follows no
// links: each step is a plain name.
func (r *Reader) enter(path string) error {
	if path == r.lastDir && r.lastFd >= 0 {
		return nil
	}
	fd := r.dir
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return ErrDamaged
		}
		next, err := sys.OpenAt(fd, part, openFolder, 0)
		if fd != r.dir {
			unix.Close(fd)
		}
		if err != nil {
			return err
		}
		fd = next
	}
	if r.lastFd >= 0 {
		unix.Close(r.lastFd)
	}
	r.lastDir, r.lastFd = path, fd
	return nil
}
