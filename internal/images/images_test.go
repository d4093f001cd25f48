package images

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

	"berth/internal/errdef"
	"berth/internal/hello"
	"berth/internal/layer"
	"berth/internal/roster"
	"berth/internal/shim"
	"berth/internal/state"
	"berth/internal/store"
)

const digestA = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// withImage lists an image whose single layer holds a file of that text.
func withImage(t *testing.T, s *Set, text string, created time.Time, names ...string) store.Image {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(text))
	w.Close()
	m, err := layer.Open(s.Dir).Add(t.Context(), &b, layer.Options{})
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
	img, err := s.store.Add(store.Addition{Names: names, Manifest: manifest, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// withUser writes the record of a container made from an image.
func withUser(t *testing.T, s *Set, id string, img store.Image, running bool) {
	t.Helper()
	r := roster.Record{V: 1, ID: id, Name: "c" + id[:4], ImageID: img.ID, Layers: img.Layers, Config: &container.Config{}, HostConfig: &container.HostConfig{}}
	if err := os.MkdirAll(s.Roster.Path(id), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := state.WriteJSON(s.Roster.Path(id, roster.RecordFile), &r); err != nil {
		t.Fatal(err)
	}
	if running {
		if err := state.WriteJSON(s.Roster.Path(id, shim.StatusFile), shim.Status{Phase: shim.Running, Shim: state.Self()}); err != nil {
			t.Fatal(err)
		}
	}
}

// openAt opens the images of a data root, the containers of which have records only.
func openAt(t *testing.T, root string) *Set {
	t.Helper()
	dir, err := state.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return Open(Options{Dir: dir, Roster: roster.Open(dir, nil), Driver: func() string { return "overlay" }, Layers: func() *layer.Set { return layer.Open(dir) }})
}

func openSet(t *testing.T) *Set { return openAt(t, filepath.Join(t.TempDir(), "root")) }

var day = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

func TestImageListAndFilters(t *testing.T) {
	s := openSet(t)
	a := withImage(t, s, "aaa", day, "busybox", "busybox"+digestA, "ghcr.io/x/y:v1")
	b := withImage(t, s, "bb", day.Add(time.Hour), "debian:12")
	c := withImage(t, s, "c", day.Add(2*time.Hour), "gone", "gone"+digestA)
	if _, err := s.store.Untag("docker.io/library/gone:latest"); err != nil {
		t.Fatal(err)
	}
	withUser(t, s, strings.Repeat("ab", 32), a, false)
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
		list, err := s.List(t.Context(), ListOptions{All: x.all, Filters: x.filters})
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
		if _, err := s.List(t.Context(), ListOptions{Filters: bad}); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
	list, err := s.List(t.Context(), ListOptions{Filters: map[string][]string{"reference": {"busybox"}}})
	if err != nil {
		t.Fatal(err)
	}
	one := list[0]
	if !slices.Equal(one.RepoTags, []string{"busybox:latest"}) || !slices.Equal(one.RepoDigests, []string{"busybox" + digestA}) ||
		one.Size != 3 || one.Containers != 1 || one.SharedSize != 0 || one.Created != day.Unix() || one.Labels["text"] != "aaa" {
		t.Errorf("%+v", one)
	}
}

func TestImageInspectAndHistory(t *testing.T) {
	s := openSet(t)
	a := withImage(t, s, "aaa", day, "busybox", "busybox"+digestA)
	for _, text := range []string{"busybox", a.ID, a.ID[:15], "busybox" + digestA} {
		r, err := s.Inspect(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		if r.ID != a.ID || r.RepoTags[0] != "busybox:latest" || r.RepoDigests[0] != "busybox"+digestA || r.Config.Cmd[0] != "sh" ||
			r.Architecture != "amd64" || r.Os != "linux" || r.Size != 3 || r.RootFS.Type != "layers" || !slices.Equal(r.RootFS.Layers, a.Layers) ||
			r.Created != "2024-05-06T07:08:09Z" || r.Author != "me" || r.Metadata.LastTagTime.IsZero() {
			t.Errorf("%s: %+v", text, r)
		}
	}
	h, err := s.History(t.Context(), "busybox")
	if err != nil || len(h) != 2 {
		t.Fatalf("%+v, %v", h, err)
	}
	if h[0].ID != a.ID || h[0].Tags[0] != "busybox:latest" || h[0].CreatedBy != "CMD sh" || h[0].Size != 0 ||
		h[1].ID != "<missing>" || h[1].Size != 3 || h[1].Comment != "first" || h[1].Created != day.Unix() {
		t.Errorf("%+v", h)
	}
}

func TestNoSuchImage(t *testing.T) {
	s := openSet(t)
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
		_, err := s.Inspect(t.Context(), text)
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
		if _, err := s.Remove(t.Context(), text, RemoveOptions{}); err == nil || err.Error() != want {
			t.Errorf("remove %q: got %v, want %s", text, err, want)
		}
		if _, err := s.For(t.Context(), text, "", pullNever, nil); err == nil || err.Error() != want {
			t.Errorf("create from %q: got %v, want %s", text, err, want)
		}
	}
}

func TestImageTag(t *testing.T) {
	s := openSet(t)
	a := withImage(t, s, "aaa", day, "busybox")
	b := withImage(t, s, "bb", day, "debian")
	if err := s.Tag(t.Context(), "busybox", "mine:v1"); err != nil {
		t.Fatal(err)
	}
	if img, err := s.Find("mine:v1"); err != nil || img.ID != a.ID {
		t.Errorf("%+v, %v", img, err)
	}
	if err := s.Tag(t.Context(), b.ID[:20], "mine:v1"); err != nil {
		t.Fatal(err)
	}
	if img, err := s.Find("mine:v1"); err != nil || img.ID != b.ID {
		t.Errorf("%+v, %v", img, err)
	}
	for _, c := range []struct{ src, dst, want string }{
		{"nothing", "x", "No such image: nothing:latest"},
		{"busybox", "Bad", `error parsing reference: "Bad" is not a valid repository/tag: invalid reference format: repository name (library/Bad) must be lowercase`},
		{"busybox", "x" + digestA, "refusing to create a tag with a digest reference"},
	} {
		if err := s.Tag(t.Context(), c.src, c.dst); err == nil || err.Error() != c.want {
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
			s := openSet(t)
			img := withImage(t, s, "text", day, c.names...)
			if c.user != "" {
				withUser(t, s, id, img, c.user == "running")
			}
			expand := strings.NewReplacer("ID", img.ID, "LAYER", img.Layers[0], "SHORT", shortImageID(img.ID)).Replace
			gone, err := s.Remove(t.Context(), expand(c.text), RemoveOptions{Force: c.force})
			if got := said(gone); got != expand(c.said) {
				t.Errorf("said:\n%swant:\n%s", got, expand(c.said))
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || err.Error() != expand(c.err) || !errors.Is(err, errdef.ErrConflict)) {
				t.Errorf("error %v, want %q", err, expand(c.err))
			}
			if _, err := s.store.Find(img.ID); (err == nil) != c.left {
				t.Errorf("listed: %v", err)
			}
			if has := layer.Open(s.Dir).Has(img.Layers[0]); has != (c.left || c.user != "") {
				t.Errorf("layer there: %v", has)
			}
			if left, _ := os.ReadDir(s.Dir.Path("tmp")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestImageRemoveWithDamagedContainer(t *testing.T) {
	s := openSet(t)
	img := withImage(t, s, "text", day, "a")
	id := strings.Repeat("ab", 32)
	withUser(t, s, id, img, false)
	if err := os.WriteFile(s.Roster.Path(id, roster.RecordFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), "a", RemoveOptions{Force: true}); err == nil || !strings.Contains(err.Error(), "abababababab") {
		t.Errorf("%v", err)
	}
	if list, err := s.List(t.Context(), ListOptions{}); err != nil || len(list) != 1 || list[0].Containers != -1 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestImagePrune(t *testing.T) {
	s := openSet(t)
	withImage(t, s, "tagged", day, "tagged")
	used := withImage(t, s, "used", day)
	dangling := withImage(t, s, "dangling", day, "x"+digestA)
	withUser(t, s, strings.Repeat("ab", 32), used, false)

	rep, err := s.Prune(t.Context(), false, map[string][]string{"label": {"text=none"}})
	if err != nil || len(rep.ImagesDeleted) != 0 {
		t.Errorf("%+v, %v", rep, err)
	}
	rep, err = s.Prune(t.Context(), false, nil)
	if err != nil || said(rep.ImagesDeleted) != "Untagged: x"+digestA+"\nDeleted: "+dangling.ID+"\nDeleted: "+dangling.Layers[0]+"\n" || rep.SpaceReclaimed < uint64(len("dangling")) {
		t.Errorf("%+v, %v", rep, err)
	}
	rep, err = s.Prune(t.Context(), true, nil)
	if err != nil || !strings.HasPrefix(said(rep.ImagesDeleted), "Untagged: tagged:latest\nDeleted: ") {
		t.Errorf("%+v, %v", rep, err)
	}
	if list, err := s.List(t.Context(), ListOptions{All: true}); err != nil || len(list) != 1 || list[0].ID != used.ID {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := s.Prune(t.Context(), false, map[string][]string{"reference": {"x"}}); err == nil {
		t.Error("an unknown filter is accepted")
	}
}

// A container keeps the layers of its image, which may be removed by force.
func TestDropLayers(t *testing.T) {
	s := openSet(t)
	img := withImage(t, s, "text", day, "a")
	id := strings.Repeat("ab", 32)
	withUser(t, s, id, img, false)
	if err := s.DropLayers(img.ID); err != nil || !layer.Open(s.Dir).Has(img.Layers[0]) {
		t.Errorf("the layer of an image: %v", err)
	}
	if _, err := s.Remove(t.Context(), "a", RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.DropLayers(img.ID); err != nil || !layer.Open(s.Dir).Has(img.Layers[0]) {
		t.Errorf("the layer of a container: %v", err)
	}
	if err := s.Dir.Discard(s.Roster.Path(id)); err != nil {
		t.Fatal(err)
	}
	if err := s.DropLayers(img.ID); err != nil || layer.Open(s.Dir).Has(img.Layers[0]) {
		t.Errorf("the layer of nobody: %v", err)
	}
}

// Another image that cannot be read does not stand in the way.
func TestImageRemoveBesideDamaged(t *testing.T) {
	s := openSet(t)
	bad := withImage(t, s, "bad", day, "bad")
	good := withImage(t, s, "good", day, "good")
	hex, _ := store.Hex(bad.ID)
	if err := os.WriteFile(s.Dir.Path("oci", "blobs", "sha256", hex), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), "good", RemoveOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := s.Prune(t.Context(), false, nil); err != nil {
		t.Error(err)
	}
	if _, err := s.Inspect(t.Context(), "bad"); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Error(err)
	}
	if gone, err := s.Remove(t.Context(), "bad", RemoveOptions{}); err != nil || !strings.Contains(said(gone), "Deleted: "+bad.ID) {
		t.Errorf("%s, %v", said(gone), err)
	}
	for _, l := range []string{bad.Layers[0], good.Layers[0]} {
		if layer.Open(s.Dir).Has(l) {
			t.Errorf("layer %s is left", l)
		}
	}
}

// fakePuller lists an image as a registry client would.
type fakePuller struct {
	Remote
	t     *testing.T
	s     *Set
	calls int
	err   error
}

func (p *fakePuller) Pull(ctx context.Context, s *store.Store, opt PullOptions) (PullResult, error) {
	p.calls++
	if p.err != nil {
		return PullResult{}, p.err
	}
	img := withImage(p.t, p.s, "pulled "+opt.Platform, day, opt.Ref)
	return PullResult{Ref: img.Names[0], Digest: img.ManifestDigest, ImageID: img.ID}, nil
}

// heard is a progress that remembers.
type heard struct{ lines []string }

func (h *heard) Message(text string)                { h.lines = append(h.lines, text) }
func (h *heard) Layer(string, string, int64, int64) {}

func TestImageFor(t *testing.T) {
	s := openSet(t)
	p := &fakePuller{t: t, s: s}
	s.Remote = p
	local := withImage(t, s, "local", day, "app:v1")
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
		img, err := s.For(t.Context(), c.name, c.platform, c.policy, &h)
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
	if err := s.Dir.Discard(store.LayerPath(s.Dir, store.Plain, local.Layers[0])); err != nil {
		t.Fatal(err)
	}
	p.calls = 0
	if _, err := s.For(t.Context(), "app:v1", "", pullMissing, nil); err != nil || p.calls != 1 {
		t.Errorf("%d, %v", p.calls, err)
	}
	p.err = errors.New("no route")
	if _, err := s.For(t.Context(), "other", "", pullMissing, nil); !errors.Is(err, p.err) {
		t.Errorf("%v", err)
	}
	s.Remote = nil
	if _, err := s.Pull(t.Context(), PullOptions{Ref: "other"}); !errors.Is(err, errdef.ErrNotSupported) {
		t.Errorf("%v", err)
	}
}

func TestHelloImage(t *testing.T) {
	s := openSet(t)
	first, err := s.For(t.Context(), "berth/hello", "", pullNever, nil)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(layer.Open(s.Dir).Path(first.Layers[0]), "hello"))
	if err != nil || !bytes.Equal(got, self) {
		t.Errorf("the file is not this program: %d bytes, %v", len(got), err)
	}
	if !slices.Equal(first.Names, []string{hello.Name}) || first.Config.Config.Entrypoint[1] != hello.Arg {
		t.Errorf("%+v", first)
	}
	again, err := s.For(t.Context(), "docker.io/berth/hello:latest", "", pullAlways, nil)
	if err != nil || again.ID != first.ID || !again.Tagged.Equal(first.Tagged) {
		t.Errorf("made twice: %v, %v", again.Tagged, err)
	}
	// Another build has left its image under the name.
	other := withImage(t, s, "other build", day, hello.Name)
	res, err := s.Pull(t.Context(), PullOptions{Ref: "berth/hello"})
	if err != nil || res.ImageID != first.ID || res.Ref != hello.Name {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := s.store.Find(other.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the other build's image: %v", err)
	}
	if layer.Open(s.Dir).Has(other.Layers[0]) {
		t.Error("the other build's layer is still there")
	}
}

// Removing and making the starter image at once never gives a broken one.
func TestHelloAtOnce(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	s := openAt(t, root)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for range 3 {
				if i%3 == 0 {
					_, err := s.Remove(context.Background(), "berth/hello", RemoveOptions{})
					if err != nil && !errors.Is(err, errdef.ErrNotFound) {
						t.Error(err)
					}
				} else if _, err := s.ensureHello(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := s.ensureHello(t.Context()); err != nil {
		t.Error(err)
	}
}
