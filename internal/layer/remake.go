package layer

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
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
	"berth/internal/store"
)

// ErrNoRecipe says that a layer was unpacked by a berth that kept no recipe,
// so that its tar stream cannot be made again.
var ErrNoRecipe = errors.New("was unpacked by an older berth, which did not keep what is needed to pack it again: remove the image and pull it again")

// errRecipe says that a recipe is not one.
var errRecipe = errors.New("its recipe is damaged: remove the image and pull it again")

// Tar writes the tar stream a layer was unpacked from, byte for byte. It fails
// if what it has written is not what the diff ID says; the last piece is
// withheld until that is known, so nobody can take a wrong stream for a whole
// one.
func (s *Set) Tar(ctx context.Context, diffID string, w io.Writer) error {
	if _, err := s.Meta(diffID); err != nil {
		return err
	}
	if err := remake(ctx, store.LayerPath(s.dir, diffID), diffID, w); err != nil {
		return fmt.Errorf("layer %s: %w", diffID, err)
	}
	return nil
}

// remake writes the stream of the layer in a folder.
func remake(ctx context.Context, folder, diffID string, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	src, err := openRecipe(folder)
	if err != nil {
		return err
	}
	defer src.close()
	in := newStream(ctx, src)
	last, err := copyBut(w, in)
	if err != nil {
		cancel(err)
	}
	digest := in.close()
	if err != nil {
		return err
	}
	if digest != diffID {
		return fmt.Errorf("its files have changed since it was unpacked (what they make has the digest %s): remove the image and pull it again", digest)
	}
	_, err = w.Write(last)
	return err
}

// copyBut copies the stream to w except for its last piece, which it returns.
func copyBut(w io.Writer, in *stream) (last []byte, err error) {
	for {
		b, err := in.take(chunkSize)
		if err == io.EOF {
			return last, nil
		}
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(last); err != nil {
			return nil, err
		}
		last = append(last[:0], b...)
	}
}

// recipeReader makes a tar stream from a recipe.
type recipeReader struct {
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

func openRecipe(folder string) (_ *recipeReader, err error) {
	r := &recipeReader{dir: -1, lastFd: -1, file: -1}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	f, err := os.Open(filepath.Join(folder, recipeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoRecipe
	}
	if err != nil {
		return nil, err
	}
	r.rest = append(r.rest, f)
	if r.gzip, err = gzip.NewReader(bufio.NewReaderSize(f, recipeBuffer)); err != nil {
		return nil, damaged(err)
	}
	r.in = bufio.NewReaderSize(r.gzip, recipeBuffer)
	magic := make([]byte, len(recipeMagic))
	if _, err := io.ReadFull(r.in, magic); err != nil || string(magic) != recipeMagic {
		return nil, damaged(err)
	}
	if r.dir, err = openat(unix.AT_FDCWD, folder, openPath|unix.O_DIRECTORY, 0); err != nil {
		return nil, err
	}
	return r, r.readMoved(filepath.Join(folder, shadowDir, movedFile))
}

// damaged tells a recipe that is not right from a disk that is not.
func damaged(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return err
	}
	return errRecipe
}

func (r *recipeReader) readMoved(path string) error {
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

func (r *recipeReader) close() {
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
func (r *recipeReader) Read(p []byte) (int, error) {
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
	n, err := read(r.file, p[:min(r.body, int64(len(p)))])
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
func (r *recipeReader) next() error {
	kind, err := r.in.ReadByte()
	if err == io.EOF {
		return err
	}
	if err != nil {
		return damaged(err)
	}
	var b [12]byte
	switch kind {
	case recipeRaw, recipeZeros:
		if _, err := io.ReadFull(r.in, b[:4]); err != nil {
			return damaged(err)
		}
		n := int64(binary.LittleEndian.Uint32(b[:]))
		if kind == recipeRaw {
			r.raw = n
		} else {
			r.zeros = n
		}
		return nil
	case recipeBody:
		if _, err := io.ReadFull(r.in, b[:12]); err != nil {
			return damaged(err)
		}
		n, size := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint32(b[8:])
		if n == 0 || n > 1<<62 || size > (maxDepth+1)*256 {
			return errRecipe
		}
		path := make([]byte, size)
		if _, err := io.ReadFull(r.in, path); err != nil {
			return damaged(err)
		}
		r.body = int64(n)
		return r.open(string(path))
	}
	return errRecipe
}

// open opens the file that was at a path of the tree when it was recorded.
func (r *recipeReader) open(path string) error {
	r.name = path
	where := r.where(path)
	r.files++
	dir, base := where[:strings.LastIndexByte(where, '/')], where[strings.LastIndexByte(where, '/')+1:]
	if err := r.enter(dir); err != nil {
		return fmt.Errorf("cannot open its file %s: %w", path, err)
	}
	fd, err := openat(r.lastFd, base, openFile, 0)
	if err != nil {
		return fmt.Errorf("cannot open its file %s: %w", path, err)
	}
	r.file = fd
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errRecipe
	}
	return nil
}

// where finds out where a file lies that was recorded at a path: there, or
// where it was moved first after that, by itself or with a folder around it.
func (r *recipeReader) where(path string) string {
	first, at := move{files: 1<<63 - 1}, 0
	for end := len(path); end > 0 && r.moved != nil; end = strings.LastIndexByte(path[:end], '/') {
		moves := r.moved[path[:end]]
		i, _ := slices.BinarySearchFunc(moves, r.files, func(m move, n int64) int { return cmp.Compare(m.files, n+1) })
		if i < len(moves) && (moves[i].files < first.files || moves[i].files == first.files && moves[i].n < first.n) {
			first, at = moves[i], end
		}
	}
	if at == 0 {
		return "tree/" + path
	}
	return shadowDir + "/" + strconv.Itoa(first.n) + path[at:]
}

// enter makes lastFd the folder at a path below the layer's. It follows no
// links: each step is a plain name.
func (r *recipeReader) enter(path string) error {
	if path == r.lastDir && r.lastFd >= 0 {
		return nil
	}
	fd := r.dir
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return errRecipe
		}
		next, err := openat(fd, part, openPath|unix.O_DIRECTORY, 0)
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
