package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// clear removes what this layer has made so far under a name that comes
// again.
func (u *unpacker) clear(dir *node, base string) error {
	u.writers.idle() // nobody may still be writing records about it
	if err := u.settleLinks(); err != nil {
		return err
	}
	fd, err := u.tree.fd(dir)
	if err != nil {
		return err
	}
	if err := u.remove(dir, fd, base); err != nil {
		return fmt.Errorf("cannot replace an earlier entry of that name: %w", err)
	}
	if kid := dir.kids[base]; kid != nil {
		delete(dir.kids, base)
		u.lastNode = nil // it may have been, or have led through, what is gone
		if kid.opaque {
			dir.hide(base, false)
		}
	}
	if dir.hidden[base] {
		dir.hidden[base] = false
	}
	u.records.forget(dir, base)
	return nil
}

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
	return u.recipe.MoveAway(dir.join(base), fd, base)
}

// once calls do with a descriptor of dir; if that finds the name taken, the
// name is cleared and do called again.
func (u *unpacker) once(dir *node, base string, do func(fd int) error) error {
	fd, err := u.tree.fd(dir)
	if err != nil {
		return err
	}
	if u.byName && dir.hidden[base] {
		if err := dir.unhide(fd, base); err != nil {
			return err
		}
	}
	if dir.leftOut[base] {
		delete(dir.leftOut, base)
		u.writers.idle()
		u.records.forget(dir, base)
	}
	if err := do(fd); err != unix.EEXIST {
		return err
	}
	if err := u.clear(dir, base); err != nil {
		return err
	}
	if fd, err = u.tree.fd(dir); err != nil {
		return err
	}
	return do(fd)
}

// makeFolder returns the folder base of dir and makes it when there is none.
// Anything else of that name is replaced. It stays open to its owner only
// until the end of the unpacking.
func (u *unpacker) makeFolder(dir *node, base string) (*node, error) {
	if kid := dir.kids[base]; kid != nil && kid.link == "" {
		return kid, nil
	}
	if dir.depth >= maxDepth {
		return nil, errDepth
	}
	err := u.once(dir, base, func(fd int) error { return unix.Mkdirat(fd, base, 0o700) })
	if err != nil {
		return nil, err
	}
	// A folder in the place of a whiteout hides the folder below it, whose
	// contents the kernel would otherwise show in it.
	_, hidden := dir.hidden[base]
	kid := &node{parent: dir, name: base, fd: -1, depth: dir.depth + 1, opaque: hidden}
	dir.addKid(kid)
	return kid, nil
}

func (n *node) addKid(kid *node) {
	if n.kids == nil {
		n.kids = map[string]*node{}
	}
	n.kids[kid.name] = kid
}

// describe notes what the stream says of a folder. It is carried out at the
// end, because every entry made in the folder would change its time.
func (u *unpacker) describe(n *node, h *tar.Header) (err error) {
	n.attrs, err = attrsOf(h)
	return err
}

func (u *unpacker) makeFile(dir *node, base string, h *tar.Header, t *tarReader) error {
	a, err := attrsOf(h)
	if err != nil {
		return err
	}
	if t.sparse != nil && h.Size > maxSparse {
		return fmt.Errorf("it has holes that make it %d bytes large", h.Size)
	}
	fd := -1
	err = u.once(dir, base, func(d int) (err error) {
		fd, err = sys.OpenAt(d, base, openNew, u.treeMode(a.mode, unix.S_IFREG)&0o777)
		return err
	})
	if err != nil {
		return err
	}
	u.size += h.Size
	j := job{fd: fd, dir: dir, base: base, name: h.Name, attrs: a}
	if t.sparse == nil {
		u.recipe.Content(dir.join(base), h.Size)
	}
	if h.Size > smallFile {
		if t.sparse != nil {
			err = u.writeSparse(fd, h.Size, t.sparse)
		} else {
			err = u.writeLarge(fd, t)
		}
		if err == nil {
			err = u.finishFile(j)
		}
		if e := unix.Close(fd); err == nil {
			err = e
		}
		return err
	}
	if err := u.fillJob(&j, h.Size, t); err != nil {
		unix.Close(fd)
		return err
	}
	u.writers.put(j)
	return nil
}

// fillJob gives a writer the content of a small file: where it lies, if that
// is in one piece.
func (u *unpacker) fillJob(j *job, size int64, t *tarReader) error {
	if size == 0 {
		return nil
	}
	if t.sparse == nil {
		b, err := t.take()
		if err != nil {
			return &readError{err}
		}
		if int64(len(b)) == size {
			j.buf, j.chunk = b, t.s.hold()
			return nil
		}
		j.own = u.writers.buffer()
		for n := copy(j.own, b); int64(n) < size; n += copy(j.own[n:], b) {
			if b, err = t.take(); err != nil {
				return &readError{err}
			}
		}
	} else {
		j.own = u.writers.buffer()
		if _, err := io.ReadFull(t.sparse, j.own[:size]); err != nil {
			return &readError{unexpected(err)}
		}
	}
	j.buf = j.own[:size]
	return nil
}

// maxSparse bounds what a file with holes may claim to be: a few bytes of a
// stream can stand for any number of zeros.
const maxSparse = 1 << 40

// writeLarge writes a large file as its content comes.
func (u *unpacker) writeLarge(fd int, t *tarReader) error {
	for t.left > 0 {
		b, err := t.take()
		if err == nil {
			err = u.ctx.Err()
		}
		if err != nil {
			return &readError{err}
		}
		if err := sys.WriteAll(fd, b); err != nil {
			return err
		}
	}
	return nil
}

// writeSparse writes a large file and leaves out zeros.
func (u *unpacker) writeSparse(fd int, size int64, content io.Reader) error {
	if u.large == nil {
		u.large = make([]byte, chunkSize)
	}
	for at := int64(0); at < size; {
		if err := u.ctx.Err(); err != nil {
			return &readError{err}
		}
		b := u.large[:min(size-at, int64(len(u.large)))]
		if _, err := io.ReadFull(content, b); err != nil {
			return &readError{unexpected(err)}
		}
		var err error
		if sys.AllZero(b) {
			_, err = unix.Seek(fd, int64(len(b)), io.SeekCurrent)
		} else {
			err = sys.WriteAll(fd, b)
		}
		if err != nil {
			return err
		}
		at += int64(len(b))
	}
	return unix.Ftruncate(fd, size)
}

// unexpected says that a stream that ends inside an entry ends too early.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// finishFile gives a written file its attributes. Writers call it, too.
func (u *unpacker) finishFile(j job) error {
	created := u.treeMode(j.attrs.mode, unix.S_IFREG) & 0o777
	t, err := u.describeFd(j.fd, j.attrs, unix.S_IFREG, created)
	if err != nil || !t.needed {
		return err
	}
	return u.records.set(j.dir, j.base, t.Owner)
}

func (u *unpacker) makeSymlink(dir *node, base string, h *tar.Header) error {
	a, err := attrsOf(h)
	if err != nil {
		return err
	}
	if h.Linkname == "" {
		return errors.New("it is a symbolic link to nothing")
	}
	err = u.once(dir, base, func(fd int) error { return unix.Symlinkat(h.Linkname, fd, base) })
	if err != nil {
		return err
	}
	dir.addKid(&node{parent: dir, name: base, link: h.Linkname, fd: -1})
	return u.describeName(dir, base, a, truth{})
}

// describeName gives owner and times to an entry that is not opened: links,
// devices, pipes. More is a part of the truth that is known already.
func (u *unpacker) describeName(dir *node, base string, a *attrs, more truth) error {
	fd, err := u.tree.fd(dir)
	if err != nil {
		return err
	}
	t := u.truthOf(a)
	t.Mode, t.needed = more.Mode, t.needed || more.needed
	if !u.owned(a) {
		err := unix.Fchownat(fd, base, int(a.uid), int(a.gid), unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			if err := t.chownFailed(err); err != nil {
				return fmt.Errorf("cannot change its owner: %w", err)
			}
		}
	}
	if err := utimens(fd, base, a.mtime); err != nil {
		return fmt.Errorf("cannot change its times: %w", err)
	}
	if !t.needed {
		return nil
	}
	return u.records.set(dir, base, t.Owner)
}

// makeLink makes a hard link to an earlier entry of the same layer. A link to
// a symbolic link is one more name of that, whatever it points to.
func (u *unpacker) makeLink(dir *node, base string, h *tar.Header) error {
	parts, err := splitName(h.Linkname, nil)
	if err == nil && len(parts) == 0 {
		err = errors.New("the top of a layer cannot be linked to")
	}
	if err != nil {
		return fmt.Errorf("its target %q is not valid: %w", h.Linkname, err)
	}
	noTarget := fmt.Errorf("its target %q is not in this layer", h.Linkname)
	from, err := u.tree.folder(parts[:len(parts)-1], nil)
	if err != nil {
		return noTarget
	}
	target := parts[len(parts)-1]
	if kid := from.kids[target]; from.hidden[target] || kid != nil && kid.link == "" {
		return noTarget
	}
	if from == dir && target == base {
		return nil
	}
	if from.leftOut[target] {
		u.writers.idle() // nobody may be writing records
		return u.recordDevice(dir, base, from.records[target])
	}
	err = u.once(dir, base, func(fd int) error {
		// Opening one folder may close the other, but not at once.
		fromFd, err := u.tree.fd(from)
		if err != nil {
			return err
		}
		return unix.Linkat(fromFd, target, fd, base, 0)
	})
	if err == unix.ENOENT {
		return noTarget
	}
	if err != nil {
		return err
	}
	if kid := from.kids[target]; kid != nil {
		dir.addKid(&node{parent: dir, name: base, link: kid.link, fd: -1})
	}
	if u.rootless {
		u.links = append(u.links, alias{from, dir, target, base})
	}
	return nil
}

// alias is a hard link, which shares what is recorded of its target.
type alias struct {
	from, dir    *node
	target, base string
}

// settleLinks copies the records of the targets of links so far. Nobody may be
// writing records.
func (u *unpacker) settleLinks() error {
	for _, l := range u.links {
		o, ok := l.from.records[l.target]
		if !ok {
			continue
		}
		if err := u.records.set(l.dir, l.base, o); err != nil {
			return err
		}
	}
	u.links = u.links[:0]
	return nil
}

func (u *unpacker) makeDevice(dir *node, base string, h *tar.Header) error {
	a, err := attrsOf(h)
	if err != nil {
		return err
	}
	kind, name := uint32(unix.S_IFIFO), ""
	switch h.Typeflag {
	case tar.TypeChar:
		kind, name = unix.S_IFCHR, "c"
	case tar.TypeBlock:
		kind, name = unix.S_IFBLK, "b"
	}
	if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor > 1<<12-1 || h.Devminor > 1<<20-1 {
		return fmt.Errorf("its device number %d:%d is out of range", h.Devmajor, h.Devminor)
	}
	major, minor := uint32(h.Devmajor), uint32(h.Devminor)
	if name == "c" && major == 0 && minor == 0 {
		// A layer taken straight from an overlay's folder has its
		// whiteouts in this form.
		return u.hide(dir, base)
	}
	dev := 0
	if name != "" {
		dev = int(unix.Mkdev(major, minor))
	}
	err = unix.EPERM
	if name == "" || !u.rootless {
		err = u.once(dir, base, func(fd int) error { return unix.Mknodat(fd, base, kind|0o600, dev) })
	}
	if err == unix.EPERM && name != "" {
		return u.leaveOut(dir, base, a, Owner{Mode: kind | a.mode, Kind: name, Major: major, Minor: minor})
	}
	if err != nil {
		return err
	}
	fd, err := u.tree.fd(dir)
	if err != nil {
		return err
	}
	// What was just made is no link, so this follows none.
	if err := unix.Fchmodat(fd, base, u.treeMode(a.mode, kind), 0); err != nil {
		return fmt.Errorf("cannot change its mode: %w", err)
	}
	var t truth
	if u.treeMode(a.mode, kind) != a.mode {
		t.Mode, t.needed = kind|a.mode, true
	}
	return u.describeName(dir, base, a, t)
}

// leaveOut records a device node that this account cannot make.
func (u *unpacker) leaveOut(dir *node, base string, a *attrs, o Owner) error {
	o.UID, o.GID = a.uid, a.gid
	return u.recordDevice(dir, base, o)
}

func (u *unpacker) recordDevice(dir *node, base string, o Owner) error {
	if err := u.clear(dir, base); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if dir.leftOut == nil {
		dir.leftOut = map[string]bool{}
	}
	dir.leftOut[base] = true
	return u.records.set(dir, base, o)
}
