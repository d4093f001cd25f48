package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
)

const (
	maxEntries   = 200_000
	maxDocument  = 16 << 20
	maxDocuments = 64 << 20 // all of them
	maxName      = 4096     // as long as a path may be
	maxLinks     = 20
)

// links are the files of an archive that stand for others: older Docker wrote
// a layer that an earlier image had as a symbolic link to it.
type links map[string]string

// add notes a link entry.
func (l links) add(name string, h *tar.Header) error {
	target := h.Linkname
	if h.Typeflag == tar.TypeSymlink && !path.IsAbs(target) {
		// The climb of a relative link is taken out first, and must stay inside.
		target = path.Join(path.Dir(name), target)
	}
	target, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("entry %q: %w", h.Name, err)
	}
	l[name] = target
	return nil
}

// follow returns the file that a name stands for.
func (l links) follow(name string) string {
	for range maxLinks {
		target, ok := l[name]
		if !ok {
			break
		}
		name = target
	}
	return name
}

// walk reads the entries of a tar stream: links are noted, folders passed over,
// and each plain file is handed to visit.
func walk(r io.Reader, l links, visit func(name string, h *tar.Header, tr *tar.Reader) error) error {
	tr := tar.NewReader(r)
	for range maxEntries {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return readProblem(err)
		}
		if n := max(len(h.Name), len(h.Linkname)); n > maxName {
			return fmt.Errorf("the archive has a name of %d bytes, which is longer than a path may be", n)
		}
		name, err := cleanName(h.Name)
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeSymlink, tar.TypeLink:
			err = l.add(name, h)
		case tar.TypeReg:
			err = visit(name, h, tr)
		case tar.TypeDir, tar.TypeXGlobalHeader:
		default:
			err = fmt.Errorf("entry %q of the archive is of a kind that archives of images do not have (tar type %q)", h.Name, h.Typeflag)
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("the archive has more than %d entries", maxEntries)
}

func readProblem(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the archive ends too early")
	case errors.Is(err, tar.ErrHeader):
		return errors.New("it is no tar archive")
	}
	return err
}

// isDocument tells a JSON document by its first byte that is no space.
func isDocument(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && (b[0] == '{' || b[0] == '[')
}

// readDocument reads one to its end.
func readDocument(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(b) > maxDocument {
		err = fmt.Errorf("document %q of the archive is longer than %d MiB", name, maxDocument>>20)
	}
	return b, err
}

// memory holds documents of an archive: all of them of one that is read once.
type memory struct {
	links links
	docs  map[string][]byte
	size  int
}

func (m *memory) document(name string) ([]byte, error) {
	b, ok := m.docs[m.links.follow(name)]
	if !ok {
		return nil, fmt.Errorf("%q is %w", name, errNoDocument)
	}
	return b, nil
}

func (m *memory) add(name string, b []byte) error {
	m.docs[name] = b
	if m.size += len(b); m.size > maxDocuments {
		return fmt.Errorf("the documents of the archive are longer than %d MiB", maxDocuments>>20)
	}
	return nil
}

// directory knows where the files of an archive lie that can be read at any
// place.
type directory struct {
	src   io.ReaderAt
	links links
	spans map[string]span
	read  memory // the documents that were asked for
}

type span struct{ at, size int64 }

// list looks through an archive that begins where src stands.
func list(src interface {
	io.ReadSeeker
	io.ReaderAt
}) (*directory, error) {
	d := &directory{src: src, links: links{}, spans: map[string]span{}}
	d.read = memory{links: d.links, docs: map[string][]byte{}}
	return d, walk(src, d.links, func(name string, h *tar.Header, _ *tar.Reader) error {
		// The reader stands at the first byte of the contents: it reads whole
		// blocks and none ahead, and passes over contents by seeking.
		at, err := src.Seek(0, io.SeekCurrent)
		d.spans[name] = span{at, h.Size}
		return err
	})
}

// open returns the contents of a file.
func (d *directory) open(name string) (*io.SectionReader, bool) {
	s, ok := d.spans[d.links.follow(name)]
	return io.NewSectionReader(d.src, s.at, s.size), ok
}

func (d *directory) document(name string) ([]byte, error) {
	if b, err := d.read.document(name); err == nil {
		return b, nil
	}
	r, ok := d.open(name)
	if !ok {
		return nil, fmt.Errorf("%q is %w", name, errNoDocument)
	}
	b, err := readDocument(r, name)
	if err != nil {
		return nil, err
	}
	return b, d.read.add(d.links.follow(name), b)
}
