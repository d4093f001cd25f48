package transfer

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Layout says what the tree of a container that does not run is made of. Its
// paths are relative to the container's folder, so that many layers fit into the
// page that mount(2) reads.
type Layout struct {
	Base      string   `json:"base"`  // the container's folder
	Target    string   `json:"root"`  // where the tree is mounted, or lies if it was copied
	Lower     []string `json:"lower"` // layers, top first; none for a copied tree
	Upper     string   `json:"upper"`
	Work      string   `json:"work"`
	UserXattr bool     `json:"userXattr"` // the option of overlay in a user namespace
	Mounts    []Mount  `json:"mounts"`    // sorted by destination
	ReadOnly  bool     `json:"readOnly"`
}

// Mount is something of ours that the container sees in its tree.
type Mount struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	ReadOnly    bool   `json:"readOnly"`
	File        bool   `json:"file"` // no folder
}

func (l *Layout) volumes() []string {
	var out []string
	for _, m := range l.Mounts {
		out = append(out, m.Destination)
	}
	return out
}

// pageLimit is what mount(2) takes as options: one page with its final NUL.
const pageLimit = 4095

// mount puts the tree together in the mount namespace of this process, which
// must be its own.
func (l *Layout) mount() (*Root, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("cannot make mounts private: %w", err)
	}
	if err := unix.Chdir(l.Base); err != nil {
		return nil, err
	}
	if err := l.mountTree(); err != nil {
		return nil, fmt.Errorf("cannot mount the layers of the container: %w", err)
	}
	fd, err := open(unix.AT_FDCWD, l.Target, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	r := NewRoot(fd, l.volumes())
	for _, m := range l.Mounts {
		if err := r.attach(m); err != nil {
			return nil, fmt.Errorf("cannot mount %s at %s: %w", m.Source, m.Destination, err)
		}
	}
	if l.ReadOnly {
		err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	return r, err
}

func (l *Layout) mountTree() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if len(l.Lower) == 0 {
		// A mount of its own, for the volumes to hang on.
		return unix.Mount(l.Target, l.Target, "", unix.MS_BIND, "")
	}
	opts := "lowerdir=" + strings.Join(l.Lower, ":") + ",upperdir=" + l.Upper + ",workdir=" + l.Work
	if l.UserXattr {
		opts += ",userxattr"
	} else {
		opts += ",redirect_dir=off,metacopy=off"
	}
	if len(opts) > pageLimit {
		return fmt.Errorf("the image has %d layers, more than the kernel takes", len(l.Lower))
	}
	return unix.Mount("overlay", l.Target, "overlay", flags, opts)
}

// attach mounts something of ours in the tree, at a place that is found inside
// of it and is made when it is missing, as a start would.
func (r *Root) attach(m Mount) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if m.ReadOnly {
		err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
		if err != nil {
			return err
		}
	}
	at, err := r.open(m.Destination, unix.O_PATH)
	if err == unix.ENOENT {
		if err = r.place(m); err == nil {
			at, err = r.open(m.Destination, unix.O_PATH)
		}
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// place makes the folder, or the empty file, that is mounted on.
func (r *Root) place(m Mount) error {
	u := &unpacker{root: r, dir: "/", parent: -1}
	defer u.forget()
	dest := strings.TrimPrefix(path.Clean(m.Destination), "/")
	if !m.File {
		_, err := u.folder(dest)
		return err
	}
	dir, err := u.folder(path.Dir(dest))
	if err != nil {
		return err
	}
	err = unix.Mknodat(dir, path.Base(dest), unix.S_IFREG|0o644, 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}
