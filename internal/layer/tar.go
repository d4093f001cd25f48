package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"berth/internal/recipe"
	"berth/internal/store"
)

// Tar writes the tar stream a layer was unpacked from, byte for byte. It fails
// if what it has written is not what the diff ID says; the last piece is
// withheld until that is known, so nobody can take a wrong stream for a whole
// one.
func (s *Set) Tar(ctx context.Context, diffID string, w io.Writer) error {
	if _, err := s.Meta(diffID); err != nil {
		o := s.as(s.kind.Other())
		if _, oerr := o.Meta(diffID); oerr != nil || !errors.Is(err, store.ErrNotFound) {
			return err
		}
		s = o
	}
	if err := s.remake(ctx, diffID, w); err != nil {
		return fmt.Errorf("layer %s: %w", diffID, err)
	}
	return nil
}

// remake writes the stream of a layer of the set.
func (s *Set) remake(ctx context.Context, diffID string, w io.Writer) error {
	if s.elsewhere() {
		return s.inside.Tar(ctx, diffID, w)
	}
	return remake(ctx, store.LayerPath(s.dir, s.kind, diffID), diffID, w)
}

// Ensure sees to it that layers are members of the set: those that are there in
// the other kind only are made again from that, which nobody need fetch. The
// rest of them is missing, which is for the caller to notice. A lease or a user
// keeps the layers from being collected meanwhile, or they go with the rest.
func (s *Set) Ensure(ctx context.Context, diffIDs []string) error {
	for _, id := range diffIDs {
		if s.Has(id) {
			continue
		}
		from := s.as(s.kind.Other())
		if !from.Has(id) {
			continue
		}
		if err := s.convert(ctx, from, id); err != nil {
			return fmt.Errorf("cannot make layer %s with other owners: %w", id, err)
		}
	}
	return nil
}

func (s *Set) convert(ctx context.Context, from *Set, diffID string) error {
	claim, err := s.Claim(ctx, diffID)
	if err != nil || claim == nil {
		return err
	}
	defer claim.Close()
	r, w := io.Pipe()
	go func() { w.CloseWithError(from.remake(ctx, diffID, w)) }()
	_, err = claim.Add(ctx, r, Options{})
	r.Close()
	if err != nil {
		return err
	}
	// Best effort: without it, decoding parts of the packed form takes longer.
	_ = os.Link(filepath.Join(store.LayerPath(s.dir, from.kind, diffID), indexFile), filepath.Join(store.LayerPath(s.dir, s.kind, diffID), indexFile))
	return nil
}

// indexFile is what a pull leaves beside a layer (see its package).
const indexFile = "index"

// remake writes the stream of the layer in a folder.
func remake(ctx context.Context, folder, diffID string, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	src, err := recipe.Open(folder)
	if err != nil {
		return err
	}
	defer src.Close()
	in := newStream(ctx, src)
	last, err := copyBut(w, in)
	if err != nil {
		cancel(err)
	}
	digest := in.close()
	if err != nil {
		return err
	}
	if digest != diffID {
		return fmt.Errorf("its files have changed since it was unpacked (what they make has the digest %s): remove the image and pull it again", digest)
	}
	_, err = w.Write(last)
	return err
}

// copyBut copies the stream to w except for its last piece, which it returns.
func copyBut(w io.Writer, in *stream) (last []byte, err error) {
	for {
		b, err := in.take(chunkSize)
		if err == io.EOF {
			return last, nil
		}
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(last); err != nil {
			return nil, err
		}
		last = append(last[:0], b...)
	}
}
