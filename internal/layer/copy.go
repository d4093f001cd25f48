package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// CopyOut copies what lies in a folder of the view into the existing, empty
// folder dst, which gets the attributes of that folder. Modes, times and user
// attributes are kept, owners and devices too when root copies, and names of
// one file stay names of one file. Blocks are shared with the layer where the
// file system can. It writes into dst by descriptor only, so that a container
// which has dst mounted already cannot turn the copy elsewhere.
func (v *View) CopyOut(name, dst string) error {
	e, _, err := v.find("copy", name, true)
	if err != nil {
		return err
	}
	defer e.close()
	if !e.isDir() {
		return &fs.PathError{Op: "copy", Path: name, Err: unix.ENOTDIR}
	}
	root, err := sys.OpenAt(unix.AT_FDCWD, dst, openDir, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: dst, Err: err}
	}
	defer unix.Close(root)
	c := &copier{root: root, isRoot: os.Geteuid() == 0, links: map[inode]string{}}
	if err := c.folder(e, root, ""); err != nil {
		return fmt.Errorf("cannot copy %s of the image to %s: %w", name, dst, err)
	}
	return nil
}

// Materialize copies the whole view into the existing, empty folder dst: a
// container's root for kernels that refuse overlay.
func (v *View) Materialize(dst string) error { return v.CopyOut("/", dst) }

type inode struct{ dev, ino uint64 }

// copier is one copy. Links remembers where the first name of a file with
// several went.
type copier struct {
	root   int
	isRoot bool
	links  map[inode]string
	noClon bool // the file system cannot share blocks
}

// folder copies the entries of e into the open folder dst, whose path in the
// copy is at, and then describes dst.
func (c *copier) folder(e *entry, dst int, at string) error {
	names, err := list(e.parts)
	if err != nil {
		return err
	}
	for _, d := range names {
		kid, err := step(e.parts, d.Name)
		if errors.Is(err, unix.ENOENT) {
			continue // a container that runs has removed it
		}
		path := at + "/" + d.Name
		if err == nil {
			err = c.entry(kid, dst, d.Name, path)
			kid.close()
		}
		if err != nil {
			var pe *fs.PathError
			if errors.As(err, &pe) {
				return err
			}
			return &fs.PathError{Op: "copy", Path: path, Err: err}
		}
	}
	return c.describe(e, dst)
}

func (c *copier) entry(e *entry, dst int, name, path string) error {
	switch e.st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.subfolder(e, dst, name, path)
	case unix.S_IFREG:
		return c.file(e, dst, name, path)
	case unix.S_IFLNK:
		target, err := readlink(e.fd)
		if err == nil {
			err = unix.Symlinkat(target, dst, name)
		}
		if err != nil {
			return err
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		if !c.isRoot {
			return nil
		}
		fallthrough
	case unix.S_IFIFO:
		err := unix.Mknodat(dst, name, e.st.Mode, int(e.st.Rdev))
		if err == unix.EPERM && e.isDevice() {
			return nil // root of a user namespace makes none either
		}
		if err != nil {
			return err
		}
	default:
		return nil // a socket is nothing without who listens
	}
	return c.describeName(e, dst, name)
}

func (c *copier) subfolder(e *entry, dst int, name, path string) error {
	if err := unix.Mkdirat(dst, name, 0o700); err != nil {
		return err
	}
	fd, err := sys.OpenAt(dst, name, openDir, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return c.folder(e, fd, path)
}

func (c *copier) file(e *entry, dst int, name, path string) error {
	key := inode{dev: uint64(e.st.Dev), ino: e.st.Ino}
	if e.st.Nlink > 1 {
		if first, ok := c.links[key]; ok && c.link(first, dst, name) == nil {
			return nil
		}
	}
	src, err := e.open(path)
	if err != nil {
		return err
	}
	defer src.Close()
	fd, err := sys.OpenAt(dst, name, openNew, 0o600)
	if err != nil {
		return err
	}
	err = c.content(int(src.Fd()), fd, &e.st)
	if err == nil {
		err = c.describe(e, fd)
	}
	if err2 := unix.Close(fd); err == nil {
		err = err2
	}
	if err == nil && e.st.Nlink > 1 {
		c.links[key] = path
	}
	return err
}

// link makes name one more name of the file at path in the copy. Should that
// have been exchanged for something that is no plain file of ours, the worst
// is a second name for another file of the same folder.
func (c *copier) link(path string, dst int, name string) error {
	fd := c.root
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		next, err := sys.OpenAt(fd, part, openPath, 0)
		if fd != c.root {
			unix.Close(fd)
		}
		if err != nil {
			return err
		}
		fd = next
	}
	defer unix.Close(fd)
	return unix.Linkat(unix.AT_FDCWD, procPath(fd), dst, name, unix.AT_SYMLINK_FOLLOW)
}

// describe gives an open file or folder the attributes of e.
func (c *copier) describe(e *entry, fd int) error {
	if c.isRoot {
		if err := unix.Fchown(fd, int(e.st.Uid), int(e.st.Gid)); err != nil {
			return err
		}
	}
	if err := copyXattrs(e, fd); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, e.st.Mode&0o7777); err != nil {
		return err
	}
	return futimens(fd, e.st.Mtim)
}

func (c *copier) describeName(e *entry, dst int, name string) error {
	if c.isRoot {
		err := unix.Fchownat(dst, name, int(e.st.Uid), int(e.st.Gid), unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			return err
		}
	}
	if !e.isSymlink() {
		if err := c.chmodName(dst, name, e.st.Mode); err != nil {
			return err
		}
	}
	return utimens(dst, name, e.st.Mtim)
}

// chmodName changes the mode of a device or pipe just made, unless somebody
// has put something else in its place.
func (c *copier) chmodName(dst int, name string, mode uint32) error {
	fd, err := sys.OpenAt(dst, name, openPath, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != mode&unix.S_IFMT {
		return unix.EEXIST
	}
	return unix.Chmod(procPath(fd), mode&0o7777)
}

// copyXattrs copies the extended attributes that layers may have.
func copyXattrs(from *entry, to int) error {
	xattrs, err := xattrsOf(from)
	if err != nil {
		return err
	}
	for _, x := range xattrs {
		err := unix.Fsetxattr(to, x.name, []byte(x.value), 0)
		if err != nil && err != unix.EPERM && err != unix.EOPNOTSUPP {
			return fmt.Errorf("extended attribute %s: %w", x.name, err)
		}
	}
	return nil
}
