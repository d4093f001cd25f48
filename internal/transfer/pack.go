package transfer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxDepth bounds how deep folders may nest: a descriptor stays open for
	// every level.
	maxDepth = 500

	maxXattr    = 64 << 10        // the kernel takes no larger value
	xattrRecord = "SCHILY.xattr." // how tar spells extended attributes
	chunkSize   = 256 << 10
)

// Pack writes what a path names, and all below it, as a tar stream in which it
// is called name. A link at the end of the path is copied as a link, unless the
// path ends in a slash or "/.". It returns how many bytes of content the files
// have.
//
// Of /proc and /sys only the folders are written, unless the path lies there:
// they belong to this kernel. The tree may change meanwhile. What has vanished
// is left out; a file that has shrunk is filled up with zeros, because its size
// has been said already.
func (r *Root) Pack(ctx context.Context, w io.Writer, p, name string) (int64, error) {
	dir, base, err := r.find(p)
	if err != nil {
		return 0, err
	}
	defer unix.Close(dir)
	if base == "" {
		base = "."
	}
	return pack(ctx, w, dir, base, name)
}

// PackLocal is [Root.Pack] for something of ours.
func PackLocal(ctx context.Context, w io.Writer, s Source, name string) (int64, error) {
	parent, base := splitEntry(s.Path)
	dir, err := open(unix.AT_FDCWD, parent, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &fs.PathError{Op: "open", Path: parent, Err: err}
	}
	defer unix.Close(dir)
	if base == "/" {
		base = "."
	}
	return pack(ctx, w, dir, base, name)
}

type inode struct{ dev, ino uint64 }

// packer is one stream being written.
type packer struct {
	ctx   context.Context
	tar   *tar.Writer
	buf   []byte
	links map[inode]string // first names of files with several
	dev   uint64           // of what the path names
	bytes int64
}

func pack(ctx context.Context, w io.Writer, dir int, base, name string) (int64, error) {
	p := &packer{ctx: ctx, tar: tar.NewWriter(w), buf: make([]byte, chunkSize), links: map[inode]string{}}
	err := p.entry(dir, base, name, 0)
	if err == unix.ENOENT {
		err = ErrNotFound
	}
	if err == nil {
		err = p.tar.Close()
	}
	return p.bytes, err
}

// entry writes the entry base of an open folder.
func (p *packer) entry(dir int, base, name string, depth int) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	fd, err := open(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		// Whole seconds, as Docker has them: with parts every entry would
		// need a record of its own.
		ModTime: time.Unix(st.Mtim.Sec, 0),
	}
	if depth == 0 {
		p.dev = uint64(st.Dev)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return p.folder(fd, h, depth, uint64(st.Dev) != p.dev && ofKernel(fd))
	case unix.S_IFREG:
		return p.file(fd, h, &st)
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = readlinkat(fd, ""); err != nil {
			return err
		}
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		return nil // a socket is nothing without who listens
	}
	return p.tar.WriteHeader(h)
}

// ofKernel reports whether a folder is one that the kernel makes up.
func ofKernel(fd int) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && (fs.Type == unix.PROC_SUPER_MAGIC || fs.Type == unix.SYSFS_MAGIC)
}

// folder writes a folder and, unless bare, what is in it.
func (p *packer) folder(fd int, h *tar.Header, depth int, bare bool) error {
	if depth > maxDepth {
		return fmt.Errorf("%s lies more than %d folders deep", h.Name, maxDepth)
	}
	prefix := h.Name + "/"
	h.Typeflag, h.Name = tar.TypeDir, prefix
	h.PAXRecords = xattrs(fd)
	if err := p.tar.WriteHeader(h); err != nil || bare {
		return err
	}
	d, err := reopen(fd, unix.O_DIRECTORY)
	if err != nil {
		return &fs.PathError{Op: "open", Path: prefix, Err: err}
	}
	names, err := d.Readdirnames(-1)
	d.Close()
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, n := range names {
		if err := p.entry(fd, n, prefix+n, depth+1); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

func (p *packer) file(fd int, h *tar.Header, st *unix.Stat_t) error {
	h.Typeflag = tar.TypeReg
	key := inode{uint64(st.Dev), st.Ino}
	if first, ok := p.links[key]; ok && st.Nlink > 1 {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return p.tar.WriteHeader(h)
	}
	f, err := reopen(fd, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: h.Name, Err: err}
	}
	defer f.Close()
	h.Size, h.PAXRecords = st.Size, xattrs(fd)
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	if st.Nlink > 1 {
		p.links[key] = h.Name
	}
	p.bytes += st.Size
	for left := st.Size; left > 0; {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		b := p.buf[:min(left, int64(len(p.buf)))]
		n, err := io.ReadFull(f, b)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			clear(b[n:])
		} else if err != nil {
			return &fs.PathError{Op: "read", Path: h.Name, Err: err}
		}
		if _, err := p.tar.Write(b); err != nil {
			return err
		}
		left -= int64(len(b))
	}
	return nil
}

// xattrs reads the extended attributes that travel, as records of a stream.
func xattrs(fd int) map[string]string {
	at := procPath(fd)
	n, err := unix.Listxattr(at, nil)
	if n == 0 || err != nil {
		return nil
	}
	names := make([]byte, n+256)
	if n, err = unix.Listxattr(at, names); err != nil {
		return nil
	}
	var out map[string]string
	value := make([]byte, maxXattr)
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if !travels(name) {
			continue
		}
		n, err := unix.Getxattr(at, name, value)
		if err != nil {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[xattrRecord+name] = string(value[:n])
	}
	return out
}

// travels reports whether an extended attribute is part of a file. Those of
// overlay instruct the kernel, and labels belong to a machine's own policy.
func travels(name string) bool {
	if strings.HasPrefix(name, "user.overlay.") {
		return false
	}
	return strings.HasPrefix(name, "user.") || name == capability
}

const capability = "security.capability"

func quote(s string) string { return strconv.Quote(s) }
