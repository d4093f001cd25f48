package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"berth/internal/tarhead"
)

const (
	xattrRecord = tarhead.XattrRecord
	maxXattr    = 64 << 10 // the kernel takes no larger value
)

// attrs is what a stream says of an entry besides its name and content.
type attrs struct {
	mode     uint32 // permissions, set-ID and sticky bits
	uid, gid uint32
	mtime    unix.Timespec
	xattrs   map[string]string
}

func attrsOf(h *tar.Header) (*attrs, error) {
	const maxID = 1<<32 - 2 // the last one means "none" to the kernel
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > maxID || int64(h.Gid) > maxID {
		return nil, fmt.Errorf("it belongs to %d:%d, which is out of range", h.Uid, h.Gid)
	}
	a := &attrs{mode: uint32(h.Mode) & 0o7777, uid: uint32(h.Uid), gid: uint32(h.Gid)}
	var err error
	if a.mtime, err = unix.TimeToTimespec(h.ModTime); err != nil {
		a.mtime = unix.Timespec{}
	}
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, xattrRecord)
		if !ok || !keepsXattr(name) {
			continue
		}
		if len(v) > maxXattr {
			return nil, fmt.Errorf("its extended attribute %s has %d bytes, more than the kernel takes", name, len(v))
		}
		if a.xattrs == nil {
			a.xattrs = map[string]string{}
		}
		a.xattrs[name] = v
	}
	return a, nil
}

// keepsXattr reports whether an image may set an extended attribute. Those
// that instruct the kernel's overlay and labels of the machine's own security
// policy are not an image's to say.
func keepsXattr(name string) bool {
	switch {
	case strings.HasPrefix(name, "user.overlay."):
		return false
	case strings.HasPrefix(name, "user."):
		return len(name) > len("user.") && !strings.Contains(name, "\x00")
	}
	return name == "security.capability"
}

// recorder guards the records of all nodes and bounds what they hold.
type recorder struct {
	mu    sync.Mutex
	bytes int
}

func (r *recorder) set(n *node, base string, o Owner) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes += o.bytes() + len(base); r.bytes > maxOwnersBytes {
		return errors.New("layer says too much about the owners and attributes of its files")
	}
	if n.records == nil {
		n.records = map[string]Owner{}
	}
	n.records[base] = o
	return nil
}

func (r *recorder) forget(n *node, base string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(n.records, base)
}

// collectOwners gathers what is recorded of n and everything below it.
func (n *node) collectOwners(into Owners) {
	for base, o := range n.records {
		into[n.join(base)] = o
	}
	for _, kid := range n.kids {
		kid.collectOwners(into)
	}
}

// truth collects what is said of an entry and cannot be kept in the tree.
type truth struct {
	Owner
	needed bool
}

func (u *unpacker) truthOf(a *attrs) truth {
	return truth{Owner: Owner{UID: a.uid, GID: a.gid}, needed: u.rootless && (a.uid != 0 || a.gid != 0)}
}

// owned reports whether new files belong to whom a says without further ado.
func (u *unpacker) owned(a *attrs) bool {
	return u.rootless || a.uid == 0 && int64(a.gid) == int64(u.gid)
}

// chownFailed decides what an error of chown(2) means. Root without power
// over the owner (inside a user namespace) is no worse than rootless.
func (t *truth) chownFailed(err error) error {
	if err == unix.EPERM || err == unix.EINVAL {
		t.needed = true
		return nil
	}
	return err
}

// describeFd gives an open file or folder its attributes, as far as the tree
// can hold them. Kind is the type in the sense of st_mode; created is the mode
// it was made with. The times come last, because the rest changes them.
func (u *unpacker) describeFd(fd int, a *attrs, kind, created uint32) (truth, error) {
	t := u.truthOf(a)
	if !u.owned(a) {
		if err := unix.Fchown(fd, int(a.uid), int(a.gid)); err != nil {
			if err := t.chownFailed(err); err != nil {
				return t, fmt.Errorf("cannot change its owner: %w", err)
			}
		}
	}
	for name, value := range a.xattrs {
		if err := u.setXattr(&t, fd, name, value); err != nil {
			return t, err
		}
	}
	mode := u.treeMode(a.mode, kind)
	if mode != a.mode {
		t.Mode, t.needed = kind|a.mode, true
	}
	// Changing the owner clears the set-ID bits, so they are set anew.
	if mode != created&^u.umask || mode&0o7000 != 0 {
		if err := unix.Fchmod(fd, mode); err != nil {
			return t, fmt.Errorf("cannot change its mode: %w", err)
		}
	}
	if err := futimens(fd, a.mtime); err != nil {
		return t, fmt.Errorf("cannot change its times: %w", err)
	}
	return t, nil
}

// treeMode is the mode an entry gets in the tree. An account that is not root
// must be able to read its own layers.
func (u *unpacker) treeMode(mode, kind uint32) uint32 {
	if !u.rootless {
		return mode
	}
	if kind == unix.S_IFDIR {
		return mode | 0o500
	}
	return mode | 0o400
}

func (u *unpacker) setXattr(t *truth, fd int, name, value string) error {
	err := unix.EPERM
	if !u.rootless || strings.HasPrefix(name, "user.") {
		err, _ = unix.Fsetxattr(fd, name, []byte(value), 0).(unix.Errno)
	}
	switch err {
	case 0:
		return nil
	case unix.EPERM, unix.EOPNOTSUPP:
		if t.Xattrs == nil {
			t.Xattrs = map[string][]byte{}
		}
		t.Xattrs[name] = []byte(value)
		t.needed = true
		return nil
	}
	return fmt.Errorf("its extended attribute %s (%d bytes) cannot be kept: %w", name, len(value), err)
}
