package commit

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"berth/internal/layer"
	"berth/internal/state"
	"berth/internal/store"
)

func TestConfig(t *testing.T) {
	c := &container.Config{
		Hostname: "box", Env: []string{"A=1"}, Cmd: []string{"sh"}, WorkingDir: "/w", User: "me",
		Labels: map[string]string{"l": "1"}, Volumes: map[string]struct{}{"/v": {}},
		ExposedPorts: network.PortSet{network.MustParsePort("80/tcp"): {}}, OnBuild: []string{"RUN x"},
	}
	got, err := Config(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(got)
	const want = `{"User":"me","ExposedPorts":{"80/tcp":{}},"Env":["A=1"],"Cmd":["sh"],"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"l":"1"},"OnBuild":["RUN x"]}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	got, err = Config(c, []string{"ENV B=$A", "LABEL k=v", "EXPOSE 90", "VOLUME /d", "WORKDIR sub", `ENTRYPOINT ["run"]`})
	if err != nil || got.WorkingDir != "/w/sub" || !slices.Equal(got.Env, []string{"A=1", "B=1"}) || len(got.Cmd) != 0 || len(got.Entrypoint) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if len(c.Env) != 1 || len(c.Labels) != 1 || len(c.Volumes) != 1 || len(c.ExposedPorts) != 1 {
		t.Errorf("the container's own configuration was changed: %+v", c)
	}
	// Without a command of its own an image gets the container's.
	if got, err := Config(c, []string{"ENTRYPOINT []", "CMD []"}); err != nil || !slices.Equal(got.Cmd, []string{"sh"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Config(c, []string{"RUN x"}); err == nil {
		t.Error("RUN was taken")
	}
}

// house is a store with the layers of a base image.
func house(t *testing.T, n int) (*store.Store, []string) {
	t.Helper()
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range n {
		m, err := Layer(t.Context(), layer.Open(dir), func(w io.Writer) error {
			_, err := w.Write(make([]byte, 1024+512*i)) // an empty archive, each another one
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.DiffID)
	}
	return store.Open(dir), ids
}

func TestImage(t *testing.T) {
	s, ids := house(t, 3)
	base := Container{Config: &container.Config{Cmd: []string{"sh", "-c", "x"}}, ImageID: "sha256:" + strings.Repeat("0", 64), Layers: ids[:2], Platform: "linux/arm64/v8"}
	meta := &layer.Meta{DiffID: ids[2], TarSize: 1234}
	// The image of the container is gone, and its layers are not.
	a, err := Image(s, base, dockerspec.DockerOCIImageConfig{}, meta, Note{Author: "me", Message: "why"})
	if err != nil {
		t.Fatal(err)
	}
	a.Names = []string{"docker.io/library/made:one"}
	img, err := s.Add(a)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(img.Layers, ids) || img.Platform().String() != "linux/arm64/v8" || img.Config.Author != "me" {
		t.Errorf("%+v", img)
	}
	h := img.Config.History
	if len(h) != 3 || h[2].CreatedBy != "sh -c x" || h[2].Comment != "why" || h[2].EmptyLayer {
		t.Errorf("history %+v", h)
	}
	m, err := s.Manifest(img.ManifestDigest)
	if err != nil || len(m.Layers) != 3 || m.Layers[2].Digest != ids[2] || m.Layers[2].Size != 1234 || m.Layers[0].MediaType != store.MediaTypeLayer {
		t.Errorf("%+v, %v", m.Layers, err)
	}
}

// TestImageOfImage: descriptors and history of the parent are kept, in OCI's
// words.
func TestImageOfImage(t *testing.T) {
	s, ids := house(t, 2)
	config := []byte(`{"architecture":"amd64","os":"linux","config":{"Env":["P=1"]},"rootfs":{"type":"layers","diff_ids":["` + ids[0] + `"]},"history":[{"created_by":"first"},{"created_by":"none","empty_layer":true}]}`)
	packed := "sha256:" + strings.Repeat("ab", 32)
	manifest, _ := json.Marshal(store.Manifest{SchemaVersion: 2, MediaType: store.MediaTypeDockerManifest,
		Config: store.Descriptor{Digest: store.Digest(config), Size: int64(len(config))},
		Layers: []store.Descriptor{{MediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", Digest: packed, Size: 77}}})
	parent, err := s.Add(store.Addition{Names: []string{"docker.io/library/base:latest"}, Manifest: manifest, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	c := Container{Config: &container.Config{Entrypoint: []string{"e"}, Cmd: []string{"c"}}, ImageID: parent.ID, Layers: ids[:1], Platform: "linux/amd64"}
	for _, m := range []*layer.Meta{{DiffID: ids[1], TarSize: 5}, nil} {
		a, err := Image(s, c, dockerspec.DockerOCIImageConfig{}, m, Note{})
		if err != nil {
			t.Fatal(err)
		}
		var got store.Manifest
		var doc dockerspec.DockerOCIImage
		if json.Unmarshal(a.Manifest, &got) != nil || json.Unmarshal(a.Config, &doc) != nil {
			t.Fatalf("%s %s", a.Manifest, a.Config)
		}
		want := 1
		if m != nil {
			want = 2
			if d := got.Layers[1]; d.MediaType != store.MediaTypeLayer || d.Digest != ids[1] || d.Size != 5 {
				t.Errorf("new layer %+v", d)
			}
		}
		if len(got.Layers) != want || len(doc.RootFS.DiffIDs) != want {
			t.Errorf("%d descriptors and %d diff IDs, want %d", len(got.Layers), len(doc.RootFS.DiffIDs), want)
		}
		if d := got.Layers[0]; d.MediaType != store.MediaTypeLayer+"+gzip" || d.Digest != packed || d.Size != 77 {
			t.Errorf("parent's layer %+v", d)
		}
		if h := doc.History; len(h) != 3 || h[0].CreatedBy != "first" || h[2].CreatedBy != "e c" || h[2].EmptyLayer != (m == nil) {
			t.Errorf("history %+v", h)
		}
		if _, err := s.Add(a); err != nil {
			t.Error(err)
		}
	}
}
