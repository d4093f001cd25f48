package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// TarOptions says how [View.Tar] packs a tree.
type TarOptions struct {
	// Name is how the stream calls what is packed; what lies in it follows
	// below that name. Empty: the entries of the folder without the folder
	// itself.
	Name    string
	Follow  bool     // a link at the end of the path counts as what it points to
	Exclude []string // clean absolute paths that are left out, with all below
	// Trees are those of the image when the view shows a copied root, which
	// knows the owners of its files no better than an ordinary account does.
	Trees []string
}

// Tar packs what path names, with all that lies below, as a tar stream with
// the attributes that a layer has. Sockets are left out. The same tree gives
// the same bytes.
func (v *View) Tar(ctx context.Context, w io.Writer, path string, opt TarOptions) error {
	e, real, err := v.find("open", path, opt.Follow)
	if err != nil {
		return err
	}
	defer e.close()
	if opt.Name == "" && !e.isDir() {
		return &fs.PathError{Op: "archive", Path: path, Err: unix.ENOTDIR}
	}
	trees := opt.Trees
	if len(trees) == 0 {
		trees = v.trees
	}
	k, err := learn(trees)
	if err != nil {
		return err
	}
	t := &treePacker{packer: newPacker(ctx, w, k), exclude: map[string]bool{}, copied: len(opt.Trees) > 0}
	for _, p := range opt.Exclude {
		t.exclude[p] = true
	}
	below, err := t.below(trees, real)
	if err != nil {
		return err
	}
	if below != nil {
		defer below.close()
	}
	if real == "/" {
		real = ""
	}
	if opt.Name == "" {
		err = t.kids(e, "", real, below, 0)
	} else {
		err = t.tree(e, strings.TrimSuffix(opt.Name, "/"), real, below, 0)
	}
	if err == nil {
		err = t.w.Close()
	}
	if err != nil {
		return fmt.Errorf("cannot archive %s: %w", path, err)
	}
	return nil
}

// treePacker packs a tree of a view.
type treePacker struct {
	*packer
	exclude map[string]bool
	copied  bool
}

// below opens what the layers have at a path of the view, for the sake of its
// owners. There may be none.
func (t *treePacker) below(trees []string, path string) (*entry, error) {
	if !t.known.any || len(trees) == 0 {
		return nil, nil
	}
	v, err := NewView("", trees)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	e, _, err := v.find("open", path, false)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	return e, err
}

// tree packs an entry and what lies in it.
func (t *treePacker) tree(e *entry, name, path string, below *entry, depth int) error {
	if err := t.add(e, name, path, below); err != nil {
		return err
	}
	if !e.isDir() {
		return nil
	}
	return t.kids(e, name+"/", path, below, depth)
}

// kids packs what lies in a folder.
func (t *treePacker) kids(e *entry, prefix, path string, below *entry, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s lies more than %d folders deep", path, maxDepth)
	}
	entries, err := list(e.parts)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var lower []part
	if below != nil {
		lower = below.parts
	}
	shares := e.parts
	if t.copied {
		shares = append(slices.Clone(e.parts), lower...)
	}
	devices := t.known.missing(shares, path)
	for name := range devices {
		entries = append(entries, DirEntry{Name: name})
	}
	slices.SortFunc(entries, func(a, b DirEntry) int { return strings.Compare(a.Name, b.Name) })
	for _, d := range entries {
		at := path + "/" + d.Name
		if t.exclude[at] {
			continue
		}
		var err error
		if o, ok := devices[d.Name]; ok {
			err = t.device(prefix+d.Name, o)
		} else {
			err = t.kid(e.parts, lower, d.Name, prefix+d.Name, at, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *treePacker) kid(shares, lower []part, base, name, path string, depth int) error {
	e, err := step(shares, base)
	if err == unix.ENOENT {
		return nil // a container that runs has removed it
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer e.close()
	var below *entry
	if t.known.any && e.layer == ownLayer && len(lower) > 0 {
		if below, err = step(lower, base); err != nil && err != unix.ENOENT {
			return fmt.Errorf("%s of the image: %w", path, err)
		}
	}
	if below != nil {
		defer below.close()
	}
	return t.tree(e, name, path, below, depth+1)
}

// packer writes entries of trees as a tar stream.
type packer struct {
	ctx   context.Context
	w     *tar.Writer
	known *knowledge
	names map[inode]string // in the stream, of files that have several
	buf   []byte
}

func newPacker(ctx context.Context, w io.Writer, k *knowledge) *packer {
	return &packer{ctx: ctx, w: tar.NewWriter(w), known: k, names: map[inode]string{}}
}

// add writes an entry. Path is where it lies in the container.
func (p *packer) add(e *entry, name, path string, below *entry) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	t, err := p.known.of(e, path, below)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	h := &tar.Header{Name: name, Mode: int64(t.mode), Uid: int(t.uid), Gid: int(t.gid), ModTime: time.Unix(e.st.Mtim.Sec, 0)}
	for _, x := range t.xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[xattrRecord+x.name] = x.value
	}
	switch e.st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case unix.S_IFREG:
		return p.file(e, h, path)
	case unix.S_IFLNK:
		h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
		if h.Linkname, err = readlink(e.fd); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeBlock
		if e.st.Mode&unix.S_IFMT == unix.S_IFCHR {
			h.Typeflag = tar.TypeChar
		}
		h.Devmajor, h.Devminor = int64(unix.Major(e.st.Rdev)), int64(unix.Minor(e.st.Rdev))
	default:
		return nil // a socket is nothing without who listens
	}
	return p.header(h)
}

func (p *packer) header(h *tar.Header) error {
	if err := p.w.WriteHeader(h); err != nil {
		return fmt.Errorf("/%s: %w", strings.TrimPrefix(h.Name, "/"), err)
	}
	return nil
}

// device writes a node that exists in the records only.
func (p *packer) device(name string, o Owner) error {
	kind := byte(tar.TypeBlock)
	if o.Kind == "c" {
		kind = tar.TypeChar
	}
	return p.header(&tar.Header{Typeflag: kind, Name: name, Mode: int64(o.Mode & 0o7777), Uid: int(o.UID), Gid: int(o.GID),
		Devmajor: int64(o.Major), Devminor: int64(o.Minor), ModTime: time.Unix(0, 0)})
}

// file writes a file, or one more name of a file that was written already.
func (p *packer) file(e *entry, h *tar.Header, path string) error {
	key := inode{dev: uint64(e.st.Dev), ino: e.st.Ino}
	if e.st.Nlink > 1 {
		if first, ok := p.names[key]; ok {
			h.Typeflag, h.Linkname, h.PAXRecords = tar.TypeLink, first, nil
			return p.header(h)
		}
	}
	f, err := e.openFd()
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	defer unix.Close(f)
	h.Typeflag, h.Size = tar.TypeReg, e.st.Size
	if err := p.header(h); err != nil {
		return err
	}
	if e.st.Nlink > 1 {
		p.names[key] = h.Name
	}
	if p.buf == nil {
		p.buf = make([]byte, chunkSize)
	}
	return p.content(f, e.st.Size, path)
}

// content writes exactly n bytes: a container that runs may make its file
// shorter or longer meanwhile.
func (p *packer) content(f int, n int64, path string) error {
	for n > 0 {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		m, err := sys.Read(f, p.buf[:min(n, int64(len(p.buf)))])
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", path, err)
		}
		if m == 0 {
			clear(p.buf)
			m = int(min(n, int64(len(p.buf))))
		}
		if _, err := p.w.Write(p.buf[:m]); err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

// WriteDiff packs what a container has changed as the tar stream of a layer.
// The same changes give the same bytes.
func WriteDiff(ctx context.Context, w io.Writer, c Container) error {
	k, err := learn(c.Trees)
	if err != nil {
		return err
	}
	p := newPacker(ctx, w, k)
	err = c.differences(ctx, p.difference)
	if err == nil {
		err = p.w.Close()
	}
	if err != nil {
		return fmt.Errorf("cannot archive the container's changes: %w", err)
	}
	return nil
}

// difference writes one change. A name that layers reserve for whiteouts can
// be no file of a layer, so a container's file of that name is left out.
func (p *packer) difference(d *difference) error {
	dir, base := d.path[:strings.LastIndexByte(d.path, '/')+1], d.path[strings.LastIndexByte(d.path, '/')+1:]
	if d.implied || reserved(d.path) {
		return nil
	}
	if d.kind == 'D' {
		return p.empty(dir + whiteoutPrefix + base)
	}
	if err := p.add(d.own, d.path[1:], d.path, d.below); err != nil || !d.opaque {
		return err
	}
	return p.empty(d.path + "/" + opaqueName)
}

// reserved reports whether some part of a path is a whiteout's name.
func reserved(path string) bool { return strings.Contains(path, "/"+whiteoutPrefix) }

// empty writes a name that is a mark.
func (p *packer) empty(path string) error {
	return p.header(&tar.Header{Typeflag: tar.TypeReg, Name: path[1:], ModTime: time.Unix(0, 0)})
}
