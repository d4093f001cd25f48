package layer

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Names of the extended attributes by which overlay knows what hides. Root's
// mounts read the first family, mounts in a user namespace the second.
const (
	trustedFamily = "trusted.overlay."
	userFamily    = "user.overlay."

	opaqueAttr   = "opaque"   // "y": hides the folder below; "x": see whiteoutAttr
	originAttr   = "origin"   // where a folder was copied up from
	whiteoutAttr = "whiteout" // on an empty file in an "x" folder (kernel 6.7)
)

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
	fd, err := u.tree.fd(dir)
	if err != nil {
		return err
	}
	if !u.noMknod {
		err = unix.Mknodat(fd, base, unix.S_IFCHR, 0)
		u.noMknod = err == unix.EPERM || err == unix.EOPNOTSUPP || err == unix.EINVAL
	}
	if u.noMknod {
		err = u.hideByXattr(fd, base)
	}
	switch err {
	case unix.EEXIST:
		if !dir.hidden[base] {
			dir.hide(base, false)
		}
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

// hideByXattr makes a whiteout where the kernel refuses the device node: an
// empty file with a mark. The mark on its folder is set at the end.
func (u *unpacker) hideByXattr(dir int, base string) error {
	fd, err := openat(dir, base, openNew, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fsetxattr(fd, u.family+whiteoutAttr, []byte("y"), 0)
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
		return u.setMark(fd, opaqueAttr, "y")
	}
	if !n.hasMarks() {
		return nil
	}
	// Without this the kernel lists the whiteouts of a folder that no
	// other layer has: it looks for them only in folders that were copied
	// up from somewhere, even if unknown where.
	if err := u.setMark(fd, originAttr, ""); err != nil || !u.noMknod {
		return err
	}
	return u.setMark(fd, opaqueAttr, "x")
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
		if err := unix.Unlinkat(fd, base, 0); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) setMark(fd int, attr, value string) error {
	if err := unix.Fsetxattr(fd, u.family+attr, []byte(value), 0); err != nil {
		return fmt.Errorf("cannot mark a folder as hiding what lies below; the data root needs a file system with extended attributes: %w", err)
	}
	return nil
}
