package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// View shows a stack of layers, and the folder a container writes to on top
// of them, as the one tree that the container sees. It mounts nothing, so it
// serves processes that may not mount, and it follows links as the container
// would: inside the view, one step at a time, by descriptor. A container that
// changes its files meanwhile can only confuse itself.
type View struct {
	root  []part
	trees []string // of the layers that are open
}

// ownLayer stands for what lies above all layers: a container's own files.
const ownLayer = -1

// part is the share that one layer has in a folder of the view.
type part struct {
	fd       int // of the folder, opened with O_PATH
	families []string
	byName   bool // a layer in which things hide by names
	layer    int  // place in View.trees, or ownLayer
}

// entry is one name of the view.
type entry struct {
	fd    int // opened with O_PATH; the topmost of a folder's
	st    unix.Stat_t
	parts []part // of a folder, top first; parts[0].fd is fd
	layer int    // where it lies, a folder's topmost share; see part
}

func (e *entry) isDir() bool     { return e.st.Mode&unix.S_IFMT == unix.S_IFDIR }
func (e *entry) isSymlink() bool { return e.st.Mode&unix.S_IFMT == unix.S_IFLNK }
func (e *entry) isRegular() bool { return e.st.Mode&unix.S_IFMT == unix.S_IFREG }
func (e *entry) isDevice() bool {
	k := e.st.Mode & unix.S_IFMT
	return k == unix.S_IFCHR || k == unix.S_IFBLK
}

func (e *entry) close() {
	if e.parts == nil {
		unix.Close(e.fd)
	}
	closeParts(e.parts)
}

func closeParts(parts []part) {
	for _, p := range parts {
		unix.Close(p.fd)
	}
}

// NewView opens the view of the folder upper, empty for none, over layer
// trees listed top first, as [Set.Stack] returns them.
func NewView(upper string, trees []string) (*View, error) {
	v := &View{}
	add := func(path string, families []string, layer int) error {
		fd, err := sys.OpenAt(unix.AT_FDCWD, path, openPath|unix.O_DIRECTORY, 0)
		if err != nil {
			return fmt.Errorf("cannot open layer %s: %w", path, err)
		}
		v.root = append(v.root, part{fd: fd, families: families, layer: layer})
		return nil
	}
	if upper != "" {
		if err := add(upper, []string{family(UserXattr())}, ownLayer); err != nil {
			return nil, err
		}
	}
	families := layerFamilies()
	for _, t := range trees {
		if err := add(t, families, len(v.trees)); err != nil {
			v.Close()
			return nil, err
		}
		v.trees = append(v.trees, t)
		top := &v.root[len(v.root)-1]
		top.byName = top.has(byNameFile)
		if top.opaque() {
			break
		}
	}
	if len(v.root) == 0 {
		return nil, errors.New("a view needs at least one layer")
	}
	return v, nil
}

// Close closes the view.
func (v *View) Close() {
	closeParts(v.root)
	v.root = nil
}

// layerFamilies returns whose attributes count in layers. They were made by
// berth, which lets no image set them, so both do. What a container writes to
// is another matter: it can set those of users on its own files, and under
// root's overlay the kernel does not heed them.
func layerFamilies() []string {
	if os.Geteuid() != 0 {
		return []string{userFamily} // the others cannot be read
	}
	return []string{trustedFamily, userFamily}
}

// opaque reports whether a folder's share hides the shares below.
func (p part) opaque() bool {
	var b [8]byte
	for _, f := range p.families {
		n, err := unix.Getxattr(procPath(p.fd), f+opaqueAttr, b[:])
		if err == nil && n > 0 {
			return b[0] == 'y'
		}
	}
	return p.byName && p.has(opaqueName)
}

// has reports whether the folder has an entry of that name.
func (p part) has(name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(p.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// open opens an entry of the folder. What only hides something does not count
// as an entry; then hides tells whether it hides this name.
func (p part) open(name string) (fd int, st unix.Stat_t, hides bool, err error) {
	if p.byName && strings.HasPrefix(name, whiteoutPrefix) {
		return -1, st, false, unix.ENOENT
	}
	fd, err = sys.OpenAt(p.fd, name, openPath, 0)
	if err == unix.ENOENT {
		return -1, st, p.byName && p.has(whiteoutPrefix+name), err
	}
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err == nil && isWhiteout(&st) {
		hides, err = true, unix.ENOENT
	}
	if err != nil && fd >= 0 {
		unix.Close(fd)
	}
	return fd, st, hides, err
}

// step looks up one name in a folder of the view.
func step(folder []part, name string) (*entry, error) {
	var e *entry
	for i, p := range folder {
		fd, st, hides, err := p.open(name)
		if err == unix.ENOENT {
			if hides {
				break
			}
			continue
		}
		if err != nil {
			if e != nil {
				e.close()
			}
			return nil, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if e == nil {
				return &entry{fd: fd, st: st, layer: p.layer}, nil
			}
			unix.Close(fd) // the folder above hides it
			break
		}
		if e == nil {
			e = &entry{fd: fd, st: st, layer: p.layer}
		}
		share := part{fd: fd, families: p.families, byName: p.byName, layer: p.layer}
		e.parts = append(e.parts, share)
		if i < len(folder)-1 && share.opaque() {
			break
		}
	}
	if e == nil {
		return nil, unix.ENOENT
	}
	return e, nil
}

// walker is a path being followed. The folders on the way stay open, because
// ".." leads back through them.
type walker struct {
	view  *View
	trail []*entry // below the root
	names []string // of trail
	links int
}

func (w *walker) here() []part {
	if len(w.trail) == 0 {
		return w.view.root
	}
	return w.trail[len(w.trail)-1].parts
}

func (w *walker) close() { w.up(len(w.trail)) }

func (w *walker) up(n int) {
	for ; n > 0 && len(w.trail) > 0; n-- {
		w.trail[len(w.trail)-1].close()
		w.trail = w.trail[:len(w.trail)-1]
		w.names = w.names[:len(w.names)-1]
	}
}

// follow walks the path. It returns nil for the root of the view, else an
// entry that the caller closes. Follow tells whether a link at the end counts
// as what it points to.
func (w *walker) follow(path string, follow bool) (*entry, error) {
	todo, _ := splitLink(path)
	mustDir := strings.HasSuffix(path, "/")
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			w.up(1)
			continue
		}
		e, err := step(w.here(), name)
		if err != nil {
			return nil, err
		}
		last := len(todo) == 0
		switch {
		case e.isSymlink() && (!last || follow || mustDir):
			target, err := readlink(e.fd)
			e.close()
			if err != nil {
				return nil, err
			}
			if w.links++; w.links > maxLinks || len(todo) > maxName {
				return nil, unix.ELOOP
			}
			parts, absolute := splitLink(target)
			if absolute {
				w.close()
			}
			todo = append(parts, todo...)
		case e.isDir():
			w.trail = append(w.trail, e)
			w.names = append(w.names, name)
		case last && !mustDir:
			w.names = append(w.names, name)
			return e, nil
		default:
			e.close()
			return nil, unix.ENOTDIR
		}
	}
	if len(w.trail) == 0 {
		return nil, nil
	}
	e := w.trail[len(w.trail)-1]
	w.trail = w.trail[:len(w.trail)-1] // it is the caller's now
	return e, nil
}

func readlink(fd int) (string, error) {
	b := make([]byte, maxName)
	n, err := unix.Readlinkat(fd, "", b)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// find opens what a path of the view names. The root is opened anew, so that
// the caller may close it like any other.
func (v *View) find(op, path string, follow bool) (*entry, string, error) {
	w := walker{view: v}
	e, err := w.follow(path, follow)
	real := "/" + strings.Join(w.names, "/")
	for _, t := range w.trail {
		t.close()
	}
	if err == nil && e == nil {
		e, err = v.openRoot()
	}
	if err != nil {
		return nil, "", &fs.PathError{Op: op, Path: path, Err: err}
	}
	return e, real, nil
}

func (v *View) openRoot() (*entry, error) {
	e := &entry{}
	for _, p := range v.root {
		fd, err := sys.OpenAt(p.fd, ".", openPath|unix.O_DIRECTORY, 0)
		if err != nil {
			closeParts(e.parts)
			return nil, err
		}
		e.parts = append(e.parts, part{fd: fd, families: p.families, byName: p.byName, layer: p.layer})
	}
	e.fd, e.layer = e.parts[0].fd, e.parts[0].layer
	return e, unix.Fstat(e.fd, &e.st)
}
