package layer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// ErrTooLarge says that a file has more bytes than the caller wants to read.
var ErrTooLarge = errors.New("file is too large")

// ErrNotRegular says that something is not a plain file. Reading a pipe or a
// device that an image supplies could hang or do harm, so the view opens
// neither.
var ErrNotRegular = errors.New("not a regular file")

// Stat describes what a path names, links followed. The owner is that in the
// tree: in a rootless layer, the account itself.
func (v *View) Stat(name string) (fs.FileInfo, error) { return v.stat("stat", name, true) }

// Lstat is [View.Stat] that does not follow a link at the end.
func (v *View) Lstat(name string) (fs.FileInfo, error) { return v.stat("lstat", name, false) }

func (v *View) stat(op, name string, follow bool) (fs.FileInfo, error) {
	e, real, err := v.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	closeParts(e.parts[min(1, len(e.parts)):])
	f := os.NewFile(uintptr(e.fd), real)
	defer f.Close()
	return f.Stat()
}

// Resolve returns the path without links that a path leads to.
func (v *View) Resolve(name string) (string, error) {
	e, real, err := v.find("resolve", name, true)
	if err != nil {
		return "", err
	}
	e.close()
	return real, nil
}

// Readlink returns where a symbolic link points.
func (v *View) Readlink(name string) (string, error) {
	e, _, err := v.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	defer e.close()
	if !e.isSymlink() {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: unix.EINVAL}
	}
	return readlink(e.fd)
}

// Open opens a regular file for reading, links followed.
func (v *View) Open(name string) (*os.File, error) {
	e, real, err := v.find("open", name, true)
	if err != nil {
		return nil, err
	}
	defer e.close()
	f, err := e.open(real)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f, nil
}

func (e *entry) open(name string) (*os.File, error) {
	fd, err := e.openFd()
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (e *entry) openFd() (int, error) {
	if e.isDir() {
		return -1, unix.EISDIR
	}
	if !e.isRegular() {
		return -1, ErrNotRegular
	}
	// The descriptor pins the file that was looked at, whatever the
	// container puts under its name meanwhile.
	fd, err := sys.OpenAt(unix.AT_FDCWD, procPath(e.fd), openFile&^unix.O_NOFOLLOW, 0)
	if err == unix.EACCES {
		return e.openShut()
	}
	return fd, err
}

// openShut opens a file whose mode shuts out the account it belongs to, which
// a container as its own root need not notice, by lending itself the right for
// the moment.
func (e *entry) openShut() (int, error) {
	if e.layer != ownLayer || int64(e.st.Uid) != int64(os.Geteuid()) {
		return -1, unix.EACCES
	}
	path := procPath(e.fd)
	if err := unix.Chmod(path, e.st.Mode&0o7777|0o400); err != nil {
		return -1, unix.EACCES
	}
	fd, err := sys.OpenAt(unix.AT_FDCWD, path, openFile&^unix.O_NOFOLLOW, 0)
	if e := unix.Chmod(path, e.st.Mode&0o7777); err == nil && e != nil {
		unix.Close(fd)
		err = e
	}
	return fd, err
}

// ReadFile returns the content of a regular file of at most limit bytes, else
// [ErrTooLarge].
func (v *View) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := v.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return b, nil
}

// DirEntry is a name in a folder of the view.
type DirEntry struct {
	Name string
	Type fs.FileMode // type bits only
}

// ReadDir lists a folder, sorted by name, links followed.
func (v *View) ReadDir(name string) ([]DirEntry, error) {
	e, _, err := v.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	defer e.close()
	if !e.isDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: unix.ENOTDIR}
	}
	out, err := list(e.parts)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return out, nil
}

// list merges the shares of a folder.
func list(parts []part) ([]DirEntry, error) {
	var out []DirEntry
	seen := map[string]bool{}
	for _, p := range parts {
		entries, err := p.read()
		if err != nil {
			return nil, err
		}
		var hidden []string // by names, from the shares below
		for _, d := range entries {
			name := d.Name()
			if p.byName && strings.HasPrefix(name, whiteoutPrefix) {
				hidden = append(hidden, name[len(whiteoutPrefix):])
				continue
			}
			if seen[name] {
				continue
			}
			seen[name] = true
			if hides, err := p.isWhiteout(d); err != nil {
				return nil, err
			} else if !hides {
				out = append(out, DirEntry{Name: name, Type: d.Type()})
			}
		}
		for _, name := range hidden {
			seen[name] = true
		}
	}
	slices.SortFunc(out, func(a, b DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (p part) read() ([]fs.DirEntry, error) {
	fd, err := sys.OpenAt(p.fd, ".", openDir, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "folder")
	defer f.Close()
	return f.ReadDir(-1)
}

// isWhiteout reports whether a name read from a share is a whiteout, or gone.
func (p part) isWhiteout(d fs.DirEntry) (bool, error) {
	if d.Type() != fs.ModeDevice|fs.ModeCharDevice {
		return false, nil
	}
	fd, _, _, err := p.open(d.Name())
	if err == unix.ENOENT {
		return true, nil
	}
	if err == nil {
		unix.Close(fd)
	}
	return false, err
}
