package layer

import (
	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// impliedMode is the mode of folders that no entry describes, as in Docker.
const impliedMode = 0o755

// finish gives all folders their attributes, the deepest first: a folder that
// has its own may be closed to whoever still works in it.
func (u *unpacker) finish() error {
	if err := u.settleLinks(); err != nil {
		return err
	}
	return u.finishFolder(u.tree.root, u.tree.root.fd, false)
}

// finishNames leaves a note at the top if things hide by names, which is known
// only when all other folders are done.
func (u *unpacker) finishNames(n *node, fd int) error {
	if n.parent != nil || !u.byName {
		return nil
	}
	return makeEmpty(fd, byNameFile)
}

func (u *unpacker) finishFolder(n *node, fd int, covered bool) error {
	for _, kid := range n.kids {
		if kid.link != "" {
			continue
		}
		if err := u.ctx.Err(); err != nil {
			return err
		}
		kidFd, err := sys.OpenAt(fd, kid.name, openDir, 0)
		if err == nil {
			err = u.finishFolder(kid, kidFd, covered || n.opaque)
			unix.Close(kidFd)
		}
		if err != nil {
			return entryErrorOf(kid, err)
		}
	}
	if err := u.markFolder(n, fd, covered); err != nil {
		return err
	}
	if err := u.finishNames(n, fd); err != nil {
		return err
	}
	if n.attrs == nil {
		return unix.Fchmod(fd, impliedMode)
	}
	t, err := u.describeFd(fd, n.attrs, unix.S_IFDIR, 0o700)
	if err != nil || !t.needed {
		return err
	}
	if n.parent == nil {
		return u.records.set(n, ".", t.Owner)
	}
	return u.records.set(n.parent, n.name, t.Owner)
}

// entryErrorOf names the folder at fault once, however deep it lies.
func entryErrorOf(n *node, err error) error {
	if _, ok := err.(*EntryError); ok {
		return err
	}
	return &EntryError{Name: n.path(), Cause: err}
}
