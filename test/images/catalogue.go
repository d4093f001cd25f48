package images

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

//go:embed files/sglang/__init__.py
var sglangInit string

//go:embed files/sglang/launch_server.py
var sglangServer string

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// recipe is this package's own text: when it changes the images do.
//
//go:embed *.go files
var recipe embed.FS

// Version names the state of the catalogue. A registry that was filled by the
// same version need not be filled again.
func Version() (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(recipe, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := recipe.ReadFile(p)
		sum.Write(b)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil))[:16], err
}

// named is one entry of the catalogue.
type named struct {
	repo, tag string
	images    []Image
}

// PushAll makes every image of the catalogue, with the slow parts kept in the
// folder cache, and pushes them to the registry at base.
func PushAll(base, cache string, log io.Writer) error {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	minbase, python, err := debianLayers(cache, log)
	if err != nil {
		return err
	}
	bb, err := busyboxLayer()
	if err != nil {
		return err
	}
	all := append(plain(bb, minbase, python), special(bb)...)
	all = append(all, hostile(bb)...)
	for _, n := range all {
		if err := Push(base, n.repo, n.tag, n.images...); err != nil {
			return fmt.Errorf("image %s:%s: %w", n.repo, n.tag, err)
		}
	}
	return nil
}

// plain are the images a person knows.
func plain(bb, minbase, python Layer) []named {
	shell := Config{Env: []string{path}, Cmd: []string{"sh"}}
	bash := Config{Env: []string{path}, Cmd: []string{"bash"}}
	busybox := []Image{
		{Config: shell, Layers: []Layer{bb}},
		{Arch: "arm64", Config: shell, Layers: []Layer{bb, textLayer("etc/arch", "arm64\n")}},
	}
	debian := Image{OCI: true, Config: bash, Layers: []Layer{minbase}}
	py := Image{OCI: true, Config: Config{Env: []string{path, "LANG=C.UTF-8"}, Cmd: []string{"python3"}}, Layers: []Layer{minbase, python}}
	return []named{
		{"library/busybox", "latest", busybox},
		{"library/busybox", "1.35", busybox},
		{"library/debian", "latest", []Image{debian}},
		{"library/debian", "bookworm", []Image{debian}},
		{"library/python", "latest", []Image{py}},
		{"lmsysorg/sglang", "latest", []Image{sglang(minbase, python)}},
	}
}

// sglang is the stand-in: see the package comment.
func sglang(minbase, python Layer) Image {
	const lib = "usr/lib/python3/dist-packages/sglang/"
	return Image{
		Config: Config{
			Env:        []string{path, "LANG=C.UTF-8", "PYTHONUNBUFFERED=1"},
			Cmd:        []string{"/bin/bash"},
			WorkingDir: "/sgl-workspace/sglang",
			Labels:     map[string]string{"stand-in": "for berth's tests, not the real image"},
		},
		Layers: []Layer{minbase, python, GzipLayer(Tar(
			Entry{Name: lib}, Entry{Name: lib + "__init__.py", Body: sglangInit},
			Entry{Name: lib + "launch_server.py", Body: sglangServer},
			Entry{Name: "sgl-workspace/"}, Entry{Name: "sgl-workspace/sglang/"},
			Entry{Name: "sgl-workspace/sglang/README.md", Body: "This image is a stand-in.\n"},
		))},
	}
}

func textLayer(name, body string) Layer {
	return GzipLayer(Tar(Entry{Name: name, Body: body}))
}

// tall is a stack of 127 layers, as many as Docker takes. Each has a file of its
// own and one that all have.
func tall(bb Layer) []Layer {
	layers := []Layer{bb}
	for i := 1; i < 127; i++ {
		n := strconv.Itoa(i)
		layers = append(layers, GzipLayer(Tar(Entry{Name: "tall/" + n, Body: n + "\n"}, Entry{Name: "tall/top", Body: n + "\n"})))
	}
	return layers
}

// special are images that each show one thing.
func special(bb Layer) []named {
	shell := Config{Env: []string{path}, Cmd: []string{"sh"}}
	kit := Config{
		User: "worker", Env: []string{path, "FROM_IMAGE=yes", "EMPTY="}, WorkingDir: "/srv/made/by/image",
		Entrypoint: []string{"/bin/entry", "fixed"}, Cmd: []string{"default", "words"},
		Volumes: map[string]struct{}{"/data": {}}, ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		Labels: map[string]string{"kind": "kit", "from": "image"}, StopSignal: "SIGUSR1",
	}
	kitFiles := GzipLayer(Tar(
		Entry{Name: "bin/entry", Body: "#!/bin/sh\necho entry \"$@\"\n"},
		Entry{Name: "etc/passwd", Body: "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000:worker:/home/worker:/bin/sh\nother:x:1001:100::/home/other:/bin/sh\n"},
		Entry{Name: "etc/group", Body: "root:x:0:\nworker:x:1000:\nusers:x:100:\nextra:x:2000:worker\nmore:x:2001:\n"},
		Entry{Name: "home/worker/", UID: 1000, GID: 1000, Mode: 0o750},
		Entry{Name: "data/", UID: 1000, GID: 1000, Mode: 0o750},
		Entry{Name: "data/from-image", Body: "copied up\n", UID: 1000, GID: 1000},
		Entry{Name: "data/sub/", Mode: 0o700, UID: 1000, GID: 1000},
		Entry{Name: "data/sub/link", Type: '2', Link: "../from-image"},
	))
	whiteout := []Layer{
		bb,
		GzipLayer(Tar(Entry{Name: "gone", Body: "x"}, Entry{Name: "dir/"}, Entry{Name: "dir/old", Body: "x"}, Entry{Name: "dir/sub/"}, Entry{Name: "dir/sub/old", Body: "x"}, Entry{Name: "swap", Body: "file"})),
		GzipLayer(Tar(Entry{Name: ".wh.gone"}, Entry{Name: "dir/"}, Entry{Name: "dir/.wh..wh..opq"}, Entry{Name: "dir/new", Body: "new\n"}, Entry{Name: "swap/"}, Entry{Name: "swap/in", Body: "folder now\n"})),
	}
	odd := GzipLayer(Tar(
		Entry{Name: "odd/"}, Entry{Name: "odd/sp ace", Body: "1"}, Entry{Name: "odd/uml-\u00e4\u4e16", Body: "2"},
		Entry{Name: "odd/" + strings.Repeat("n", 255), Body: "longest name"},
		Entry{Name: "odd/locked/", Mode: 0o555}, Entry{Name: "odd/locked/file", Body: "3", Mode: 0o444},
		Entry{Name: "odd/closed/", Mode: 0o1}, Entry{Name: "odd/closed/file", Body: "4"},
		Entry{Name: "odd/suid", Body: "#!/bin/sh\n", Mode: 0o4755}, Entry{Name: "odd/fifo", Type: '6'},
		Entry{Name: "odd/abs", Type: '2', Link: "/odd/sp ace"}, Entry{Name: "odd/dangling", Type: '2', Link: "/nowhere"},
		Entry{Name: "odd/theirs", Body: "5", UID: 70000, GID: 70001},
		Entry{Name: "odd/noexec", Body: "not a program\n", Mode: 0o755},
		Entry{Name: "odd/badinterp", Body: "#!/no/such/interpreter\n"},
	))
	return []named{
		{"test/kit", "latest", []Image{{Config: kit, Layers: []Layer{bb, kitFiles}}}},
		{"test/zstd", "latest", []Image{{OCI: true, Config: shell, Layers: []Layer{bb, ZstdLayer(Tar(Entry{Name: "kind", Body: "zstd\n"}))}}}},
		{"test/uncompressed", "latest", []Image{{OCI: true, Config: shell, Layers: []Layer{bb, PlainLayer(Tar(Entry{Name: "kind", Body: "plain\n"}))}}}},
		{"test/whiteout", "latest", []Image{{Config: shell, Layers: whiteout}}},
		{"test/odd", "latest", []Image{{OCI: true, Config: shell, Layers: []Layer{bb, odd}}}},
		{"test/tall", "latest", []Image{{Config: shell, Layers: tall(bb)}}},
		{"test/nothing", "latest", []Image{{Config: Config{}, Layers: []Layer{bb}}}},
		{"test/arm-only", "latest", []Image{{Arch: "arm64", Config: shell, Layers: []Layer{bb}}}},
		{"test/arm-list", "latest", []Image{{Arch: "arm64", Config: shell, Layers: []Layer{bb}}, {Arch: "s390x", Config: shell, Layers: []Layer{bb, textLayer("etc/arch", "s390x\n")}}}},
		{"test/tags", "one", []Image{{Config: shell, Layers: []Layer{bb}}}},
		{"test/tags", "two", []Image{{Config: shell, Layers: []Layer{bb, textLayer("two", "2\n")}}}},
		{"test/many", "latest", []Image{{Config: shell, Layers: append([]Layer{bb}, many()...)}}},
		{"test/large", "latest", []Image{{Config: shell, Layers: []Layer{bb, GzipLayer(Tar(Entry{Name: "large", Body: noise(24 << 20)}))}}}},
	}
}

// many are layers of very different sizes, 100 MB together, with files large
// and small: something that is under way for a while.
func many() []Layer {
	var layers []Layer
	for i, mb := range []int{2, 48, 6, 24, 12} {
		body := noise(mb << 20)
		dir := fmt.Sprintf("many/%d/", i)
		entries := []Entry{{Name: "many/"}, {Name: dir}, {Name: dir + "half", Body: body[:len(body)/2]}}
		for n, rest := 0, body[len(body)/2:]; len(rest) > 0; n++ {
			size := min(len(rest), 1<<10<<(n%8))
			text := strings.Repeat(fmt.Sprintf("line %d of layer %d\n", n, i), size/16)
			entries = append(entries, Entry{Name: fmt.Sprintf("%sn%d", dir, n), Body: rest[:size]}, Entry{Name: fmt.Sprintf("%st%d", dir, n), Body: text})
			rest = rest[size:]
		}
		layers = append(layers, GzipLayer(Tar(entries...)))
	}
	return layers
}

// noise returns n bytes that do not compress and are the same every time.
func noise(n int) string {
	var b strings.Builder
	io.CopyN(&b, &noiseReader{x: 88172645463325252}, int64(n)) // into memory
	return b.String()
}

// noiseReader is an endless stream of noise; x seeds it.
type noiseReader struct{ x uint64 }

func (r *noiseReader) Read(p []byte) (int, error) {
	x := r.x
	for i := range p {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		p[i] = byte(x)
	}
	r.x = x
	return len(p), nil
}
