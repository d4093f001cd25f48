package sys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// RemoveAll removes a tree like [os.RemoveAll], and also one whose folders
// deny their owner access, as image layers and overlay work folders do (mode
// 0555 or 0000). It never follows a symbolic link. Folders beside each other
// are emptied at once: removing a file waits for the file system, not for us.
func RemoveAll(path string) error {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return os.RemoveAll(path)
	}
	r := remover{slots: make(chan struct{}, min(8, 2*runtime.GOMAXPROCS(0)))}
	r.folder(unix.AT_FDCWD, path)
	// What it could not do has a reason that this one tells.
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := openUp(path); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// remover empties folders on several goroutines. It does what it can and
// reports nothing: the caller looks at what is left.
type remover struct{ slots chan struct{} }

// folder removes the folder name, seen from the folder at.
func (r *remover) folder(at int, name string) {
	fd, err := openFolder(at, name, unix.O_RDONLY)
	if err == unix.EACCES { // it denies its owner access
		if p, e := openFolder(at, name, unix.O_PATH); e == nil {
			unix.Chmod("/proc/self/fd/"+strconv.Itoa(p), 0o700)
			unix.Close(p)
			fd, err = openFolder(at, name, unix.O_RDONLY)
		}
	}
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), name)
	var below sync.WaitGroup
	tightened := false
	for {
		// Reading goes on behind what was removed, so each entry is met once.
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			if e.IsDir() {
				r.start(&below, fd, e.Name())
				continue
			}
			if unix.Unlinkat(fd, e.Name(), 0) == unix.EACCES && !tightened {
				tightened = true
				if unix.Fchmod(fd, 0o700) == nil {
					unix.Unlinkat(fd, e.Name(), 0)
				}
			}
		}
		if err != nil {
			break
		}
	}
	below.Wait()
	f.Close()
	unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
}

func openFolder(at int, name string, how int) (int, error) {
	for {
		fd, err := unix.Openat(at, name, how|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// start removes a folder on a goroutine of its own if one is free, so that
// depth and width of a tree cost neither stacks nor descriptors.
func (r *remover) start(below *sync.WaitGroup, at int, name string) {
	select {
	case r.slots <- struct{}{}:
		below.Go(func() {
			r.folder(at, name)
			<-r.slots
		})
	default:
		r.folder(at, name)
	}
}

// openUp gives the owner access to every folder below path.
func openUp(path string) error {
	return filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if d == nil || !d.IsDir() {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		// WalkDir calls once before reading a folder (err nil) and again
		// when reading it was refused, which the first call prevents.
		if err != nil {
			return err
		}
		return os.Chmod(p, 0o700)
	})
}

// TreeSize adds up the sizes of the plain files below dir, as far as they can
// be seen, and reports whether that is all of them.
func TreeSize(dir string) (n int64, all bool) {
	all = true
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var fi fs.FileInfo
			if fi, err = d.Info(); err == nil {
				n += fi.Size()
			}
		}
		if errors.Is(err, fs.ErrPermission) {
			all = false
		}
		return nil
	})
	return n, all
}
