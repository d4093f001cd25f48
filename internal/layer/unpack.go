package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/recipe"
)

// defaultMaxEntries is more than any layer has and less than a file system
// minds.
const defaultMaxEntries = 8_000_000

// Options says how a stream is unpacked.
type Options struct {
	DiffID     string // what the digest of the stream must be; empty: anything
	MaxEntries int    // 0 means 8 million
	// Extra, if set, adds files of the caller's to a layer: it is called with
	// the layer's folder, still under a temporary name, when the tree is
	// whole and its digest right. Only [Set.Add] calls it.
	Extra func(folder string) error
	// Durable makes [Set.Add] wait until the layer is on the disk. It is for
	// what cannot be had from elsewhere again.
	Durable bool

	recipe string // the folder to write a recipe into; empty: none

	// For tests: as root, do as an ordinary account does; hide by names.
	rootless, byName bool
}

// Result describes a layer that has been unpacked.
type Result struct {
	DiffID   string
	TarSize  int64 // bytes of the stream
	Size     int64 // bytes in regular files
	Files    int64 // entries of all kinds
	Opaque   bool  // the layer hides everything below it
	ByName   bool  // it hides things in a form that overlay does not know
	Rootless bool
	Owners   Owners
}

// EntryError names the entry that ended an unpacking.
type EntryError struct {
	Name  string
	Cause error
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("layer entry %q cannot be unpacked: %v", e.Name, e.Cause)
}

func (e *EntryError) Unwrap() error { return e.Cause }

// DigestError says that a stream is not the layer it should be.
type DigestError struct{ Want, Got string }

func (e *DigestError) Error() string {
	return fmt.Sprintf("layer has the digest %s, but the image says %s: the registry sent something else, try again", e.Got, e.Want)
}

// readError says that the stream, not an entry, was at fault.
type readError struct{ cause error }

func (e *readError) Error() string {
	if errors.Is(e.cause, io.ErrUnexpectedEOF) {
		return "cannot read layer: the stream ends too early"
	}
	return "cannot read layer: " + e.cause.Error()
}

func (e *readError) Unwrap() error { return e.cause }

// unpacker is one unpacking. Names are made and removed by one goroutine, in
// the order of the stream; the contents of small files are written by others.
type unpacker struct {
	ctx      context.Context
	stream   *stream
	recipe   *recipe.Writer
	tree     *tree
	rootless bool
	family   string // of overlay's attributes
	umask    uint32
	gid      int
	left     int // entries that may still come

	writers *writers
	records recorder
	links   []alias // whose records are to be copied

	lastDir  string // the folder of the last entry as the stream spells it
	lastNode *node
	parts    []string
	byName   bool   // things hide by names; see byNameFile
	large    []byte // buffer for large files with holes

	size, files int64
}

// Unpack writes the tar stream r into the empty folder dst, reads r to its
// end, and returns what it was. On error the folder holds rubbish, but nothing
// outside of it has been touched.
func Unpack(ctx context.Context, dst string, r io.Reader, opt Options) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	u, err := newUnpacker(ctx, dst, opt)
	if err != nil {
		return Result{}, err
	}
	defer u.tree.close()
	if opt.recipe != "" {
		if u.recipe, err = recipe.Create(opt.recipe, cancel); err != nil {
			return Result{}, err
		}
		defer u.recipe.Abandon()
	}
	digest, err := u.run(r, cancel)
	if err == nil && opt.DiffID != "" && digest != opt.DiffID {
		err = &DigestError{Want: opt.DiffID, Got: digest}
	}
	if err == nil {
		err = u.recipe.Finish()
	}
	if err == nil {
		err = u.finish()
	}
	if err != nil {
		return Result{}, err
	}
	owners := Owners{}
	u.tree.root.collectOwners(owners)
	return Result{DiffID: digest, TarSize: u.stream.size, ByName: u.byName, Size: u.size, Files: u.files,
		Opaque: u.tree.root.opaque, Rootless: u.rootless, Owners: owners}, nil
}

// run carries out the stream to its end and returns its digest.
func (u *unpacker) run(r io.Reader, cancel context.CancelCauseFunc) (string, error) {
	u.stream = newStream(u.ctx, r)
	u.writers = startWriters(u, cancel)
	u.stream.starve = u.writers.flush
	t := &tarReader{s: u.stream, recipe: u.recipe}
	err := u.entries(t)
	if err == nil {
		err = t.drain()
	}
	if e := u.writers.wait(); e != nil {
		err = e // it came first and ended the rest
	}
	if err != nil {
		cancel(err)
	}
	return u.stream.close(), err
}

func newUnpacker(ctx context.Context, dst string, opt Options) (*unpacker, error) {
	t, err := newTree(dst)
	if err != nil {
		return nil, err
	}
	// A folder can hand a default ACL and a group down to what is made in
	// it; neither is part of a layer.
	unix.Fremovexattr(t.root.fd, "system.posix_acl_default")
	if err := unix.Fchmod(t.root.fd, 0o755); err != nil {
		t.close()
		return nil, err
	}
	left := opt.MaxEntries
	if left <= 0 {
		left = defaultMaxEntries
	}
	return &unpacker{
		ctx: ctx, tree: t, left: left,
		rootless: opt.rootless || os.Geteuid() != 0,
		family:   family(opt.rootless || UserXattr()),
		umask:    currentUmask(), gid: os.Getegid(), byName: opt.byName,
	}, nil
}

// entries carries out the stream up to its end mark.
func (u *unpacker) entries(t *tarReader) error {
	for {
		h, err := t.next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = u.ctx.Err()
		}
		if err != nil {
			return &readError{err}
		}
		if u.left -= 1 + u.tree.made; u.left < 0 {
			return errors.New("layer has too many entries")
		}
		u.tree.made = 0
		if err := u.entry(h, t); err != nil {
			var e *readError
			if errors.As(err, &e) {
				return err
			}
			return &EntryError{Name: h.Name, Cause: err}
		}
	}
}

// entry carries out one entry.
func (u *unpacker) entry(h *tar.Header, t *tarReader) error {
	parts, err := splitName(h.Name, u.parts)
	if err != nil {
		return err
	}
	u.parts = parts
	if len(parts) == 0 {
		if h.Typeflag != tar.TypeDir {
			return errors.New("the top of a layer must be a folder")
		}
		return u.describe(u.tree.root, h)
	}
	folders, base := parts[:len(parts)-1], parts[len(parts)-1]
	if skip, err := checkFolders(folders); skip || err != nil {
		return err
	}
	hides, opaque, skip, err := whiteout(base)
	if skip || err != nil {
		return err
	}
	dir, err := u.folder(h.Name, base, folders)
	if err != nil {
		return err
	}
	switch {
	case opaque:
		return u.makeOpaque(dir)
	case hides != "":
		return u.hide(dir, hides)
	}
	u.files++
	return u.make(dir, base, h, t)
}

// folder returns the folder that the entry base lies in. Streams name the
// entries of one folder in a row, so the last answer is kept.
func (u *unpacker) folder(name, base string, parts []string) (*node, error) {
	key, ok := strings.CutSuffix(strings.TrimRight(name, "/"), base)
	ok = ok && (key == "" || key[len(key)-1] == '/')
	if ok && u.lastNode != nil && key == u.lastDir {
		return u.lastNode, nil
	}
	n, err := u.tree.folder(parts, u)
	if err == nil && ok {
		u.lastDir, u.lastNode = key, n
	}
	return n, err
}

// make makes the entry base of the folder dir.
func (u *unpacker) make(dir *node, base string, h *tar.Header, t *tarReader) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return u.makeFile(dir, base, h, t)
	case tar.TypeDir:
		n, err := u.makeFolder(dir, base)
		if err != nil {
			return err
		}
		return u.describe(n, h)
	case tar.TypeSymlink:
		return u.makeSymlink(dir, base, h)
	case tar.TypeLink:
		return u.makeLink(dir, base, h)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.makeDevice(dir, base, h)
	}
	return fmt.Errorf("it is of an unknown kind (tar type %q)", h.Typeflag)
}
