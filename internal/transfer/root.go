package transfer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Errors that callers tell apart.
var (
	ErrNotFound     = errors.New("no such file or directory")
	ErrNotFolder    = errors.New("extraction point is not a directory")
	ErrReadOnlyRoot = errors.New("container rootfs is marked read-only")
	ErrReadOnlyPart = errors.New("mounted volume is marked read-only")
)

// Root is a folder from which no path leads out.
type Root struct {
	fd      int
	resolve uint64   // RESOLVE_* flags
	volumes []string // where volumes are mounted in it
	name    string   // what messages call it; empty for a container's
}

// Stat describes what a path names.
type Stat struct {
	Name  string      `json:"-"` // goes by another way, see octets
	Size  int64       `json:"size"`
	Mode  fs.FileMode `json:"mode"`
	Mtime time.Time   `json:"mtime"`
	// Target is the path without links that a symbolic link leads to. There
	// may be nothing.
	Target string `json:"-"`
}

// NewRoot makes a root of an open folder, whose descriptor it takes over.
// Links in it are followed, inside of it.
func NewRoot(fd int, volumes []string) *Root {
	return &Root{fd: fd, resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS, volumes: volumes}
}

// OpenFolder makes a root of a folder of ours. Links in it are not followed.
func OpenFolder(dir string) (*Root, error) {
	fd, err := open(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &Root{fd: fd, resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS, name: filepath.Clean(dir)}, nil
}

// RootOf opens the root of a process. Alive is asked after the process is
// pinned, and tells whether it is still the one that was meant.
func RootOf(pid int, alive func() bool, volumes []string) (*Root, error) {
	proc, err := open(unix.AT_FDCWD, fmt.Sprintf("/proc/%d", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(proc)
	if !alive() {
		return nil, unix.ESRCH
	}
	fd, err := open(proc, "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return NewRoot(fd, volumes), nil
}

// Close closes the root.
func (r *Root) Close() { unix.Close(r.fd) }

// open retries what signals have interrupted.
func open(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// open opens a path inside the root.
func (r *Root) open(p string, flags int) (int, error) {
	p = strings.TrimLeft(p, "/")
	if p == "" {
		p = "."
	}
	how := &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: r.resolve}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(r.fd, p, how)
		// Somebody moves folders about while the kernel walks: it cannot
		// be sure to be inside, and refuses.
		if err == unix.EINTR || err == unix.EAGAIN && try < 1000 {
			continue
		}
		return fd, err
	}
}

// split takes a path apart as Docker does: a trailing slash or "/." asks for
// what a link leads to, which must be a folder.
func split(p string) (dir, base string) {
	p = "/" + p
	if strings.HasSuffix(p, "/") || path.Base(p) == "." || path.Base(p) == ".." {
		return p, ""
	}
	return path.Split(p)
}

// find opens what a path names, without following a link at its end. Base is
// its name in the folder dir, empty when the path names that folder itself.
func (r *Root) find(p string) (dir int, base string, err error) {
	where, base := split(p)
	dir, err = r.open(where, unix.O_PATH|unix.O_DIRECTORY)
	return dir, base, pathError("lstat", p, err)
}

// pathError names the path, and what is not there by our own sentinel.
func pathError(op, p string, err error) error {
	switch err {
	case nil:
		return nil
	case unix.ENOENT:
		err = ErrNotFound
	}
	return &fs.PathError{Op: op, Path: p, Err: err}
}

// Stat describes what a path names. A link at the end counts as itself.
func (r *Root) Stat(p string) (Stat, error) {
	dir, base, err := r.find(p)
	if err != nil {
		return Stat{}, err
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if base == "" {
		err = unix.Fstat(dir, &st)
	} else {
		err = unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return Stat{}, pathError("lstat", p, err)
	}
	out := Stat{Name: EntryName(p), Size: st.Size, Mode: fileMode(st.Mode), Mtime: time.Unix(st.Mtim.Unix())}
	if out.Mode&fs.ModeSymlink != 0 {
		out.Target, err = r.follow(p)
	}
	return out, pathError("readlink", p, err)
}

// maxLinks is how many links a path may lead through, the kernel's own limit.
const maxLinks = 40

// follow returns the path without links that p leads to. What is missing is
// taken as it is written.
func (r *Root) follow(p string) (string, error) {
	done, todo, links := "/", strings.Split(p, "/"), 0
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		target, err := r.readlink(done, part)
		if err == unix.ENOENT || err == unix.EINVAL || err == unix.ENOTDIR {
			done = path.Join(done, part)
			continue
		}
		if links++; err == nil && links > maxLinks {
			err = unix.ELOOP
		}
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			done = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return done, nil
}

func (r *Root) readlink(dir, base string) (string, error) {
	fd, err := r.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return readlinkat(fd, base)
}

func readlinkat(dir int, name string) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, b)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// fileMode turns st_mode into Go's.
func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	for bit, flag := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

// procPath is a path to an open file, for calls that take no descriptor opened
// with O_PATH.
func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// reopen opens for reading what an O_PATH descriptor stands for.
func reopen(fd, flags int) (*os.File, error) {
	n, err := open(unix.AT_FDCWD, procPath(fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(n), "entry"), nil
}
