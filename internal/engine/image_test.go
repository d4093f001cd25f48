package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"

	"berth/internal/hello"
	"berth/internal/layer"
	"berth/internal/roster"
	"berth/internal/shim"
	"berth/internal/state"
	"berth/internal/store"
)

const digestA = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// withImage lists an image whose single layer holds a file of that text.
func withImage(t *testing.T, e *Engine, text string, created time.Time, names ...string) store.Image {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(text))
	w.Close()
	m, err := layer.Open(e.dir).Add(t.Context(), &b, layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "created": created, "author": "me",
		"config":  map[string]any{"Cmd": []string{"sh"}, "Labels": map[string]string{"text": text}},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{m.DiffID}},
		"history": []map[string]any{{"created": created, "created_by": "ADD file", "comment": "first"}, {"created": created.Add(time.Second), "created_by": "CMD sh", "empty_layer": true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal(store.Manifest{SchemaVersion: 2, MediaType: store.MediaTypeManifest,
		Config: store.Descriptor{MediaType: store.MediaTypeConfig, Digest: store.Digest(config), Size: int64(len(config))}})
	if err != nil {
		t.Fatal(err)
	}
	img, err := e.images.Add(store.Addition{Names: names, Manifest: manifest, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// withUser writes the record of a container made from an image.
func withUser(t *testing.T, e *Engine, id string, img store.Image, running bool) {
	t.Helper()
	r := record{V: 1, ID: id, Name: "c" + id[:4], ImageID: img.ID, Layers: img.Layers, Config: &container.Config{}, HostConfig: &container.HostConfig{}}
	if err := os.MkdirAll(e.containerDir(id), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := state.WriteJSON(e.containerDir(id, roster.RecordFile), &r); err != nil {
		t.Fatal(err)
	}
	if running {
		if err := state.WriteJSON(e.containerDir(id, shim.StatusFile), shim.Status{Phase: shim.Running, Shim: state.Self()}); err != nil {
			t.Fatal(err)
		}
	}
}

func imageEngine(t *testing.T) *Engine { return openAt(t, filepath.Join(t.TempDir(), "root")) }

var day = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

func TestImageListAndFilters(t *testing.T) {
	e := imageEngine(t)
	a := withImage(t, e, "aaa", day, "busybox", "busybox"+digestA, "ghcr.io/x/y:v1")
	b := withImage(t, e, "bb", day.Add(time.Hour), "debian:12")
	c := withImage(t, e, "c", day.Add(2*time.Hour), "gone", "gone"+digestA)
	if _, err := e.images.Untag("docker.io/library/gone:latest"); err != nil {
		t.Fatal(err)
	}
	withUser(t, e, strings.Repeat("ab", 32), a, false)
	for _, x := range []struct {
		all     bool
		filters map[string][]string
		want    []string
	}{
		{false, nil, []string{b.ID, a.ID}},
		{true, nil, []string{c.ID, b.ID, a.ID}},
		{false, map[string][]string{"dangling": {"true"}}, []string{c.ID}},
		{true, map[string][]string{"dangling": {"false"}}, []string{b.ID, a.ID}},
		{false, map[string][]string{"reference": {"busybox"}}, []string{a.ID}},
		{false, map[string][]string{"reference": {"busybox:*", "debian"}}, []string{b.ID, a.ID}},
		{false, map[string][]string{"reference": {"ghcr.io/*/y"}}, []string{a.ID}},
		{false, map[string][]string{"reference": {"nothing"}}, nil},
		{false, map[string][]string{"label": {"text=bb"}}, []string{b.ID}},
		{false, map[string][]string{"label!": {"text=bb"}}, []string{a.ID}},
		{true, map[string][]string{"before": {"debian:12"}}, []string{a.ID}},
		{true, map[string][]string{"since": {"busybox"}}, []string{c.ID, b.ID}},
		{true, map[string][]string{"until": {day.Add(time.Minute).Format(time.RFC3339)}}, []string{a.ID}},
	} {
		list, err := e.ImageList(t.Context(), ImageListOptions{All: x.all, Filters: x.filters})
		if err != nil {
			t.Errorf("%v: %v", x.filters, err)
		}
		var got []string
		for _, s := range list {
			got = append(got, s.ID)
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%v: got %q, want %q", x.filters, got, x.want)
		}
	}
	for _, bad := range []map[string][]string{{"nonsense": {"x"}}, {"dangling": {"perhaps"}}, {"before": {"nothing"}}, {"until": {"x"}}, {"reference": {"["}}} {
		if _, err := e.ImageList(t.Context(), ImageListOptions{Filters: bad}); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
	list, err := e.ImageList(t.Context(), ImageListOptions{Filters: map[string][]string{"reference": {"busybox"}}})
	if err != nil {
		t.Fatal(err)
	}
	s := list[0]
	if !slices.Equal(s.RepoTags, []string{"busybox:latest"}) || !slices.Equal(s.RepoDigests, []string{"busybox" + digestA}) ||
		s.Size != 3 || s.Containers != 1 || s.SharedSize != 0 || s.Created != day.Unix() || s.Labels["text"] != "aaa" {
		t.Errorf("%+v", s)
	}
}

func TestImageInspectAndHistory(t *testing.T) {
	e := imageEngine(t)
	a := withImage(t, e, "aaa", day, "busybox", "busybox"+digestA)
	for _, text := range []string{"busybox", a.ID, a.ID[:15], "busybox" + digestA} {
		r, err := e.ImageInspect(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		if r.ID != a.ID || r.RepoTags[0] != "busybox:latest" || r.RepoDigests[0] != "busybox"+digestA || r.Config.Cmd[0] != "sh" ||
			r.Architecture != "amd64" || r.Os != "linux" || r.Size != 3 || r.RootFS.Type != "layers" || !slices.Equal(r.RootFS.Layers, a.Layers) ||
			r.Created != "2024-05-06T07:08:09Z" || r.Author != "me" || r.Metadata.LastTagTime.IsZero() {
			t.Errorf("%s: %+v", text, r)
		}
	}
	h, err := e.ImageHistory(t.Context(), "busybox")
	if err != nil || len(h) != 2 {
		t.Fatalf("%+v, %v", h, err)
	}
	if h[0].ID != a.ID || h[0].Tags[0] != "busybox:latest" || h[0].CreatedBy != "CMD sh" || h[0].Size != 0 ||
		h[1].ID != "<missing>" || h[1].Size != 3 || h[1].Comment != "first" || h[1].Created != day.Unix() {
		t.Errorf("%+v", h)
	}
}

func TestNoSuchImage(t *testing.T) {
	e := imageEngine(t)
	for text, want := range map[string]string{
		"nothing":                   "No such image: nothing:latest",
		"nothing:v1":                "No such image: nothing:v1",
		"ghcr.io/a/b":               "No such image: ghcr.io/a/b:latest",
		"docker.io/library/x":       "No such image: x:latest",
		"x" + digestA:               "No such image: x" + digestA,
		strings.Repeat("ab", 32):    "No such image: " + strings.Repeat("ab", 32),
		"sha256:" + digestA[8:]:     "No such image: sha256:" + digestA[8:],
		"UPPER":                     "invalid reference format: repository name (library/UPPER) must be lowercase",
		"a b":                       "invalid reference format",
		"" /* an empty argument */ : "invalid reference format",
	} {
		_, err := e.ImageInspect(t.Context(), text)
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
		if _, err := e.ImageRemove(t.Context(), text, ImageRemoveOptions{}); err == nil || err.Error() != want {
			t.Errorf("remove %q: got %v, want %s", text, err, want)
		}
		if _, err := e.imageFor(t.Context(), text, "", pullNever, nil); err == nil || err.Error() != want {
			t.Errorf("create from %q: got %v, want %s", text, err, want)
		}
	}
}

func TestImageTag(t *testing.T) {
	e := imageEngine(t)
	a := withImage(t, e, "aaa", day, "busybox")
	b := withImage(t, e, "bb", day, "debian")
	if err := e.ImageTag(t.Context(), "busybox", "mine:v1"); err != nil {
		t.Fatal(err)
	}
	if img, err := e.image("mine:v1"); err != nil || img.ID != a.ID {
		t.Errorf("%+v, %v", img, err)
	}
	if err := e.ImageTag(t.Context(), b.ID[:20], "mine:v1"); err != nil {
		t.Fatal(err)
	}
	if img, err := e.image("mine:v1"); err != nil || img.ID != b.ID {
		t.Errorf("%+v, %v", img, err)
	}
	for _, c := range []struct{ src, dst, want string }{
		{"nothing", "x", "No such image: nothing:latest"},
		{"busybox", "Bad", `error parsing reference: "Bad" is not a valid repository/tag: invalid reference format: repository name (library/Bad) must be lowercase`},
		{"busybox", "x" + digestA, "refusing to create a tag with a digest reference"},
	} {
		if err := e.ImageTag(t.Context(), c.src, c.dst); err == nil || err.Error() != c.want {
			t.Errorf("tag %s %s: %v", c.src, c.dst, err)
		}
	}
}

// said puts what a removal answers into lines as the command prints them.
func said(gone []image.DeleteResponse) string {
	var b strings.Builder
	for _, g := range gone {
		if g.Untagged != "" {
			b.WriteString("Untagged: " + g.Untagged + "\n")
		} else {
			b.WriteString("Deleted: " + g.Deleted + "\n")
		}
	}
	return b.String()
}

func TestImageRemove(t *testing.T) {
	const id = "abababababababababababababababababababababababababababababababab"
	for _, c := range []struct {
		name  string
		names []string
		user  string // "", stopped or running
		text  string // ID stands for the image's ID
		force bool
		said  string // ID and LAYER stand for digests
		err   string
		left  bool // the image is still listed
	}{
		{"the only name", []string{"a"}, "", "a", false, "Untagged: a:latest\nDeleted: ID\nDeleted: LAYER\n", "", false},
		{"one of two names", []string{"a", "b"}, "", "a", false, "Untagged: a:latest\n", "", true},
		{"with its digest", []string{"a", "a" + digestA}, "", "a", false, "Untagged: a:latest\nUntagged: a" + digestA + "\nDeleted: ID\nDeleted: LAYER\n", "", false},
		{"the digest stays with another tag", []string{"a", "a:v2", "a" + digestA}, "", "a", false, "Untagged: a:latest\n", "", true},
		{"the digest alone", []string{"a", "a" + digestA}, "", "a" + digestA, false, "Untagged: a" + digestA + "\n", "", true},
		{"by ID", []string{"a", "a" + digestA}, "", "ID", false, "Untagged: a:latest\nUntagged: a" + digestA + "\nDeleted: ID\nDeleted: LAYER\n", "", false},
		{"by ID without a name", nil, "", "ID", false, "Deleted: ID\nDeleted: LAYER\n", "", false},
		{"by ID, two tags", []string{"a", "a:v2"}, "", "ID", false, "", "conflict: unable to delete SHORT (must be forced) - image is referenced in multiple repositories", true},
		{"by ID, two repositories, forced", []string{"a", "b"}, "", "ID", true, "Untagged: a:latest\nUntagged: b:latest\nDeleted: ID\nDeleted: LAYER\n", "", false},
		{"used", []string{"a"}, "stopped", "a", false, "", `conflict: unable to remove repository reference "a" (must force) - container abababababab is using its referenced image SHORT`, true},
		{"used, one of two names", []string{"a", "b"}, "stopped", "a", false, "Untagged: a:latest\n", "", true},
		{"used, forced", []string{"a"}, "stopped", "a", true, "Untagged: a:latest\nDeleted: ID\n", "", false},
		{"used, by ID", []string{"a"}, "stopped", "ID", false, "", "conflict: unable to delete SHORT (must be forced) - image is being used by stopped container abababababab", true},
		{"used, by ID, forced", []string{"a"}, "stopped", "ID", true, "Untagged: a:latest\nDeleted: ID\n", "", false},
		{"running", []string{"a"}, "running", "a", false, "", `conflict: unable to remove repository reference "a" (must force) - container abababababab is using its referenced image SHORT`, true},
		{"running, forced", []string{"a"}, "running", "a", true, "Untagged: a:latest\n", "", true},
		{"running, by ID, forced", []string{"a"}, "running", "ID", true, "", "conflict: unable to delete SHORT (cannot be forced) - image is being used by running container abababababab", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := imageEngine(t)
			img := withImage(t, e, "text", day, c.names...)
			if c.user != "" {
				withUser(t, e, id, img, c.user == "running")
			}
			expand := strings.NewReplacer("ID", img.ID, "LAYER", img.Layers[0], "SHORT", shortImageID(img.ID)).Replace
			gone, err := e.ImageRemove(t.Context(), expand(c.text), ImageRemoveOptions{Force: c.force})
			if got := said(gone); got != expand(c.said) {
				t.Errorf("said:\n%swant:\n%s", got, expand(c.said))
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || err.Error() != expand(c.err) || !errors.Is(err, ErrConflict)) {
				t.Errorf("error %v, want %q", err, expand(c.err))
			}
			if _, err := e.images.Find(img.ID); (err == nil) != c.left {
				t.Errorf("listed: %v", err)
			}
			if has := layer.Open(e.dir).Has(img.Layers[0]); has != (c.left || c.user != "") {
				t.Errorf("layer there: %v", has)
			}
			if left, _ := os.ReadDir(e.dir.Path("tmp")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestImageRemoveWithDamagedContainer(t *testing.T) {
	e := imageEngine(t)
	img := withImage(t, e, "text", day, "a")
	id := strings.Repeat("ab", 32)
	withUser(t, e, id, img, false)
	if err := os.WriteFile(e.containerDir(id, roster.RecordFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e.ImageRemove(t.Context(), "a", ImageRemoveOptions{Force: true}); err == nil || !strings.Contains(err.Error(), "abababababab") {
		t.Errorf("%v", err)
	}
	if list, err := e.ImageList(t.Context(), ImageListOptions{}); err != nil || len(list) != 1 || list[0].Containers != -1 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestImagePrune(t *testing.T) {
	e := imageEngine(t)
	withImage(t, e, "tagged", day, "tagged")
	used := withImage(t, e, "used", day)
	dangling := withImage(t, e, "dangling", day, "x"+digestA)
	withUser(t, e, strings.Repeat("ab", 32), used, false)

	rep, err := e.ImagePrune(t.Context(), false, map[string][]string{"label": {"text=none"}})
	if err != nil || len(rep.ImagesDeleted) != 0 {
		t.Errorf("%+v, %v", rep, err)
	}
	rep, err = e.ImagePrune(t.Context(), false, nil)
	if err != nil || said(rep.ImagesDeleted) != "Untagged: x"+digestA+"\nDeleted: "+dangling.ID+"\nDeleted: "+dangling.Layers[0]+"\n" || rep.SpaceReclaimed < uint64(len("dangling")) {
		t.Errorf("%+v, %v", rep, err)
	}
	rep, err = e.ImagePrune(t.Context(), true, nil)
	if err != nil || !strings.HasPrefix(said(rep.ImagesDeleted), "Untagged: tagged:latest\nDeleted: ") {
		t.Errorf("%+v, %v", rep, err)
	}
	if list, err := e.ImageList(t.Context(), ImageListOptions{All: true}); err != nil || len(list) != 1 || list[0].ID != used.ID {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := e.ImagePrune(t.Context(), false, map[string][]string{"reference": {"x"}}); err == nil {
		t.Error("an unknown filter is accepted")
	}
}

// A container keeps the layers of its image, which may be removed by force.
func TestDropLayers(t *testing.T) {
	e := imageEngine(t)
	img := withImage(t, e, "text", day, "a")
	id := strings.Repeat("ab", 32)
	withUser(t, e, id, img, false)
	if err := e.dropLayers(img.ID); err != nil || !layer.Open(e.dir).Has(img.Layers[0]) {
		t.Errorf("the layer of an image: %v", err)
	}
	if _, err := e.ImageRemove(t.Context(), "a", ImageRemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if err := e.dropLayers(img.ID); err != nil || !layer.Open(e.dir).Has(img.Layers[0]) {
		t.Errorf("the layer of a container: %v", err)
	}
	if err := e.dir.Discard(e.containerDir(id)); err != nil {
		t.Fatal(err)
	}
	if err := e.dropLayers(img.ID); err != nil || layer.Open(e.dir).Has(img.Layers[0]) {
		t.Errorf("the layer of nobody: %v", err)
	}
}

// Another image that cannot be read does not stand in the way.
func TestImageRemoveBesideDamaged(t *testing.T) {
	e := imageEngine(t)
	bad := withImage(t, e, "bad", day, "bad")
	good := withImage(t, e, "good", day, "good")
	hex, _ := store.Hex(bad.ID)
	if err := os.WriteFile(e.dir.Path("oci", "blobs", "sha256", hex), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e.ImageRemove(t.Context(), "good", ImageRemoveOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := e.ImagePrune(t.Context(), false, nil); err != nil {
		t.Error(err)
	}
	if _, err := e.ImageInspect(t.Context(), "bad"); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Error(err)
	}
	if gone, err := e.ImageRemove(t.Context(), "bad", ImageRemoveOptions{}); err != nil || !strings.Contains(said(gone), "Deleted: "+bad.ID) {
		t.Errorf("%s, %v", said(gone), err)
	}
	for _, l := range []string{bad.Layers[0], good.Layers[0]} {
		if layer.Open(e.dir).Has(l) {
			t.Errorf("layer %s is left", l)
		}
	}
}

// fakePuller lists an image as a registry client would.
type fakePuller struct {
	Remote
	t     *testing.T
	e     *Engine
	calls int
	err   error
}

func (p *fakePuller) Pull(ctx context.Context, s *store.Store, opt PullOptions) (PullResult, error) {
	p.calls++
	if p.err != nil {
		return PullResult{}, p.err
	}
	img := withImage(p.t, p.e, "pulled "+opt.Platform, day, opt.Ref)
	return PullResult{Ref: img.Names[0], Digest: img.ManifestDigest, ImageID: img.ID}, nil
}

// heard is a progress that remembers.
type heard struct{ lines []string }

func (h *heard) Message(text string)                { h.lines = append(h.lines, text) }
func (h *heard) Layer(string, string, int64, int64) {}

func TestImageFor(t *testing.T) {
	e := imageEngine(t)
	p := &fakePuller{t: t, e: e}
	e.remote = p
	local := withImage(t, e, "local", day, "app:v1")
	for _, c := range []struct {
		name, platform, policy string
		calls                  int
		err                    string
	}{
		{"app:v1", "", "", 0, ""},
		{"app:v1", "", pullNever, 0, ""},
		{"app:v1", "linux/amd64", pullMissing, 0, ""},
		{local.ID[:18], "", pullMissing, 0, ""},
		{"app:v1", "linux/arm64", pullNever, 0, "image with reference app:v1 was found but its platform (linux/amd64) does not match the specified platform (linux/arm64)"},
		{"app:v1", "no/such/plat/form", pullNever, 0, "invalid platform"},
		{"app:v1", "", "sometimes", 0, "invalid pull option: 'sometimes': must be one of"},
		{"new", "", pullNever, 0, "No such image: new:latest"},
		{"new", "", pullMissing, 1, ""},
		{"new", "", pullMissing, 0, ""},
		{"new", "", pullAlways, 1, ""},
		{"new2", "linux/arm64", pullMissing, 1, ""},
		{strings.Repeat("ab", 32), "", pullMissing, 0, "No such image: "},
		{"UPPER", "", pullAlways, 0, "must be lowercase"},
	} {
		p.calls = 0
		var h heard
		img, err := e.imageFor(t.Context(), c.name, c.platform, c.policy, &h)
		if p.calls != c.calls {
			t.Errorf("%v: pulled %d times", c, p.calls)
		}
		if c.err == "" && (err != nil || img.ID == "") || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%v: %v", c, err)
		}
		if c.calls > 0 && (len(h.lines) != 2 || !strings.HasPrefix(h.lines[0], "Digest: sha256:") || h.lines[1] != "Status: Downloaded newer image for "+c.name+":latest") {
			t.Errorf("%v: heard %q", c, h.lines)
		}
	}
	// An image whose layer was removed by hand is pulled anew.
	if err := e.dir.Discard(store.LayerPath(e.dir, local.Layers[0])); err != nil {
		t.Fatal(err)
	}
	p.calls = 0
	if _, err := e.imageFor(t.Context(), "app:v1", "", pullMissing, nil); err != nil || p.calls != 1 {
		t.Errorf("%d, %v", p.calls, err)
	}
	p.err = errors.New("no route")
	if _, err := e.imageFor(t.Context(), "other", "", pullMissing, nil); !errors.Is(err, p.err) {
		t.Errorf("%v", err)
	}
	e.remote = nil
	if _, err := e.ImagePull(t.Context(), PullOptions{Ref: "other"}); !errors.Is(err, ErrNotSupported) {
		t.Errorf("%v", err)
	}
}

func TestHelloImage(t *testing.T) {
	e := imageEngine(t)
	first, err := e.imageFor(t.Context(), "berth/hello", "", pullNever, nil)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(layer.Open(e.dir).Path(first.Layers[0]), "hello"))
	if err != nil || !bytes.Equal(got, self) {
		t.Errorf("the file is not this program: %d bytes, %v", len(got), err)
	}
	if !slices.Equal(first.Names, []string{hello.Name}) || first.Config.Config.Entrypoint[1] != hello.Arg {
		t.Errorf("%+v", first)
	}
	again, err := e.imageFor(t.Context(), "docker.io/berth/hello:latest", "", pullAlways, nil)
	if err != nil || again.ID != first.ID || !again.Tagged.Equal(first.Tagged) {
		t.Errorf("made twice: %v, %v", again.Tagged, err)
	}
	// Another build has left its image under the name.
	other := withImage(t, e, "other build", day, hello.Name)
	res, err := e.ImagePull(t.Context(), PullOptions{Ref: "berth/hello"})
	if err != nil || res.ImageID != first.ID || res.Ref != hello.Name {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := e.images.Find(other.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the other build's image: %v", err)
	}
	if layer.Open(e.dir).Has(other.Layers[0]) {
		t.Error("the other build's layer is still there")
	}
}

// Removing and making the starter image at once never gives a broken one.
func TestHelloAtOnce(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	e := openAt(t, root)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for range 3 {
				if i%3 == 0 {
					_, err := e.ImageRemove(context.Background(), "berth/hello", ImageRemoveOptions{})
					if err != nil && !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
				} else if _, err := e.ensureHello(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := e.ensureHello(t.Context()); err != nil {
		t.Error(err)
	}
}
