package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"berth/internal/hello"
	"berth/internal/layer"
	"berth/internal/registry/ref"
	"berth/internal/store"
)

// binaryNote is the annotation that says which file the starter image was made
// from, so that nobody need read the binary to know whether it still is.
const binaryNote = "berth.binary"

// isHello reports whether a name is that of the starter image.
func isHello(text string) bool {
	r, err := ref.Parse(text)
	return err == nil && r.String() == hello.Name
}

// ensureHello returns the starter image of the running binary and makes it when
// there is none. That of another build gives way.
func (s *Set) ensureHello(ctx context.Context) (store.Image, error) {
	fail := func(err error) (store.Image, error) {
		return store.Image{}, fmt.Errorf("cannot make the image berth/hello: %w", err)
	}
	// The link leads to the program that runs, even if its file has been
	// replaced since.
	binary, err := os.Open("/proc/self/exe")
	if err != nil {
		return fail(err)
	}
	defer binary.Close()
	info, err := binary.Stat()
	if err != nil {
		return fail(err)
	}
	note := fmt.Sprintf("%d-%d", info.Size(), info.ModTime().UnixNano())
	old, err := s.usableImage(hello.Name, "")
	if err == nil && old.Annotations[binaryNote] == note {
		return old, nil
	}
	img, err := s.makeHello(ctx, binary, info.Size(), note)
	if err != nil {
		return fail(err)
	}
	if old.ID != "" && old.ID != img.ID {
		s.Remove(ctx, old.ID, RemoveOptions{}) // unless a container uses it
	}
	return img, nil
}

// makeHello unpacks and lists the image. A collector that comes in between
// takes the layer away again; then it is unpacked once more.
func (s *Set) makeHello(ctx context.Context, binary *os.File, size int64, note string) (store.Image, error) {
	for try := 0; ; try++ {
		r, w := io.Pipe()
		go func() { w.CloseWithError(hello.WriteLayer(w, io.NewSectionReader(binary, 0, size), size)) }()
		m, err := s.Layers().Add(ctx, r, layer.Options{})
		r.Close()
		if err != nil {
			return store.Image{}, err
		}
		config, manifest, err := hello.Documents(m.DiffID, m.Size)
		if err != nil {
			return store.Image{}, err
		}
		img, err := s.store.Add(store.Addition{
			Names: []string{hello.Name}, Manifest: manifest, Config: config,
			Annotations: map[string]string{binaryNote: note},
		})
		var missing *store.MissingLayersError
		if !errors.As(err, &missing) || try == 3 {
			return img, err
		}
	}
}
