package archive

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"berth/internal/inflate"
	"berth/internal/layer"
	"berth/internal/registry/ref"
	"berth/internal/store"
	"berth/internal/sys"
)

// LoadOptions says what to take from an archive.
type LoadOptions struct {
	Layers   *layer.Set // where layers go; nil: to the plain ones
	Platform string     // os/arch[/variant]; empty: see [Load]
	Zstd     Tool
	// Report hears how far a layer is, called by 12 digits of its digest; it
	// may be nil. It is called from several goroutines.
	Report func(id, status string, current, total int64)
}

// Loaded is an image that was in an archive.
type Loaded struct {
	ID    string
	Names []string // full names; may be empty
}

// Status words of [LoadOptions.Report], Docker's own.
const (
	statusLoading = "Loading layer"
	statusLoaded  = "Load complete"
)

// loading is one call of Load.
type loading struct {
	ctx    context.Context
	store  *store.Store
	layers *layer.Set
	opt    LoadOptions
	unpack unpacker
	sizes  map[string]int64 // lengths of plain layers, by diff ID
	mu     sync.Mutex
}

// Load reads an archive and lists the images in it. Of an image that is there
// for several platforms it takes the one asked for, else this machine's, else
// the only one.
//
// On error nothing is listed, but there may be layers that nobody needs; a pipe
// can bring such layers also when all is well. The caller collects them.
func Load(ctx context.Context, s *store.Store, r io.Reader, opt LoadOptions) ([]Loaded, error) {
	if opt.Report == nil {
		opt.Report = func(string, string, int64, int64) {}
	}
	if opt.Layers == nil {
		opt.Layers = layer.Open(s.Dir())
	}
	l := &loading{ctx: ctx, store: s, layers: opt.Layers, opt: opt, sizes: map[string]int64{},
		unpack: unpacker{opt.Zstd, inflate.NewGate(runtime.GOMAXPROCS(0))}}
	if f, ok := r.(*os.File); ok && isPlainFile(f) {
		return l.file(f)
	}
	in := bufio.NewReaderSize(r, 256<<10)
	if _, err := in.Peek(1); err == io.EOF {
		return nil, errors.New("the archive is empty")
	}
	out, err := l.unpack.open(in)
	if err != nil {
		return nil, fmt.Errorf("cannot read the archive: %w", err)
	}
	defer out.Close()
	return l.stream(out)
}

// isPlainFile reports whether an archive can be read at any place.
func isPlainFile(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	at, err := f.Seek(0, io.SeekCurrent)
	head := make([]byte, peekSize)
	n, _ := f.ReadAt(head, at)
	return err == nil && isTar(head[:n])
}

// file loads an archive that can be read at any place.
func (l *loading) file(f *os.File) ([]Loaded, error) {
	dir, err := list(f)
	if err != nil {
		return nil, err
	}
	p, err := makePlan(dir, l.opt.Platform)
	if err != nil {
		return nil, err
	}
	var ids []string
	var todo []planLayer
	for _, img := range p.images {
		for _, pl := range img.layers {
			if !slices.Contains(ids, pl.diffID) {
				ids, todo = append(ids, pl.diffID), append(todo, pl)
			}
		}
	}
	lease, err := l.store.Lease(ids)
	if err != nil {
		return nil, err
	}
	defer lease.Close()
	todo = slices.DeleteFunc(todo, func(pl planLayer) bool { return l.there(pl.diffID) })
	if err := l.unpackAll(dir, todo); err != nil {
		return nil, err
	}
	return l.list(p)
}

// there reports whether a layer is there, of whichever kind.
func (l *loading) there(diffID string) bool {
	_, err := l.layers.Find(diffID)
	return err == nil
}

// unpackAll unpacks several layers at once, the biggest first. The first error
// ends the others.
func (l *loading) unpackAll(dir *directory, todo []planLayer) error {
	size := func(pl planLayer) int64 { return dir.spans[dir.links.follow(pl.file)].size }
	slices.SortStableFunc(todo, func(a, b planLayer) int { return cmp.Compare(size(b), size(a)) })
	ctx, cancel := context.WithCancelCause(l.ctx)
	defer cancel(nil)
	queue := make(chan planLayer, len(todo))
	for _, pl := range todo {
		queue <- pl
	}
	close(queue)
	var workers sync.WaitGroup
	for range min(len(todo), 4, runtime.NumCPU()) {
		workers.Go(func() {
			for pl := range queue {
				if ctx.Err() != nil {
					return
				}
				r, ok := dir.open(pl.file)
				if !ok {
					cancel(missingLayer(pl))
					return
				}
				if _, err := l.unpackLayer(ctx, r, r.Size(), pl.file, pl.diffID); err != nil {
					cancel(err) // counts only when it is the first
					return
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

func missingLayer(pl planLayer) error {
	return fmt.Errorf("layer %s is not in the archive: it would be the file %q", pl.diffID, pl.file)
}

// stream loads an archive that comes once. It protects all layers meanwhile,
// because it does not know which they are.
func (l *loading) stream(r io.Reader) ([]Loaded, error) {
	lease, err := l.store.LeaseAll()
	if err != nil {
		return nil, err
	}
	defer lease.Close()
	docs := &memory{links: links{}, docs: map[string][]byte{}}
	guide := &guide{docs: docs, want: l.opt.Platform}
	err = walk(&room{Reader: r, space: sys.Space{Dir: l.opt.Layers.Folder()}}, docs.links, func(name string, h *tar.Header, tr *tar.Reader) error {
		in := bufio.NewReaderSize(tr, 64<<10)
		head, err := in.Peek(peekSize)
		if err != nil && err != io.EOF {
			return readProblem(err)
		}
		switch {
		case isDocument(head) && !isTar(head): // the first file of a layer may be called "["
			b, err := readDocument(in, name)
			if err != nil {
				return err
			}
			guide.stale = true
			return docs.add(name, b)
		case packingOf(head) == plain && !isTar(head):
			return nil // a version number, a picture, whatever
		}
		diffID, skip := guide.layer(name, l.layers)
		if skip {
			return nil
		}
		_, err = l.unpackLayer(l.ctx, in, h.Size, name, diffID)
		return err
	})
	if err != nil {
		return nil, err
	}
	// What comes behind the end mark decides whether it was whole.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	p, err := makePlan(docs, l.opt.Platform)
	if err != nil {
		return nil, err
	}
	return l.list(p)
}

// maxPlans bounds how often the documents of a pipe are put together.
const maxPlans = 1000

// guide tells of a layer what is known of it by now.
type guide struct {
	docs  *memory
	want  string
	stale bool // documents have come since it was last made
	made  int
	plan  *plan             // nil as long as documents are missing
	files map[string]string // diff IDs by the files that the plan names
}

// layer returns the diff ID that a file should have, if that is known, and
// whether the file is not needed.
func (g *guide) layer(name string, have *layer.Set) (diffID string, skip bool) {
	if g.stale && g.plan == nil && g.made < maxPlans {
		g.stale, g.made = false, g.made+1
		g.replan()
	}
	if id, ok := g.files[name]; ok {
		return id, have.Has(id)
	}
	if g.plan != nil && g.plan.complete {
		return "", true
	}
	hex, ok := strings.CutPrefix(name, blobFolder)
	return "", ok && have.Has("sha256:"+hex)
}

func (g *guide) replan() {
	g.plan, _ = makePlan(g.docs, g.want) // what is wrong is said at the end
	if g.plan == nil {
		return
	}
	g.files = map[string]string{}
	for _, img := range g.plan.images {
		for _, pl := range img.layers {
			g.files[g.docs.links.follow(pl.file)] = pl.diffID
		}
	}
}

// unpackLayer makes a layer of a file of the archive, packed or not. It must
// have the diff ID, unless that is empty, and, if the file is called by a
// digest, that.
func (l *loading) unpackLayer(ctx context.Context, r io.Reader, size int64, name, diffID string) (layer.Meta, error) {
	fail := func(err error) (layer.Meta, error) {
		if ctx.Err() != nil {
			return layer.Meta{}, ctx.Err()
		}
		return layer.Meta{}, fmt.Errorf("cannot unpack layer %q of the archive: %w", name, err)
	}
	id := shortID(cmp.Or(diffID, name))
	var claim *layer.Claim
	if diffID != "" {
		var err error
		if claim, err = l.layers.Claim(ctx, diffID); err != nil || claim == nil {
			return layer.Meta{}, err
		}
		defer claim.Close()
	}
	c := &counted{r: r, report: func(n int64) { l.opt.Report(id, statusLoading, n, size) }}
	if strings.HasPrefix(name, blobFolder) {
		c.sum = sha256.New()
	}
	packed := bufio.NewReaderSize(c, 256<<10)
	head, _ := packed.Peek(peekSize)
	tarStream, err := l.unpack.open(packed)
	if err != nil {
		return fail(err)
	}
	defer tarStream.Close()
	in := &room{Reader: tarStream, space: sys.Space{Dir: l.opt.Layers.Folder()}}
	var m layer.Meta
	if claim != nil {
		m, err = claim.Add(ctx, in, layer.Options{Durable: true})
	} else {
		m, err = l.layers.Add(ctx, in, layer.Options{Durable: true})
	}
	var wrong *layer.DigestError
	switch {
	case errors.As(err, &wrong):
		return fail(fmt.Errorf("its digest is %s, but the image says %s", wrong.Got, wrong.Want))
	case err != nil:
		return fail(err)
	}
	if hex, ok := strings.CutPrefix(name, blobFolder); ok && c.digest() != hex {
		return fail(fmt.Errorf("the digest of the file is %s", c.digest()))
	}
	if packingOf(head) == plain {
		l.mu.Lock()
		l.sizes[m.DiffID] = size
		l.mu.Unlock()
	}
	l.opt.Report(id, statusLoaded, size, size)
	return m, nil
}

// counted reports how much of a file was read, and can make its digest.
type counted struct {
	r      io.Reader
	n      int64
	sum    hash.Hash // nil: none is wanted
	report func(n int64)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if c.n += int64(n); n > 0 {
		c.report(c.n)
	}
	if c.sum != nil {
		c.sum.Write(b[:n])
	}
	return n, err
}

// copyVerified copies a file that must have a digest.
func copyVerified(w io.Writer, r io.Reader, digest string) error {
	sum := sha256.New()
	if _, err := io.CopyBuffer(io.MultiWriter(w, sum), struct{ io.Reader }{r}, make([]byte, 256<<10)); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fmt.Errorf("the kept blob %s is damaged: its digest is %s", digest, got)
	}
	return nil
}

func (c *counted) digest() string { return hex.EncodeToString(c.sum.Sum(nil)) }

// shortID is what progress calls a layer: 12 digits of a digest, if there are
// so many in its name.
func shortID(name string) string {
	return ref.ShortDigest(strings.TrimPrefix(name, blobFolder))
}

// list makes the images known, now that all their layers must be there.
func (l *loading) list(p *plan) ([]Loaded, error) {
	for _, img := range p.images {
		for _, pl := range img.layers {
			if !l.there(pl.diffID) {
				return nil, missingLayer(pl)
			}
		}
	}
	var out []Loaded
	for _, img := range p.images {
		manifest, mediaType := img.manifest, img.mediaType
		if manifest == nil {
			var err error
			if manifest, err = l.manifest(img); err != nil {
				return nil, err
			}
			mediaType = store.MediaTypeManifest
		}
		if _, err := l.store.Add(store.Addition{Names: img.names, MediaType: mediaType, Manifest: manifest, Config: img.config}); err != nil {
			return nil, err
		}
		out = append(out, Loaded{ID: img.id, Names: img.names})
	}
	return out, nil
}

// manifest writes a manifest for an image that came without one.
func (l *loading) manifest(img *planned) ([]byte, error) {
	var ids []string
	for _, pl := range img.layers {
		ids = append(ids, pl.diffID)
	}
	return newManifest(img.config, ids, func(diffID string) int64 {
		if m, err := l.layers.Find(diffID); err == nil && m.TarSize > 0 {
			return m.TarSize
		}
		return l.sizes[diffID]
	})
}

// newManifest returns the manifest of an image whose layers are known as tar
// streams only.
func newManifest(config []byte, diffIDs []string, size func(diffID string) int64) ([]byte, error) {
	m := store.Manifest{
		SchemaVersion: 2, MediaType: store.MediaTypeManifest, Layers: []store.Descriptor{},
		Config: store.Descriptor{MediaType: store.MediaTypeConfig, Digest: store.Digest(config), Size: int64(len(config))},
	}
	for _, id := range diffIDs {
		m.Layers = append(m.Layers, store.Descriptor{MediaType: store.MediaTypeLayer, Digest: id, Size: size(id)})
	}
	return encode(m)
}
