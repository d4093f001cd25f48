package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"berth/internal/layer"
	"berth/internal/registry/ref"
	"berth/internal/store"
)

// Chosen is an image to save, under those of its names that were asked for.
type Chosen struct {
	Image store.Image
	Names []string // full names with a tag; none: the archive knows the image by its ID
}

// blob is a file below blobs/ of an archive.
type blob struct {
	size  int64
	write func(ctx context.Context, w io.Writer) error
}

// saving is one call of Save: the documents of the archive, and where the
// layers come from.
type saving struct {
	store  *store.Store
	layers *layer.Set
	docs   map[string]blob // manifests and configurations, by digest
	bulk   map[string]blob // layers
	order  []string        // of bulk
	index  []store.Descriptor
	list   []dockerImage
	repos  map[string]map[string]string
}

// Save writes images as one archive to w. Everything that can be known to be
// missing is told before the first byte. What is being written stays, also if
// an image is removed meanwhile.
func Save(ctx context.Context, s *store.Store, layers *layer.Set, images []Chosen, w io.Writer) error {
	var needed []string
	for _, c := range images {
		blobs, err := s.Blobs(c.Image)
		if err != nil {
			return err
		}
		needed = slices.Concat(needed, c.Image.Layers, slices.Collect(maps.Keys(blobs)))
	}
	lease, err := s.Lease(needed)
	if err != nil {
		return err
	}
	defer lease.Close()
	v := &saving{store: s, layers: layers, docs: map[string]blob{}, bulk: map[string]blob{}, repos: map[string]map[string]string{}}
	for _, c := range images {
		if err := v.add(c); err != nil {
			return fmt.Errorf("cannot save image %s: %w", shortID(c.Image.ID), err)
		}
	}
	return v.write(ctx, w)
}

// add takes in an image.
func (v *saving) add(c Chosen) error {
	config, err := v.store.Get(c.Image.ID)
	if err != nil {
		return err
	}
	descs, err := v.addLayers(c.Image)
	if err != nil {
		return err
	}
	d, err := v.addManifest(c.Image, config, descs)
	if err != nil {
		return err
	}
	v.addDocument(c.Image.ID, config)
	entry := dockerImage{Config: blobName(c.Image.ID), RepoTags: []string{}, Layers: []string{}, LayerSources: map[string]store.Descriptor{}}
	for i, l := range descs {
		entry.Layers = append(entry.Layers, blobName(l.Digest))
		entry.LayerSources[c.Image.Layers[i]] = store.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size}
	}
	platform := c.Image.Platform()
	d.Platform = &platform
	for _, name := range slices.Sorted(slices.Values(c.Names)) {
		r, err := ref.Parse(name)
		if err != nil {
			return err
		}
		entry.RepoTags = append(entry.RepoTags, r.Familiar())
		named := d
		named.Annotations = map[string]string{annotationFullName: r.String(), annotationRefName: r.Tag}
		v.index = append(v.index, named)
		if n := len(descs); n > 0 {
			if v.repos[r.FamiliarName()] == nil {
				v.repos[r.FamiliarName()] = map[string]string{}
			}
			v.repos[r.FamiliarName()][r.Tag] = strings.TrimPrefix(descs[n-1].Digest, "sha256:")
		}
	}
	if len(c.Names) == 0 {
		v.index = append(v.index, d)
	}
	v.list = append(v.list, entry)
	return nil
}

func blobName(digest string) string { return blobFolder + strings.TrimPrefix(digest, "sha256:") }

func (v *saving) addDocument(digest string, b []byte) {
	v.docs[digest] = blob{int64(len(b)), func(_ context.Context, w io.Writer) error {
		_, err := w.Write(b)
		return err
	}}
}

// addLayers finds the bytes of an image's layers and returns what describes
// them: the kept blob, or the tar stream.
func (v *saving) addLayers(img store.Image) ([]store.Descriptor, error) {
	m, err := v.store.Manifest(img.ManifestDigest)
	if err != nil {
		return nil, err
	}
	var out []store.Descriptor
	for i, id := range img.Layers {
		var d store.Descriptor
		if len(m.Layers) == len(img.Layers) {
			d = m.Layers[i]
		}
		if size, ok := v.store.HasBlob(d.Digest); ok && size == d.Size {
			d = store.Descriptor{MediaType: ociLayer(d.MediaType), Digest: d.Digest, Size: d.Size, Annotations: d.Annotations}
			v.addBulk(d, func(_ context.Context, w io.Writer) error { return v.copyBlob(d, w) })
			out = append(out, d)
			continue
		}
		meta, err := v.layers.Find(id)
		if err != nil {
			return nil, fmt.Errorf("%w: pull the image again", err)
		}
		if meta.TarSize == 0 {
			return nil, fmt.Errorf("layer %s was unpacked by an older berth: remove the image and pull it again", shortID(id))
		}
		d = store.Descriptor{MediaType: store.MediaTypeLayer, Digest: id, Size: meta.TarSize}
		v.addBulk(d, func(ctx context.Context, w io.Writer) error { return v.layers.Tar(ctx, id, w) })
		out = append(out, d)
	}
	return out, nil
}

func (v *saving) addBulk(d store.Descriptor, write func(context.Context, io.Writer) error) {
	if _, ok := v.bulk[d.Digest]; !ok {
		v.bulk[d.Digest] = blob{d.Size, write}
		v.order = append(v.order, d.Digest)
	}
}

// copyBlob copies a kept blob and compares it with its digest.
func (v *saving) copyBlob(d store.Descriptor, w io.Writer) error {
	f, _, err := v.store.OpenBlob(d.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	return copyVerified(w, f, d.Digest)
}

// ociLayer is the OCI word for what a manifest of Docker calls a layer.
func ociLayer(mediaType string) string {
	switch mediaType {
	case "application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":
		return store.MediaTypeLayer + "+gzip"
	case "application/vnd.docker.image.rootfs.diff.tar.zstd":
		return store.MediaTypeLayer + "+zstd"
	case "application/vnd.docker.image.rootfs.diff.tar", "":
		return store.MediaTypeLayer
	}
	return mediaType
}

// addManifest takes in the manifest of an image: as it is, if it describes the
// layers as they are written, else one that does.
func (v *saving) addManifest(img store.Image, config []byte, layers []store.Descriptor) (store.Descriptor, error) {
	b, err := v.store.Get(img.ManifestDigest)
	if err != nil {
		return store.Descriptor{}, err
	}
	var m store.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return store.Descriptor{}, err
	}
	same := slices.EqualFunc(m.Layers, layers, func(a, b store.Descriptor) bool { return a.Digest == b.Digest })
	if !same {
		m = store.Manifest{
			SchemaVersion: 2, MediaType: store.MediaTypeManifest, Layers: layers, Annotations: m.Annotations,
			Config: store.Descriptor{MediaType: store.MediaTypeConfig, Digest: img.ID, Size: int64(len(config))},
		}
		if m.Layers == nil {
			m.Layers = []store.Descriptor{}
		}
		if b, err = encode(m); err != nil {
			return store.Descriptor{}, err
		}
	}
	d := store.Descriptor{MediaType: m.MediaType, Digest: store.Digest(b), Size: int64(len(b))}
	if d.MediaType == "" {
		d.MediaType = store.MediaTypeManifest
	}
	v.addDocument(d.Digest, b)
	return d, nil
}

// encode writes JSON on one line, without the escapes that are meant for HTML.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(value)
	return bytes.TrimSpace(b.Bytes()), err
}

// write writes the archive.
func (v *saving) write(ctx context.Context, w io.Writer) error {
	out := &tarWriter{ctx: ctx, tw: tar.NewWriter(w)}
	index := struct {
		SchemaVersion int                `json:"schemaVersion"`
		MediaType     string             `json:"mediaType"`
		Manifests     []store.Descriptor `json:"manifests"`
	}{2, store.MediaTypeIndex, v.index}
	out.document(layoutFile, map[string]string{"imageLayoutVersion": "1.0.0"})
	out.document(indexFile, index)
	out.document(dockerFile, v.list)
	out.document(repositoriesFile, v.repos)
	out.folder("blobs/")
	out.folder(blobFolder)
	for _, digest := range slices.Sorted(maps.Keys(v.docs)) {
		out.file(blobName(digest), v.docs[digest])
	}
	for _, digest := range v.order {
		out.file(blobName(digest), v.bulk[digest])
	}
	if out.err == nil {
		out.err = out.tw.Close()
	}
	return out.err
}

// tarWriter writes entries until something fails. Their times are those of
// 1970, so that the same images make the same bytes.
type tarWriter struct {
	ctx context.Context
	tw  *tar.Writer
	err error
}

func (t *tarWriter) header(h tar.Header) {
	if t.err == nil {
		t.err = t.ctx.Err()
	}
	if t.err == nil {
		h.ModTime, h.Format = time.Unix(0, 0), tar.FormatUSTAR
		if h.Size >= 8<<30 { // more than the old format can say
			h.Format = tar.FormatPAX
		}
		t.err = t.tw.WriteHeader(&h)
	}
}

func (t *tarWriter) folder(name string) {
	t.header(tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755})
}

func (t *tarWriter) document(name string, value any) {
	b, err := encode(value)
	if t.err == nil {
		t.err = err
	}
	t.file(name, blob{int64(len(b)), func(_ context.Context, w io.Writer) error {
		_, err := w.Write(b)
		return err
	}})
}

func (t *tarWriter) file(name string, b blob) {
	t.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: b.size})
	if t.err != nil {
		return
	}
	if t.err = b.write(t.ctx, t.tw); t.err == nil {
		t.err = t.tw.Flush() // fails if the file was shorter than it should be
	}
	if errors.Is(t.err, tar.ErrWriteTooLong) {
		t.err = fmt.Errorf("%s is longer than it should be", name)
	}
}
