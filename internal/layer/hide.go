package layer

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// Names of the extended attributes by which overlay knows what hides. Root's
// mounts read the first family, mounts in a user namespace the second.
const (
	trustedFamily = "trusted.overlay."
	userFamily    = "user.overlay."

	opaqueAttr = "opaque" // "y": hides the folder below
	originAttr = "origin" // where a folder was copied up from
)

// byNameFile at the top of a tree says that in it things hide by names, as in
// the stream: the file system has no extended attributes or the kernel (before
// 5.8) refuses the device nodes. The view understands that, overlay does not.
const byNameFile = ".wh..wh..names"

// UserXattr reports whether overlay mounts of this process must be given the
// option userxattr, and so which family its layers and containers have: the
// other one belongs to root of the machine, not of a user namespace.
func UserXattr() bool {
	if os.Geteuid() != 0 {
		return true
	}
	// The namespace the machine starts with maps all ids to themselves.
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
}

func family(user bool) string {
	if user {
		return userFamily
	}
	return trustedFamily
}

// makeOpaque makes a folder hide all that lies below it in other layers.
func (u *unpacker) makeOpaque(n *node) error {
	n.opaque = true
	return nil
}

// hide makes a name of the folder dir hide what it means in layers below. It
// does not touch what this layer itself has under that name: a file hides the
// one below anyway, and a folder becomes opaque.
func (u *unpacker) hide(dir *node, base string) error {
	if kid := dir.kids[base]; kid != nil {
		if kid.link == "" {
			return u.makeOpaque(kid)
		}
		dir.hide(base, false)
		return nil
	}
	if dir.hidden[base] {
		return nil
	}
	fd, err := u.tree.fd(dir)
	if err != nil {
		return err
	}
	if !u.byName {
		err = unix.Mknodat(fd, base, unix.S_IFCHR, 0)
		u.byName = err == unix.EPERM || err == unix.EOPNOTSUPP || err == unix.EINVAL
	}
	if u.byName {
		err = u.hideByName(fd, base)
	}
	switch err {
	case unix.EEXIST:
		dir.hide(base, false)
		return nil
	case nil:
		dir.hide(base, true)
		return nil
	}
	return fmt.Errorf("cannot make a whiteout: %w", err)
}

func (n *node) hide(base string, mark bool) {
	if n.hidden == nil {
		n.hidden = map[string]bool{}
	}
	n.hidden[base] = mark
}

// hideByName makes a whiteout in the form of a name, unless there is something
// to hide what lies below anyway.
func (u *unpacker) hideByName(dir int, base string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != unix.ENOENT {
		if err == nil {
			err = unix.EEXIST
		}
		return err
	}
	return makeEmpty(dir, whiteoutPrefix+base)
}

func makeEmpty(dir int, name string) error {
	fd, err := sys.OpenAt(dir, name, openNew, 0o600)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// unhide removes the mark that hides base, in whichever form it is.
func (n *node) unhide(fd int, base string) error {
	n.hidden[base] = false
	err := unix.Unlinkat(fd, whiteoutPrefix+base, 0)
	if err == unix.ENOENT || err == unix.ENAMETOOLONG {
		err = unix.Unlinkat(fd, base, 0)
	}
	return err
}

// markFolder writes on an open folder how it hides. Covered tells that a
// folder around it hides everything below already.
func (u *unpacker) markFolder(n *node, fd int, covered bool) error {
	if covered || n.opaque {
		// Nothing below shows here, so single whiteouts have nothing to
		// do; the kernel would even list some of them.
		if err := n.removeMarks(fd); err != nil {
			return err
		}
		if covered {
			return nil
		}
		return u.markOpaque(fd)
	}
	if !n.hasMarks() {
		return nil
	}
	// Without this the kernel lists the whiteouts of a folder that no
	// other layer has: it looks for them only in folders that were copied
	// up from somewhere, even if unknown where. Where attributes cannot be
	// kept there is no overlay either.
	err := unix.Fsetxattr(fd, u.family+originAttr, nil, 0)
	if err == unix.EOPNOTSUPP {
		return nil
	}
	return err
}

// markOpaque makes an open folder hide what lies below.
func (u *unpacker) markOpaque(fd int) error {
	err := error(unix.EOPNOTSUPP)
	if !u.byName {
		err = unix.Fsetxattr(fd, u.family+opaqueAttr, []byte("y"), 0)
	}
	if err == unix.EOPNOTSUPP {
		u.byName = true
		err = makeEmpty(fd, opaqueName)
	}
	if err != nil {
		return fmt.Errorf("cannot mark a folder as hiding what lies below: %w", err)
	}
	return nil
}

func (n *node) hasMarks() bool {
	for _, mark := range n.hidden {
		if mark {
			return true
		}
	}
	return false
}

func (n *node) removeMarks(fd int) error {
	for base, mark := range n.hidden {
		if !mark {
			continue
		}
		if err := n.unhide(fd, base); err != nil {
			return err
		}
	}
	return nil
}
