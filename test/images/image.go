package images

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// Media types. Images with a true OCI field use the OCI ones, the others
// Docker's.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	ociConfig      = "application/vnd.oci.image.config.v1+json"
	ociLayer       = "application/vnd.oci.image.layer.v1.tar"
)

// Blob is something content-addressed: bytes, or a file that is too large to
// hold.
type Blob struct {
	Digest string
	Size   int64
	data   []byte
	file   string
}

func blobOf(data []byte) Blob {
	return Blob{Digest: Digest(data), Size: int64(len(data)), data: data}
}

// Digest returns the sha256 digest of data as registries write it.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (b Blob) open() (io.ReadCloser, error) {
	if b.file != "" {
		return os.Open(b.file)
	}
	return io.NopCloser(bytes.NewReader(b.data)), nil
}

// Layer is one compressed layer.
type Layer struct {
	Blob
	DiffID      string
	compression string // gzip, zstd or none
}

// GzipLayer compresses a tar.
func GzipLayer(tar []byte) Layer {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(tar) // into memory: cannot fail
	w.Close()
	return Layer{Blob: blobOf(buf.Bytes()), DiffID: Digest(tar), compression: "gzip"}
}

// ZstdLayer compresses a tar with zstd.
func ZstdLayer(tar []byte) Layer {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err) // no options, no error
	}
	return Layer{Blob: blobOf(enc.EncodeAll(tar, nil)), DiffID: Digest(tar), compression: "zstd"}
}

// PlainLayer is a tar that is not compressed.
func PlainLayer(tar []byte) Layer {
	return Layer{Blob: blobOf(tar), DiffID: Digest(tar), compression: "none"}
}

// Config is the part of an image configuration that says how to run it.
type Config struct {
	User         string              `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:",omitempty"`
	Env          []string            `json:",omitempty"`
	Entrypoint   []string            `json:",omitempty"`
	Cmd          []string            `json:",omitempty"`
	Volumes      map[string]struct{} `json:",omitempty"`
	WorkingDir   string              `json:",omitempty"`
	Labels       map[string]string   `json:",omitempty"`
	StopSignal   string              `json:",omitempty"`
}

// Image is one image for one platform.
type Image struct {
	Arch   string // empty: amd64
	OCI    bool
	Config Config
	Layers []Layer
}

type history struct {
	Created    string `json:"created"`
	CreatedBy  string `json:"created_by"`
	EmptyLayer bool   `json:"empty_layer,omitempty"`
}

func (im Image) arch() string {
	if im.Arch == "" {
		return "amd64"
	}
	return im.Arch
}

// config returns the image configuration.
func (im Image) config() (Blob, error) {
	const made = "2024-01-01T00:00:00Z"
	var diffs []string
	var hist []history
	for i, l := range im.Layers {
		diffs = append(diffs, l.DiffID)
		hist = append(hist, history{Created: made, CreatedBy: fmt.Sprintf("layer %d of a test image", i+1)})
	}
	hist = append(hist, history{Created: made, CreatedBy: "configuration", EmptyLayer: true})
	b, err := json.Marshal(map[string]any{
		"architecture": im.arch(), "os": "linux", "created": made,
		"config": im.Config, "history": hist,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	return blobOf(b), err
}

type descriptor struct {
	MediaType string            `json:"mediaType"`
	Digest    string            `json:"digest"`
	Size      int64             `json:"size"`
	Platform  map[string]string `json:"platform,omitempty"`
}

func (im Image) layerType(l Layer) string {
	switch {
	case !im.OCI:
		return dockerLayer
	case l.compression == "gzip":
		return ociLayer + "+gzip"
	case l.compression == "zstd":
		return ociLayer + "+zstd"
	}
	return ociLayer
}

// manifest returns the manifest and its media type.
func (im Image) manifest(cfg Blob) (Blob, string, error) {
	typ, cfgType := dockerManifest, dockerConfig
	if im.OCI {
		typ, cfgType = ociManifest, ociConfig
	}
	var layers []descriptor
	for _, l := range im.Layers {
		layers = append(layers, descriptor{MediaType: im.layerType(l), Digest: l.Digest, Size: l.Size})
	}
	b, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": typ,
		"config": descriptor{MediaType: cfgType, Digest: cfg.Digest, Size: cfg.Size},
		"layers": layers,
	})
	return blobOf(b), typ, err
}
