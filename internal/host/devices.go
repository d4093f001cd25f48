package host

import (
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Node is a device node of the machine.
type Node struct {
	Path         string
	Type         string // b or c
	Major, Minor int64
}

// NodeAt returns the node at a path, if there is one. A link is none.
func NodeAt(path string) (Node, bool) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return Node{}, false
	}
	n := Node{Path: path, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev))}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		n.Type = "c"
	case unix.S_IFBLK:
		n.Type = "b"
	default:
		return Node{}, false
	}
	return n, true
}

// Nodes returns the node at a path, or all nodes below a folder.
func Nodes(path string) ([]Node, error) {
	var out []Node
	err := filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if n, ok := NodeAt(p); ok {
			out = append(out, n)
		}
		return nil
	})
	return out, err
}

// AllNodes lists the nodes below /dev that this account can see, without the
// terminals and the file systems that every container has of its own.
func AllNodes() ([]Node, error) {
	var out []Node
	err := filepath.WalkDir("/dev", func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		switch p {
		case "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/.lxc", "/dev/.lxd-mounts":
			if d.IsDir() { // else this would leave out the rest of /dev
				return fs.SkipDir
			}
		}
		if n, ok := NodeAt(p); ok {
			out = append(out, n)
		}
		return nil
	})
	return out, err
}
