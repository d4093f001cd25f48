package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"berth/internal/layer"
	"berth/internal/state"
	"berth/internal/store"
	"berth/internal/sys"
)

// This program plays the tool that unpacks zstd.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "unzstd" {
		z, err := zstd.NewReader(os.Stdin)
		if err == nil {
			_, err = io.Copy(os.Stdout, z)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func testTool() Tool { return Tool{"/proc/self/exe", []string{"tool", "unzstd"}} }

func testStore(t testing.TB) *store.Store {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	t.Cleanup(func() { sys.RemoveAll(root) })
	dir, err := state.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return store.Open(dir)
}

// member is a file of a test's archive; with link it is a symbolic one.
type member struct{ name, body, link string }

func tarOf(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.body)), Typeflag: tar.TypeReg, Linkname: m.link}
		if m.link != "" {
			h.Typeflag = tar.TypeSymlink
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, m.body)
	}
	w.Close()
	return b.Bytes()
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zst(b []byte) []byte {
	var out bytes.Buffer
	w, _ := zstd.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func js(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func hexOf(b []byte) string { return strings.TrimPrefix(store.Digest(b), "sha256:") }

// fakeImage is an image to put into archives.
type fakeImage struct {
	config string
	layers [][]byte // tar streams
}

func (f fakeImage) id() string { return store.Digest([]byte(f.config)) }

func newFake(t testing.TB, arch string, files ...string) fakeImage {
	var f fakeImage
	ids := []string{}
	for _, name := range files {
		l := tarOf(t, member{name: name, body: "in " + name})
		f.layers = append(f.layers, l)
		ids = append(ids, store.Digest(l))
	}
	f.config = js(map[string]any{"architecture": arch, "os": "linux", "config": map[string]any{"Cmd": []string{"sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	return f
}

// oldDocker is the image as Docker wrote it before version 25.
func (f fakeImage) oldDocker(tags ...string) []member {
	var out []member
	var files []string
	for i, l := range f.layers {
		file := fmt.Sprintf("%s-%d/layer.tar", hexOf(l)[:8], i)
		files = append(files, file)
		out = append(out, member{name: filepath.Dir(file) + "/VERSION", body: "1.0"}, member{name: file, body: string(l)})
	}
	config := hexOf([]byte(f.config)) + ".json"
	return append(out, member{name: config, body: f.config},
		member{name: "manifest.json", body: js([]dockerImage{{Config: config, RepoTags: tags, Layers: files}})})
}

// oci is the image in an OCI layout, its layers packed.
func (f fakeImage) oci(pack func([]byte) []byte) (manifest string, blobs []member) {
	m := store.Manifest{SchemaVersion: 2, MediaType: store.MediaTypeManifest, Layers: []store.Descriptor{},
		Config: store.Descriptor{MediaType: store.MediaTypeConfig, Digest: f.id(), Size: int64(len(f.config))}}
	blob := func(b []byte) store.Descriptor {
		blobs = append(blobs, member{name: blobFolder + hexOf(b), body: string(b)})
		return store.Descriptor{Digest: store.Digest(b), Size: int64(len(b)), MediaType: store.MediaTypeLayer}
	}
	for _, l := range f.layers {
		m.Layers = append(m.Layers, blob(pack(l)))
	}
	blob([]byte(f.config))
	manifest = js(m)
	blob([]byte(manifest))
	return manifest, blobs
}

func (f fakeImage) layout(pack func([]byte) []byte, name string) []member {
	manifest, blobs := f.oci(pack)
	d := store.Descriptor{MediaType: store.MediaTypeManifest, Digest: store.Digest([]byte(manifest)), Size: int64(len(manifest)),
		Annotations: map[string]string{annotationFullName: name}}
	return append(blobs, member{name: layoutFile, body: `{"imageLayoutVersion":"1.0.0"}`},
		member{name: indexFile, body: js(map[string]any{"schemaVersion": 2, "manifests": []store.Descriptor{d}})})
}

func asIs(b []byte) []byte { return b }

// load reads an archive as a file or from a pipe.
func load(t testing.TB, s *store.Store, b []byte, pipe bool, opt LoadOptions) ([]Loaded, error) {
	t.Helper()
	opt.Zstd = testTool()
	if pipe {
		return Load(t.Context(), s, io.MultiReader(bytes.NewReader(b)), opt)
	}
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return Load(t.Context(), s, f, opt)
}

// checkWhole looks whether an image can be used.
func checkWhole(t *testing.T, s *store.Store, f fakeImage, names ...string) {
	t.Helper()
	img, err := s.Find(f.id())
	if err != nil {
		t.Error(err)
		return
	}
	if !slices.Equal(img.Names, names) {
		t.Errorf("names %q, want %q", img.Names, names)
	}
	layers := layer.Open(s.Dir())
	trees, err := layers.Stack(img.Layers)
	if err != nil || len(trees) != len(f.layers) {
		t.Errorf("%q, %v", trees, err)
	}
	m, err := s.Manifest(img.ManifestDigest)
	if err != nil || len(m.Layers) != len(f.layers) {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestLoad(t *testing.T) {
	f := newFake(t, "amd64", "one", "two", "one")
	busybox := "docker.io/library/busybox:latest"
	first := func(members []member) []member { slices.Reverse(members); return members }
	for _, c := range []struct {
		what    string
		members []member
	}{
		{"old docker", f.oldDocker("busybox:latest")},
		{"old docker, documents first", first(f.oldDocker("busybox:latest"))},
		{"OCI layout", f.layout(asIs, busybox)},
		{"OCI layout, gzip", f.layout(gz, busybox)},
		{"OCI layout, zstd, documents first", first(f.layout(zst, busybox))},
		{"both", append(f.layout(gz, busybox), f.oldDocker("busybox")...)},
	} {
		for _, pack := range []func([]byte) []byte{asIs, gz, zst} {
			for _, pipe := range []bool{false, true} {
				s := testStore(t)
				got, err := load(t, s, pack(tarOf(t, c.members...)), pipe, LoadOptions{})
				if err != nil {
					t.Errorf("%s, pipe %v: %v", c.what, pipe, err)
					continue
				}
				if len(got) != 1 || got[0].ID != f.id() || !slices.Equal(got[0].Names, []string{busybox}) {
					t.Errorf("%s: %+v", c.what, got)
				}
				checkWhole(t, s, f, busybox)
				if left, _ := filepath.Glob(s.Dir().Path("tmp", "*")); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
			}
		}
	}
}

// An archive of docker 1.10 to 24 has a layer that comes a second time as a
// link.
func TestLoadLinkedLayer(t *testing.T) {
	f := newFake(t, "amd64", "one", "two")
	g := fakeImage{config: strings.Replace(f.config, `"sh"`, `"ls"`, 1), layers: f.layers}
	members := []member{
		{name: "a/layer.tar", body: string(f.layers[0])}, {name: "b/layer.tar", body: string(f.layers[1])},
		{name: "c/layer.tar", link: "../a/layer.tar"},
		{name: "f.json", body: f.config}, {name: "./g.json", body: g.config},
		{name: "manifest.json", body: js([]dockerImage{
			{Config: "f.json", Layers: []string{"a/layer.tar", "b/layer.tar"}},
			{Config: "g.json", RepoTags: []string{"g:1", "g:2"}, Layers: []string{"./c/layer.tar", "b/layer.tar"}},
		})},
	}
	for _, pipe := range []bool{false, true} {
		s := testStore(t)
		got, err := load(t, s, tarOf(t, members...), pipe, LoadOptions{})
		if err != nil || len(got) != 2 {
			t.Fatalf("%+v, %v", got, err)
		}
		checkWhole(t, s, f)
		checkWhole(t, s, g, "docker.io/library/g:1", "docker.io/library/g:2")
	}
}

func TestLoadPlatform(t *testing.T) {
	amd, arm := newFake(t, "amd64", "one"), newFake(t, "arm64", "two")
	m1, b1 := amd.oci(gz)
	m2, b2 := arm.oci(gz)
	entry := func(m, arch string) store.Descriptor {
		return store.Descriptor{MediaType: store.MediaTypeManifest, Digest: store.Digest([]byte(m)), Size: int64(len(m)),
			Platform: &store.Platform{OS: "linux", Architecture: arch}}
	}
	attest := entry("nothing", "unknown")
	attest.Platform.OS = "unknown"
	inner := js(map[string]any{"schemaVersion": 2, "mediaType": store.MediaTypeIndex, "manifests": []store.Descriptor{entry(m1, "amd64"), attest, entry(m2, "arm64"), entry("not saved", "s390x")}})
	outer := store.Descriptor{MediaType: store.MediaTypeIndex, Digest: store.Digest([]byte(inner)), Size: int64(len(inner)),
		Annotations: map[string]string{annotationFullName: "docker.io/x/y:1", annotationRefName: "1"}}
	members := append(append(b1, b2...), member{name: blobFolder + hexOf([]byte(inner)), body: inner},
		member{name: indexFile, body: js(map[string]any{"manifests": []store.Descriptor{outer}})})
	for _, c := range []struct {
		platform string
		want     fakeImage
	}{{"", amd}, {"linux/arm64", arm}, {"amd64", amd}} {
		for _, pipe := range []bool{false, true} {
			s := testStore(t)
			got, err := load(t, s, tarOf(t, members...), pipe, LoadOptions{Platform: c.platform})
			if err != nil || len(got) != 1 {
				t.Fatalf("%q: %+v, %v", c.platform, got, err)
			}
			checkWhole(t, s, c.want, "docker.io/x/y:1")
		}
	}
	_, err := load(t, testStore(t), tarOf(t, members...), false, LoadOptions{Platform: "linux/ppc64le"})
	if err == nil || err.Error() != "the archive has no image for linux/ppc64le, but for linux/amd64, linux/arm64" {
		t.Error(err)
	}
	// The only one there is will do, unless another was asked for.
	s := testStore(t)
	if _, err := load(t, s, tarOf(t, arm.oldDocker("arm:1")...), false, LoadOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := load(t, s, tarOf(t, arm.oldDocker("arm:1")...), true, LoadOptions{Platform: "linux/amd64"}); err == nil {
		t.Error("an image for another platform was taken")
	}
}

// What is there is not unpacked again, and what is not asked for not at all.
// Documents take memory, however often they are named and wherever they lie.
func TestLoadDocumentsAreBounded(t *testing.T) {
	big := `{"rootfs":{"diff_ids":[]}}` + strings.Repeat(" ", maxDocument-100)
	var members []member
	var images []dockerImage
	for i := range maxDocuments/maxDocument + 1 {
		name := fmt.Sprint(i)
		members, images = append(members, member{name: name, body: big}), append(images, dockerImage{Config: name})
	}
	all := tarOf(t, append(members, member{name: "manifest.json", body: js(images)})...)
	for _, pipe := range []bool{false, true} {
		if _, err := load(t, testStore(t), all, pipe, LoadOptions{}); err == nil || !strings.Contains(err.Error(), "are longer than 64 MiB") {
			t.Errorf("many: %v", err)
		}
	}
	dir, err := list(bytes.NewReader(tarOf(t, member{name: "0", body: "{}"})))
	if err != nil {
		t.Fatal(err)
	}
	a, err := dir.document("0")
	b, err2 := dir.document("0")
	if err != nil || err2 != nil || &a[0] != &b[0] {
		t.Errorf("a document is in memory twice: %v, %v", err, err2)
	}
}

// The first file of a layer may be called like the beginning of a document.
func TestLoadLayerLikeADocument(t *testing.T) {
	f := newFake(t, "amd64", "[slug]", "{x}")
	for _, pipe := range []bool{false, true} {
		s := testStore(t)
		if _, err := load(t, s, tarOf(t, f.layout(asIs, "docker.io/library/a:1")...), pipe, LoadOptions{}); err != nil {
			t.Errorf("pipe %v: %v", pipe, err)
			continue
		}
		checkWhole(t, s, f, "docker.io/library/a:1")
	}
}

func TestLoadTakesWhatIsMissing(t *testing.T) {
	f := newFake(t, "amd64", "one", "two")
	s := testStore(t)
	if _, err := load(t, s, tarOf(t, f.layout(gz, "")...), true, LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, pipe := range []bool{false, true} {
		members := f.layout(asIs, "docker.io/library/again:1")
		loaded := 0
		opt := LoadOptions{Report: func(string, string, int64, int64) { loaded++ }}
		if _, err := load(t, s, tarOf(t, members...), pipe, opt); err != nil || loaded > 0 {
			t.Errorf("pipe %v: %v, %d reports", pipe, err, loaded)
		}
	}
	checkWhole(t, s, f, "docker.io/library/again:1")
}

func TestLoadRefuses(t *testing.T) {
	f := newFake(t, "amd64", "one")
	with := func(members []member, change func(*member)) []member {
		out := slices.Clone(members)
		for i := range out {
			change(&out[i])
		}
		return out
	}
	corrupt := func(what string) func(*member) {
		return func(m *member) {
			if strings.HasPrefix(m.name, blobFolder) && strings.Contains(m.body, what) {
				m.body = strings.Replace(m.body, what, strings.Repeat("X", len(what)), 1)
			}
		}
	}
	layout := f.layout(asIs, "a:1")
	many := make([]dockerImage, maxImages+1)
	for _, c := range []struct {
		what    string
		members []member
		want    string
	}{
		{"nothing", nil, "neither manifest.json nor index.json"},
		{"a file system", []member{{name: "bin/sh", body: "x"}}, "brought in by `import`"},
		{"ancient", []member{{name: "repositories", body: "{}"}}, "older than 1.10"},
		{"a wrong layer", with(layout, corrupt("in one")), "digest"},
		{"a wrong configuration", with(layout, corrupt(`"sh"`)), "is damaged: its digest is"},
		{"a wrong manifest", with(layout, corrupt("schemaVersion")), "is damaged: its digest is"},
		{"a wrong layer of old docker", with(f.oldDocker("a:1"), func(m *member) { m.body = strings.Replace(m.body, "in one", "IN ONE", 1) }), "ayer"},
		{"no layer", slices.DeleteFunc(slices.Clone(layout), func(m member) bool { return strings.Contains(m.body, "in one") }), "is not in the archive"},
		{"climbing", []member{{name: "../../x", body: "x"}}, "leads out of it"},
		{"climbing link", []member{{name: "a/b", link: "../../etc/passwd"}}, "leads out of it"},
		{"climbing configuration", []member{{name: "manifest.json", body: js([]dockerImage{{Config: "../x"}})}}, "leads out of it"},
		{"circling links", []member{{name: "a", link: "b"}, {name: "b", link: "a"}, {name: "manifest.json", body: js([]dockerImage{{Config: "a"}})}}, "not in the archive"},
		{"a bad name", f.oldDocker("Not OK"), `the name "Not OK", which is none`},
		{"a digest as a name", f.oldDocker("a@" + f.id()), "which is none"},
		{"thousands", []member{{name: "manifest.json", body: js(many)}}, "lists 1001 images"},
		{"no JSON", []member{{name: "manifest.json", body: "[nonsense"}}, "not valid"},
		{"an empty list", []member{{name: "manifest.json", body: "[]"}}, "no image"},
		{"a bad digest", []member{{name: "index.json", body: `{"manifests":[{"digest":"sha256:../../x"}]}`}}, "not a sha256 digest"},
		{"layers missing in the list", with(f.oldDocker("a:1"), func(m *member) {
			if m.name == "manifest.json" {
				m.body = strings.Replace(m.body, `"Layers":["`, `"Layers":["x","`, 1)
			}
		}), "has 1 layers, but manifest.json lists 2"},
		{"a long name", []member{{name: strings.Repeat("a/", maxName/2) + "b", body: "x"}}, "longer than a path may be"},
		{"a link to a long name", []member{{name: "a", link: strings.Repeat("a", maxName+1)}}, "longer than a path may be"},
		{"a device", nil, ""},
	} {
		b := tarOf(t, c.members...)
		if c.what == "a device" {
			var buf bytes.Buffer
			w := tar.NewWriter(&buf)
			w.WriteHeader(&tar.Header{Name: "null", Typeflag: tar.TypeChar})
			w.Close()
			b, c.want = buf.Bytes(), "of a kind that archives of images do not have"
		}
		for _, pipe := range []bool{false, true} {
			s := testStore(t)
			_, err := load(t, s, b, pipe, LoadOptions{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, pipe %v: %v, want %q", c.what, pipe, err, c.want)
			}
			if images, err := s.Images(); err != nil || len(images) > 0 {
				t.Errorf("%s: %d images were listed, %v", c.what, len(images), err)
			}
			if left, _ := filepath.Glob(s.Dir().Path("tmp", "*")); len(left) > 0 {
				t.Errorf("%s: left %q", c.what, left)
			}
		}
	}
	whole := gz(tarOf(t, layout...))
	for _, c := range []struct {
		what, want string
		b          []byte
	}{
		{"empty", "the archive is empty", nil},
		{"cut", "ends too early", whole[:len(whole)-30]},
		{"followed by rubbish", "damaged", append(slices.Clone(whole), "rubbish"...)},
		{"cut zstd", "its zstd is damaged", zst(tarOf(t, layout...))[:500]},
		{"damaged zstd", "its zstd is damaged", append(zst(tarOf(t, layout...))[:200], make([]byte, 400)...)},
		{"text", "no tar archive", []byte(strings.Repeat("hello world ", 100))},
		{"xz", "xz -dc", []byte("\xfd7zXZ\x00 and so on")},
		{"cut plain", "", tarOf(t, layout...)[:3000]},
	} {
		s := testStore(t)
		if _, err := load(t, s, c.b, true, LoadOptions{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
		if images, _ := s.Images(); len(images) > 0 {
			t.Errorf("%s: listed", c.what)
		}
	}
}

func TestImport(t *testing.T) {
	s := testStore(t)
	stream := tarOf(t, member{name: "etc/motd", body: "hello"})
	for _, pack := range []func([]byte) []byte{asIs, gz, zst} {
		img, err := Import(t.Context(), s, bytes.NewReader(pack(stream)), ImportOptions{Name: "imp:1", Platform: "linux/arm64", Message: "from a test", Zstd: testTool(),
			Config: map[string]any{"Cmd": []string{"x"}}})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(img.Layers, []string{store.Digest(stream)}) || img.Platform().String() != "linux/arm64" || img.Config.Config.Cmd[0] != "x" ||
			img.Config.History[0].Comment != "from a test" || !slices.Equal(img.Names, []string{"docker.io/library/imp:1"}) || img.Created.IsZero() {
			t.Errorf("%+v", img)
		}
		if b, err := os.ReadFile(layer.Open(s.Dir()).Path(img.Layers[0]) + "/etc/motd"); string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
	}
	if _, err := Import(t.Context(), s, strings.NewReader("no tar at all, but long enough to be one"+strings.Repeat(" ", 600)), ImportOptions{}); err == nil {
		t.Error("text was imported")
	}
}

// FuzzPlan: of whatever comes as an archive, a plan names digests that are
// digests, files that lead nowhere else, and no more than it may.
func FuzzPlan(f *testing.F) {
	a := newFake(f, "amd64", "one")
	f.Add(tarOf(f, a.oldDocker("a:1")...), "")
	f.Add(tarOf(f, a.layout(gz, "a:1")...), "linux/arm64")
	f.Add(tarOf(f, append(a.layout(asIs, "a:1"), a.oldDocker("b:1")...)...), "amd64")
	f.Add(tarOf(f, member{name: "x", link: "y"}, member{name: "index.json", body: `{"manifests":[]}`}), "")
	f.Fuzz(func(t *testing.T, b []byte, platform string) {
		docs := &memory{links: links{}, docs: map[string][]byte{}}
		walk(bytes.NewReader(b), docs.links, func(name string, _ *tar.Header, tr *tar.Reader) error {
			b, err := readDocument(tr, name)
			if err == nil {
				err = docs.add(name, b)
			}
			return err
		})
		dir, err := list(bytes.NewReader(b))
		if err == nil {
			for name, s := range dir.spans {
				if s.at < 0 || s.size < 0 || strings.Contains("/"+name+"/", "/../") {
					t.Errorf("%q lies at %+v", name, s)
				}
			}
		}
		p, err := makePlan(docs, platform)
		if err != nil {
			return
		}
		if len(p.images) == 0 || len(p.images) > maxImages || p.names > maxNames {
			t.Errorf("%d images, %d names", len(p.images), p.names)
		}
		for _, img := range p.images {
			if store.Digest(img.config) != img.id {
				t.Errorf("the configuration of %s is not that", img.id)
			}
			for _, pl := range img.layers {
				if _, ok := store.Hex(pl.diffID); !ok || strings.Contains("/"+pl.file+"/", "/../") {
					t.Errorf("layer %+v", pl)
				}
			}
		}
	})
}
