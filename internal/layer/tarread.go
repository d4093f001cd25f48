package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"

	"berth/internal/recipe"
	"berth/internal/tarhead"
)

// tarReader reads the entries of a tar stream. It means what archive/tar means
// (a fuzz test compares them), but does not copy contents, and tells a recipe
// all that is not the content of a file. Files with holes, which are rare and
// come in four formats, it leaves to archive/tar.
type tarReader struct {
	s      *stream
	recipe *recipe.Writer // may be nil

	h    tarhead.Head // of the current entry
	left int64        // of its content
	pad  int64        // behind its content

	sparse *tar.Reader // reads the content of a file with holes
}

// next moves to the next entry. The header is valid until the following call.
// At the end mark it returns io.EOF.
func (t *tarReader) next() (*tar.Header, error) {
	if err := t.skip(); err != nil {
		return nil, err
	}
	t.sparse = nil
	err := t.h.Read(t.s.block)
	if err == nil || err == io.EOF {
		t.recipe.Raw(t.h.Raw)
	}
	if err == nil {
		err = t.content()
	}
	return &t.h.Header, err
}

// skip passes what is left of the current entry.
func (t *tarReader) skip() error {
	for t.left > 0 {
		b, err := t.s.take(t.left)
		if err != nil {
			return unexpected(err)
		}
		t.recipe.Raw(b)
		t.left -= int64(len(b))
	}
	for t.pad > 0 {
		b, err := t.s.take(t.pad)
		if err != nil {
			return err // nobody misses padding at the end
		}
		t.recipe.Raw(b)
		t.pad -= int64(len(b))
	}
	return nil
}

// content prepares for the content of the current entry.
func (t *tarReader) content() error {
	if t.h.Typeflag == tar.TypeGNUSparse || t.h.Holes {
		return t.openSparse()
	}
	if !tarhead.HeaderOnly(t.h.Typeflag) {
		t.left, t.pad = t.h.Size, tarhead.Padding(t.h.Size)
	}
	return nil
}

// take returns the next piece of the content, at least one byte; the recipe
// must have been told of the file. The piece is valid until the next call.
func (t *tarReader) take() ([]byte, error) {
	b, err := t.s.take(t.left)
	if err != nil {
		return nil, unexpected(err)
	}
	t.left -= int64(len(b))
	return b, nil
}

// openSparse hands the current entry to archive/tar: its headers once more,
// then the stream. What that reads is all told to the recipe.
func (t *tarReader) openSparse() error {
	size, old := t.h.Size, t.h.Typeflag == tar.TypeGNUSparse
	if tarhead.HeaderOnly(t.h.Typeflag) {
		size = 0
	}
	src := &tarRest{t: t}
	r := tar.NewReader(io.MultiReader(bytes.NewReader(t.h.Raw[t.h.Own:]), src))
	h, err := r.Next()
	if err != nil {
		if errors.Is(err, tar.ErrHeader) {
			err = tarhead.ErrInvalid
		}
		return unexpected(err)
	}
	// The old format has more headers, which do not count as content.
	t.left, t.pad = size, tarhead.Padding(size)
	if !old {
		t.left -= src.n
	}
	src.counts = true
	t.h.Header, t.sparse = *h, r
	return nil
}

// tarRest is the stream as archive/tar sees it.
type tarRest struct {
	t      *tarReader
	n      int64
	counts bool
}

func (r *tarRest) Read(p []byte) (int, error) {
	limit := int64(len(p))
	if r.counts {
		limit = min(limit, r.t.left)
		if limit == 0 {
			return 0, io.EOF
		}
	}
	b, err := r.t.s.take(limit)
	r.t.recipe.Raw(b)
	n := copy(p, b)
	r.n += int64(n)
	if r.counts {
		r.t.left -= int64(n)
	}
	return n, err
}

// drain reads to the end: the digest is that of all bytes, also of those
// behind the end mark of the archive.
func (t *tarReader) drain() error {
	for {
		b, err := t.s.take(chunkSize)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &readError{err}
		}
		t.recipe.Raw(b)
	}
}
