package registrytest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Media types of the two families of images.
const (
	OCIIndex       = "application/vnd.oci.image.index.v1+json"
	OCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	OCIConfig      = "application/vnd.oci.image.config.v1+json"
	DockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerConfig   = "application/vnd.docker.container.image.v1+json"
)

// Descriptor names a blob.
type Descriptor struct {
	MediaType string            `json:"mediaType"`
	Digest    string            `json:"digest"`
	Size      int64             `json:"size"`
	URLs      []string          `json:"urls,omitempty"`
	Platform  map[string]string `json:"platform,omitempty"`
}

// Layer is the content of a layer and how it is packed: "gzip", "zstd" or "".
type Layer struct {
	Tar     []byte
	Packing string
}

// Image is an image in memory.
type Image struct {
	Type     string // of the manifest
	Manifest []byte
	Digest   string
	ID       string // digest of the configuration
	Platform string
	Layers   []Descriptor
	DiffIDs  []string
	Blobs    map[string][]byte // configuration and layers by digest
}

// Build makes an image for a platform (os/arch[/variant]). Docker's media
// types are used instead of OCI's when docker is set.
func Build(t testing.TB, platform string, docker bool, layers ...Layer) *Image {
	t.Helper()
	img := &Image{Type: OCIManifest, Platform: platform, Blobs: map[string][]byte{}}
	for _, l := range layers {
		packed, kind := pack(t, l, docker)
		d := Descriptor{MediaType: kind, Digest: Digest(packed), Size: int64(len(packed))}
		img.Blobs[d.Digest] = packed
		img.Layers = append(img.Layers, d)
		img.DiffIDs = append(img.DiffIDs, Digest(l.Tar))
	}
	p := split(platform)
	config := Must(json.Marshal(map[string]any{
		"architecture": p["architecture"], "os": p["os"], "variant": p["variant"],
		"config": map[string]any{"Cmd": []string{"/bin/true"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": append([]string{}, img.DiffIDs...)},
	}))
	img.ID = Digest(config)
	img.Blobs[img.ID] = config
	configType := OCIConfig
	if docker {
		img.Type, configType = DockerManifest, DockerConfig
	}
	img.SetManifest(Must(json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": img.Type,
		"config": Descriptor{MediaType: configType, Digest: img.ID, Size: int64(len(config))},
		"layers": append([]Descriptor{}, img.Layers...),
	})))
	return img
}

// SetManifest replaces the manifest.
func (img *Image) SetManifest(raw []byte) {
	img.Manifest, img.Digest = raw, Digest(raw)
}

func pack(t testing.TB, l Layer, docker bool) ([]byte, string) {
	t.Helper()
	kind := "application/vnd.oci.image.layer.v1.tar"
	if docker {
		kind = "application/vnd.docker.image.rootfs.diff.tar"
	}
	var b bytes.Buffer
	var w io.WriteCloser
	switch l.Packing {
	case "":
		return l.Tar, kind
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		w = Must(zstd.NewWriter(&b))
	default:
		t.Fatalf("unknown packing %q", l.Packing)
	}
	_, err := w.Write(l.Tar)
	if e := w.Close(); err == nil {
		err = e
	}
	if err != nil {
		t.Fatal(err)
	}
	if docker {
		return b.Bytes(), kind + "." + l.Packing
	}
	return b.Bytes(), kind + "+" + l.Packing
}

// List makes a list of images.
func List(docker bool, images ...*Image) (mediaType string, raw []byte) {
	mediaType = OCIIndex
	if docker {
		mediaType = DockerList
	}
	var entries []Descriptor
	for _, img := range images {
		entries = append(entries, Descriptor{MediaType: img.Type, Digest: img.Digest, Size: int64(len(img.Manifest)), Platform: split(img.Platform)})
	}
	return mediaType, Must(json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": mediaType, "manifests": entries}))
}

func split(platform string) map[string]string {
	m := map[string]string{}
	for i, part := range strings.Split(platform, "/") {
		m[[]string{"os", "architecture", "variant"}[i]] = part
	}
	return m
}

// File is an entry of a layer. A name that ends in a slash is a folder.
type File struct{ Name, Body string }

// Tar packs files.
func Tar(t testing.TB, files ...File) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.Name, Mode: 0o644, Size: int64(len(f.Body)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(f.Name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.Body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Digest returns the sha256 digest of b.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Must returns v; an error in what a test prepares is a mistake in the test.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Push stores the image in a registry, under the tag if there is one, else
// under its digest.
func (s *Server) Push(t testing.TB, repo, tag string, img *Image) {
	t.Helper()
	for digest, b := range img.Blobs {
		s.pushBlob(t, repo, digest, b)
	}
	if tag == "" {
		tag = img.Digest
	}
	s.PushManifest(t, repo, tag, img.Type, img.Manifest)
}

func (s *Server) pushBlob(t testing.TB, repo, digest string, b []byte) {
	t.Helper()
	resp := s.do(t, "POST", s.URL+"/v2/"+repo+"/blobs/uploads/", "", nil, http.StatusAccepted)
	where := resp.Header.Get("Location")
	sep := "?"
	if strings.Contains(where, "?") {
		sep = "&"
	}
	s.do(t, "PUT", where+sep+"digest="+digest, "application/octet-stream", b, http.StatusCreated)
}

// PushManifest stores a manifest or list.
func (s *Server) PushManifest(t testing.TB, repo, tag, mediaType string, raw []byte) {
	t.Helper()
	s.do(t, "PUT", s.URL+"/v2/"+repo+"/manifests/"+tag, mediaType, raw, http.StatusCreated)
}

func (s *Server) do(t testing.TB, method, url, contentType string, body []byte, want int) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if s.opt.Auth {
		req.SetBasicAuth(User, Password)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 2000))
		t.Fatal(fmt.Sprintf("%s %s: %s: %s", method, url, resp.Status, said))
	}
	return resp
}
