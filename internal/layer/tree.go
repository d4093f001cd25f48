package layer

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

const (
	// maxLinks is how many symbolic links one name may lead through, the
	// kernel's own limit.
	maxLinks = 40
	// keepOpen is how many folders stay open between entries. Streams list
	// a folder's entries one after the other, so few are enough.
	keepOpen = 48
)

// node is a folder or a symbolic link that an unpacking has made. The nodes
// are the map by which names are followed: no foreign name is ever handed to
// the kernel in more than one piece.
type node struct {
	parent *node
	name   string
	link   string // where a symbolic link points; empty for a folder
	kids   map[string]*node
	fd     int // -1 while closed
	depth  int
	full   string // its path, once it was asked for

	attrs  *attrs // what the stream says of it; nil for folders it only implies
	opaque bool

	// hidden has the names in it for which whiteouts came. True means that
	// a mark stands there, false that something else of that name does.
	hidden  map[string]bool
	leftOut map[string]bool  // devices that exist in the records only
	records map[string]Owner // of what lies in it; of the top itself under "."
}

func (n *node) path() string {
	if n.parent == nil {
		return "."
	}
	if n.full == "" {
		n.full = n.parent.join(n.name)
	}
	return n.full
}

// join returns the path of an entry of the folder n.
func (n *node) join(base string) string {
	if n.parent == nil {
		return base
	}
	return n.path() + "/" + base
}

// tree is a folder being filled.
type tree struct {
	root *node
	open []*node // the folders that are open, oldest first, without root
	made int     // folders that no entry asked for
}

func newTree(path string) (*tree, error) {
	fd, err := sys.OpenAt(unix.AT_FDCWD, path, openDir, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	return &tree{root: &node{fd: fd, kids: map[string]*node{}}}, nil
}

func (t *tree) close() {
	for _, n := range t.open {
		if n.fd >= 0 {
			unix.Close(n.fd)
			n.fd = -1
		}
	}
	t.open = nil
	unix.Close(t.root.fd)
}

// fd returns a descriptor of the folder n. It stays valid until keepOpen-1
// other folders have been asked for.
func (t *tree) fd(n *node) (int, error) {
	if n.fd >= 0 {
		return n.fd, nil
	}
	var closed []*node
	at := n
	for ; at.fd < 0; at = at.parent {
		closed = append(closed, at)
	}
	fd := at.fd
	for i := len(closed) - 1; i >= 0; i-- {
		next, err := sys.OpenAt(fd, closed[i].name, openPath|unix.O_DIRECTORY, 0)
		if fd != at.fd {
			unix.Close(fd)
		}
		if err != nil {
			return -1, err
		}
		fd = next
	}
	t.remember(n, fd)
	return fd, nil
}

func (t *tree) remember(n *node, fd int) {
	if len(t.open) >= keepOpen {
		if old := t.open[0]; old.fd >= 0 {
			unix.Close(old.fd)
			old.fd = -1
		}
		t.open = append(t.open[:0], t.open[1:]...)
	}
	n.fd = fd
	t.open = append(t.open, n)
}

// folder follows parts from the top of the tree. The unpacker u, if there is
// one, makes the folders that are missing and replaces what stands in their
// way.
func (t *tree) folder(parts []string, u *unpacker) (*node, error) {
	n, links := t.root, 0
	todo := parts
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		if part == ".." { // only out of a link
			if n.parent != nil {
				n = n.parent
			}
			continue
		}
		kid := n.kids[part]
		if kid == nil {
			if u == nil {
				return nil, unix.ENOENT
			}
			var err error
			if kid, err = u.makeFolder(n, part); err != nil {
				return nil, err
			}
			t.made++
		}
		if kid.link == "" {
			n = kid
			continue
		}
		if links++; links > maxLinks {
			return nil, unix.ELOOP
		}
		target, absolute := splitLink(kid.link)
		if absolute {
			n = t.root
		}
		todo = append(target, todo...)
		if len(todo) > maxName {
			return nil, errors.New("its name leads through too long a chain of links")
		}
	}
	return n, nil
}

// splitLink takes the target of a symbolic link apart and keeps "..".
func splitLink(link string) (parts []string, absolute bool) {
	for part := range strings.SplitSeq(link, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts, strings.HasPrefix(link, "/")
}
