package shared

import (
	"archive/tar"
	"context"
	"encoding/json"
	"io"
	"os"
)

// blobFolder is where an archive has its blobs.
const blobFolder = "blobs/sha256/"

func blobName(digest string) string { return blobFolder + digest[len("sha256:"):] }

// archive writes the files of an image as a tar stream, each once.
type archive struct {
	*tar.Writer
	ctx  context.Context
	done map[string]bool
}

func newArchive(ctx context.Context, w io.Writer) *archive {
	return &archive{Writer: tar.NewWriter(w), ctx: ctx, done: map[string]bool{}}
}

func (a *archive) document(name string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return a.bytes(name, b)
}

func (a *archive) bytes(name string, b []byte) error {
	if a.done[name] {
		return nil
	}
	a.done[name] = true
	if err := a.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b))}); err != nil {
		return err
	}
	_, err := a.Write(b)
	return err
}

func (a *archive) file(name, path string) error {
	f, size, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := a.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	_, err = io.CopyN(a, reader{a.ctx, f}, size) // it may have become shorter
	return err
}

// reader ends when nobody waits any more.
type reader struct {
	ctx context.Context
	f   *os.File
}

func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.f.Read(b)
}
