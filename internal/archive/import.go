package archive

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"berth/internal/layer"
	"berth/internal/registry/platform"
	"berth/internal/store"
	"berth/internal/sys"
)

// ImportOptions describes the image that is made of a file system.
type ImportOptions struct {
	Layers   *layer.Set // where the layer goes; nil: to the plain ones
	Name     string     // full name; may be empty
	Platform string     // os/arch[/variant]; empty: the host's
	Message  string     // what the history says
	Config   any        // the member "config" of the image configuration
	Zstd     Tool
	Report   func(current int64) // hears how much was read; may be nil
}

// imported is the configuration of such an image.
type imported struct {
	Created time.Time `json:"created"`
	store.Platform
	Config any `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []history `json:"history"`
}

type history struct {
	Created time.Time `json:"created"`
	Comment string    `json:"comment"`
}

// Import makes an image with one layer of a tar stream, packed or not. A
// collector that comes in between takes the layer away again, so it is kept
// from coming in.
func Import(ctx context.Context, s *store.Store, r io.Reader, opt ImportOptions) (store.Image, error) {
	want, err := platform.Parse(opt.Platform)
	if err != nil {
		return store.Image{}, err
	}
	if opt.Layers == nil {
		opt.Layers = layer.Open(s.Dir())
	}
	lease, err := s.LeaseAll()
	if err != nil {
		return store.Image{}, err
	}
	defer lease.Close()
	if opt.Report != nil {
		r = &counted{r: r, report: opt.Report}
	}
	packed := bufio.NewReaderSize(r, 256<<10)
	tarStream, err := unpacker{zstd: opt.Zstd}.open(packed)
	if err != nil {
		return store.Image{}, fmt.Errorf("cannot import: %w", err)
	}
	defer tarStream.Close()
	m, err := opt.Layers.Add(ctx, &room{Reader: tarStream, space: sys.Space{Dir: opt.Layers.Folder()}}, layer.Options{Durable: true})
	if err != nil {
		return store.Image{}, fmt.Errorf("cannot import: %w", err)
	}
	c := imported{Created: time.Now().UTC(), Config: opt.Config,
		Platform: store.Platform{OS: want.OS, Architecture: want.Arch, Variant: want.Variant}}
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []string{m.DiffID}
	c.History = []history{{Created: c.Created, Comment: opt.Message}}
	config, err := json.Marshal(c)
	if err != nil {
		return store.Image{}, err
	}
	manifest, err := newManifest(config, []string{m.DiffID}, func(string) int64 { return m.TarSize })
	if err != nil {
		return store.Image{}, err
	}
	var names []string
	if opt.Name != "" {
		names = []string{opt.Name}
	}
	return s.Add(store.Addition{Names: names, Manifest: manifest, Config: config})
}
