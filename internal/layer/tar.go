package layer

import (
	"context"
	"fmt"
	"io"

	"berth/internal/recipe"
	"berth/internal/store"
)

// Tar writes the tar stream a layer was unpacked from, byte for byte. It fails
// if what it has written is not what the diff ID says; the last piece is
// withheld until that is known, so nobody can take a wrong stream for a whole
// one.
func (s *Set) Tar(ctx context.Context, diffID string, w io.Writer) error {
	if _, err := s.Meta(diffID); err != nil {
		return err
	}
	if err := remake(ctx, store.LayerPath(s.dir, diffID), diffID, w); err != nil {
		return fmt.Errorf("layer %s: %w", diffID, err)
	}
	return nil
}

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
