package transfer

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// UnpackOptions says what becomes of owners.
type UnpackOptions struct {
	// KeepOwners gives every entry the owner that the stream names, as far
	// as this process may.
	KeepOwners bool `json:"keepOwners,omitempty"`
	// Local is for a folder of ours: without KeepOwners, what could give
	// somebody rights on this machine stays behind.
	Local bool `json:"local,omitempty"`
}

// Unpacked is what an unpacking has done.
type Unpacked struct {
	Bytes   int64 `json:"bytes"`   // content of files
	Devices int   `json:"devices"` // device nodes that were left out
}

// unpacker extracts one stream into a folder of a root.
type unpacker struct {
	root *Root
	dir  string // in the root
	opt  UnpackOptions
	done Unpacked
	buf  []byte

	parent   int // the folder that entries went to last; -1 for none
	parentAt string
	folders  []described // whose times are set at the end
}

type described struct {
	name  string
	mtime unix.Timespec
}

// Unpack extracts a tar stream, packed with gzip or bzip2 or not, into a folder of the
// root. Folders that are there take in those of the stream; a folder never
// replaces anything else, nor anything else a folder. Other entries replace
// what has their name, by a new file: nothing that is there is opened for
// writing.
func (r *Root) Unpack(ctx context.Context, in io.Reader, dir string, opt UnpackOptions) (Unpacked, error) {
	in, err := plain(in)
	if err != nil {
		return Unpacked{}, err
	}
	u := &unpacker{root: r, dir: dir, opt: opt, parent: -1, buf: make([]byte, chunkSize)}
	defer u.forget()
	if err := u.check(); err != nil {
		return u.done, err
	}
	for t := tar.NewReader(in); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = u.entry(h, t)
		}
		if err != nil {
			return u.done, err
		}
	}
	// Programs that write tar fill the stream up; who writes must not see
	// it closed early.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return u.done, err
	}
	u.setTimes()
	return u.done, nil
}

// plain unpacks gzip and bzip2 if that is what comes, known by how it begins.
func plain(in io.Reader) (io.Reader, error) {
	var head [6]byte
	n, err := io.ReadFull(in, head[:])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	in = io.MultiReader(bytes.NewReader(head[:n]), in)
	switch begins := string(head[:n]); {
	case strings.HasPrefix(begins, "\x1f\x8b"):
		return gzip.NewReader(in)
	case strings.HasPrefix(begins, "BZh"):
		return bzip2.NewReader(in), nil
	case strings.HasPrefix(begins, "\xfd7zXZ"):
		return nil, errors.New("the archive is packed with xz: pipe it through xz -dc first")
	case strings.HasPrefix(begins, "\x28\xb5\x2f\xfd"):
		return nil, errors.New("the archive is packed with zstd: pipe it through zstd -dc first")
	}
	return in, nil
}

// check looks at the folder that everything goes to.
func (u *unpacker) check() error {
	fd, err := u.root.open(u.dir, unix.O_PATH)
	if err != nil {
		return pathError("open", u.shown(""), err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return ErrNotFolder
	}
	var fst unix.Statfs_t
	if err := unix.Fstatfs(fd, &fst); err == nil && fst.Flags&unix.ST_RDONLY != 0 {
		return u.root.readOnly(u.dir)
	}
	return nil
}

// readOnly says in Docker's words why a folder cannot be written to.
func (r *Root) readOnly(dir string) error {
	at, err := r.follow(dir)
	for _, v := range r.volumes {
		if err == nil && (at == v || strings.HasPrefix(at, v+"/")) {
			return ErrReadOnlyPart
		}
	}
	return ErrReadOnlyRoot
}

// shown is what messages call an entry.
func (u *unpacker) shown(name string) string { return path.Join(u.root.name, u.dir, name) }

// entry makes one entry of the stream.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := u.inside(h.Name)
	if err != nil || name == "." {
		return err // the folder itself stays as it is
	}
	dir, err := u.folder(path.Dir(name))
	if err != nil {
		return pathError("open", u.shown(path.Dir(name)), err)
	}
	base := path.Base(name)
	if err := u.makeRoom(dir, base, name, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		err = u.makeFolder(dir, base, name, h)
	case tar.TypeReg, tar.TypeRegA, tar.TypeCont, tar.TypeGNUSparse:
		err = u.makeFile(dir, base, h, content)
	case tar.TypeSymlink:
		if err = unix.Symlinkat(h.Linkname, dir, base); err == nil {
			err = u.describeName(dir, base, h)
		}
	case tar.TypeLink:
		err = u.makeLink(dir, base, h)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		err = u.makeNode(dir, base, h)
	default:
		return fmt.Errorf("%s is of an unknown kind (tar type %q)", h.Name, h.Typeflag)
	}
	var said *fs.PathError
	if err != nil && !errors.As(err, &said) && !errors.Is(err, errStream) {
		err = &fs.PathError{Op: "create", Path: u.shown(name), Err: err}
	}
	return err
}

// errStream marks errors of the stream, not of the tree.
var errStream = errors.New("the archive is damaged")

// inside cleans the name of an entry.
func (u *unpacker) inside(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") || strings.Contains(clean, "\x00") {
		return "", fmt.Errorf("%q is outside of %q", name, u.shown(""))
	}
	return clean, nil
}

// folder opens a folder of the stream, and makes it if there is none. The
// descriptor is the unpacker's.
func (u *unpacker) folder(name string) (int, error) {
	if u.parent >= 0 && u.parentAt == name {
		return u.parent, nil
	}
	fd, err := u.root.open(path.Join(u.dir, name), unix.O_PATH|unix.O_DIRECTORY)
	if err == unix.ENOENT && name != "." {
		up, err := u.folder(path.Dir(name))
		if err != nil {
			return -1, err
		}
		if err := unix.Mkdirat(up, path.Base(name), 0o755); err != nil && err != unix.EEXIST {
			return -1, err
		}
		return u.openedFolder(name)
	}
	if err != nil {
		return -1, err
	}
	return u.remember(name, fd), nil
}

func (u *unpacker) openedFolder(name string) (int, error) {
	fd, err := u.root.open(path.Join(u.dir, name), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	return u.remember(name, fd), nil
}

func (u *unpacker) remember(name string, fd int) int {
	u.forget()
	u.parent, u.parentAt = fd, name
	return fd
}

func (u *unpacker) forget() {
	if u.parent >= 0 {
		unix.Close(u.parent)
		u.parent = -1
	}
}

// makeRoom removes what has the name of an entry that is to be made, unless
// one of the two is a folder.
func (u *unpacker) makeRoom(dir int, base, name string, folder bool) error {
	var st unix.Statx_t
	err := unix.Statx(dir, base, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return pathError("lstat", u.shown(name), err)
	}
	at, top := u.shown(name), u.shown("")
	switch isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR; {
	case isDir && folder:
		return nil
	case isDir:
		return fmt.Errorf("cannot overwrite directory %q with non-directory %q", at, top)
	case folder:
		return fmt.Errorf("cannot overwrite non-directory %q with directory %q", at, top)
	}
	err = unix.EBUSY
	// The kernel refuses to remove what is mounted on only in our own mount
	// namespace; in another one the mount would go, too.
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		err = unix.Unlinkat(dir, base, 0)
	}
	if err != nil && err != unix.ENOENT {
		return &fs.PathError{Op: "unlinkat", Path: at, Err: err}
	}
	return nil
}

func (u *unpacker) makeFolder(dir int, base, name string, h *tar.Header) error {
	err := unix.Mkdirat(dir, base, 0o700)
	old := err == unix.EEXIST
	if err != nil && !old {
		return err
	}
	fd, err := open(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := u.describe(fd, h, old); err != nil {
		return err
	}
	u.folders = append(u.folders, described{name, mtime(h)})
	return nil
}

func (u *unpacker) makeFile(dir int, base string, h *tar.Header, content io.Reader) error {
	fd, err := open(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		n, err := content.Read(u.buf)
		if werr := sys.WriteAll(fd, u.buf[:n]); werr != nil {
			return werr
		}
		u.done.Bytes += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errStream, err)
		}
	}
	if err := u.describe(fd, h, false); err != nil {
		return err
	}
	return futimens(fd, mtime(h))
}

// makeLink gives an entry made before one more name.
func (u *unpacker) makeLink(dir int, base string, h *tar.Header) error {
	target, err := u.inside(h.Linkname)
	if err != nil {
		return err
	}
	from, err := u.root.open(path.Join(u.dir, path.Dir(target)), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	return unix.Linkat(from, path.Base(target), dir, base, 0)
}

func (u *unpacker) makeNode(dir int, base string, h *tar.Header) error {
	kind, dev := uint32(unix.S_IFIFO), 0
	if h.Typeflag != tar.TypeFifo {
		if u.opt.Local && !u.opt.KeepOwners {
			u.done.Devices++
			return nil
		}
		if kind = unix.S_IFCHR; h.Typeflag == tar.TypeBlock {
			kind = unix.S_IFBLK
		}
		dev = int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	}
	err := unix.Mknodat(dir, base, kind|0o600, dev)
	if err == unix.EPERM && kind != unix.S_IFIFO {
		u.done.Devices++ // not for an ordinary account
		return nil
	}
	if err != nil {
		return err
	}
	fd, err := open(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != kind {
		return unix.EEXIST // somebody has put something else in its place
	}
	if err := u.describeName(dir, base, h); err != nil {
		return err
	}
	return unix.Chmod(procPath(fd), uint32(h.Mode)&0o777)
}

// owner returns to whom an entry will belong. Ok is false when it stays with
// who makes it.
func (u *unpacker) owner(h *tar.Header) (uid, gid int, ok bool) {
	if u.opt.KeepOwners {
		return h.Uid, h.Gid, true
	}
	return 0, 0, !u.opt.Local
}

// describe gives an open file or folder its attributes but for the times. A
// folder that was there keeps its owner, unless owners are kept.
func (u *unpacker) describe(fd int, h *tar.Header, old bool) error {
	uid, gid, ok := u.owner(h)
	if ok && (!old || u.opt.KeepOwners) {
		if err := unix.Fchown(fd, uid, gid); err != nil && !notOurs(err) {
			return err
		}
	}
	trusted := u.opt.KeepOwners || !u.opt.Local && h.Uid == 0
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok || !travels(name) || name == capability && !trusted || len(value) > maxXattr {
			continue
		}
		err := unix.Fsetxattr(fd, name, []byte(value), 0)
		if err != nil && !notOurs(err) && err != unix.EOPNOTSUPP {
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
	}
	mode := uint32(h.Mode) & 0o7777
	if !trusted && h.Typeflag != tar.TypeDir {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	return unix.Fchmod(fd, mode)
}

// notOurs reports whether an account was refused what only root may do, or what
// its user namespace cannot say.
func notOurs(err error) bool { return err == unix.EPERM || err == unix.EINVAL }

// describeName gives owner and times to what is not opened.
func (u *unpacker) describeName(dir int, base string, h *tar.Header) error {
	if uid, gid, ok := u.owner(h); ok {
		err := unix.Fchownat(dir, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil && !notOurs(err) {
			return err
		}
	}
	ts := mtime(h)
	return unix.UtimesNanoAt(dir, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// setTimes comes last, because every entry made in a folder changes its time.
func (u *unpacker) setTimes() {
	for i := len(u.folders) - 1; i >= 0; i-- {
		d := u.folders[i]
		// Gone or exchanged meanwhile: then its time is nobody's concern.
		fd, err := u.root.open(path.Join(u.dir, d.name), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err == nil {
			futimens(fd, d.mtime)
			unix.Close(fd)
		}
	}
}

func mtime(h *tar.Header) unix.Timespec {
	ts, err := unix.TimeToTimespec(h.ModTime)
	if err != nil {
		return unix.Timespec{}
	}
	return ts
}

// futimens sets the times of an open file.
func futimens(fd int, t unix.Timespec) error {
	ts := [2]unix.Timespec{t, t}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
