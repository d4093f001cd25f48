// Package commit makes an image of what a container has become: the
// configuration of the container, changed as asked for, and one layer more with
// what it has written. The layers below, and what is told of them, are those of
// its image.
//
// No blob is made: the manifest names the new layer by its tar stream, which
// package layer makes again, byte for byte, when somebody wants it.
package commit

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	digest "github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/internal/change"
	"berth/internal/layer"
	"berth/internal/store"
)

// Container is what has to be known of the container.
type Container struct {
	Config   *container.Config
	ImageID  string
	Layers   []string // of its image: diff IDs, bottom first
	Platform string   // os/arch[/variant]
}

// Note is what is said of the new image.
type Note struct {
	Author  string
	Message string
}

// Config is the container's configuration as an image has it, changed by
// instructions of a Dockerfile.
func Config(c *container.Config, lines []string) (change.Config, error) {
	out := change.Config{}
	out.User, out.WorkingDir, out.StopSignal = c.User, c.WorkingDir, c.StopSignal
	out.Env, out.Cmd, out.Entrypoint = slices.Clone(c.Env), slices.Clone(c.Cmd), slices.Clone(c.Entrypoint)
	out.Volumes, out.Labels = maps.Clone(c.Volumes), maps.Clone(c.Labels)
	out.Healthcheck, out.OnBuild, out.Shell = c.Healthcheck, slices.Clone(c.OnBuild), slices.Clone(c.Shell)
	for p := range c.ExposedPorts {
		if out.ExposedPorts == nil {
			out.ExposedPorts = map[string]struct{}{}
		}
		out.ExposedPorts[p.String()] = struct{}{}
	}
	if err := change.Apply(&out, lines); err != nil {
		return out, err
	}
	// As in Docker an image without a command gets that of the container.
	if len(out.Entrypoint)+len(out.Cmd) == 0 {
		out.Cmd = c.Cmd
	}
	return out, nil
}

// Layer makes a layer of the tar stream that write writes.
func Layer(ctx context.Context, set *layer.Set, write func(w io.Writer) error) (*layer.Meta, error) {
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(write(pw)) }()
	m, err := set.Add(ctx, pr, layer.Options{Durable: true})
	pr.Close()
	if err != nil {
		return nil, err
	}
	return &m, nil
}

// Image writes the documents of the image: those of the container's image, with
// one layer more, or none.
func Image(s *store.Store, c Container, config change.Config, m *layer.Meta, note Note) (store.Addition, error) {
	base, layers := c.parent(s)
	now := time.Now().UTC()
	base.Created, base.Author, base.Config = &now, note.Author, config
	base.RootFS = imagespec.RootFS{Type: "layers", DiffIDs: nil}
	step := imagespec.History{
		Created: &now, CreatedBy: strings.Join(slices.Concat(c.Config.Entrypoint, c.Config.Cmd), " "),
		Author: note.Author, Comment: note.Message, EmptyLayer: m == nil,
	}
	diffIDs := slices.Clone(c.Layers)
	if m != nil {
		diffIDs = append(diffIDs, m.DiffID)
		layers = append(layers, store.Descriptor{MediaType: store.MediaTypeLayer, Digest: m.DiffID, Size: m.TarSize})
	}
	base.History = append(base.History, step)
	for _, id := range diffIDs {
		base.RootFS.DiffIDs = append(base.RootFS.DiffIDs, digest.Digest(id))
	}
	doc, err := json.Marshal(base)
	if err != nil {
		return store.Addition{}, err
	}
	manifest, err := json.Marshal(store.Manifest{
		SchemaVersion: 2, MediaType: store.MediaTypeManifest, Layers: layers,
		Config: store.Descriptor{MediaType: store.MediaTypeConfig, Digest: store.Digest(doc), Size: int64(len(doc))},
	})
	return store.Addition{Manifest: manifest, Config: doc}, err
}

// parent returns the documents of the container's image as far as they are
// still here, with one entry of history for each layer.
func (c Container) parent(s *store.Store) (dockerspec.DockerOCIImage, []store.Descriptor) {
	var base dockerspec.DockerOCIImage
	var layers []store.Descriptor
	img, err := s.Find(c.ImageID)
	if err == nil && slices.Equal(img.Layers, c.Layers) {
		base = img.Config
		if m, err := s.Manifest(img.ManifestDigest); err == nil && len(m.Layers) == len(c.Layers) {
			layers = slices.Clone(m.Layers)
		}
	} else {
		base.OS, base.Architecture, _ = strings.Cut(c.Platform, "/")
		base.Architecture, base.Variant, _ = strings.Cut(base.Architecture, "/")
	}
	if layers == nil {
		for _, id := range c.Layers {
			meta, _ := store.FindLayer(s.Dir(), id)
			layers = append(layers, store.Descriptor{MediaType: store.MediaTypeLayer, Digest: id, Size: meta.TarSize})
		}
	}
	for i, l := range layers {
		// The manifest is an OCI one, whatever that of the parent is.
		if packed, ok := strings.CutPrefix(l.MediaType, "application/vnd.docker.image.rootfs.diff.tar"); ok {
			layers[i].MediaType = store.MediaTypeLayer + strings.Replace(packed, ".", "+", 1)
		}
	}
	told := 0
	for _, h := range base.History {
		if !h.EmptyLayer {
			told++
		}
	}
	for ; told < len(c.Layers); told++ {
		base.History = append(base.History, imagespec.History{Created: base.Created})
	}
	return base, layers
}
