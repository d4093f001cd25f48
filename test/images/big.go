package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// bigVersion changes whenever the recipe below does.
const bigVersion = "1"

// bigSteps are the layers of the big image, each with what apt-get installs on
// top of the layer before: a few huge shared libraries among tens of thousands
// of small files, as in images for machine learning.
func bigSteps() [][]string {
	return [][]string{
		{"python3", "python3-numpy", "python3-scipy"},
		{"python3-torch", "python3-pandas", "gcc", "git", "cmake"},
	}
}

// PushBig makes the big images, unless storage, the folder of the registry at
// base, has them already:
//
//	big/big:latest     three layers, the kind of image that takes long to pull
//	big/single:latest  only the biggest of them, for what can be gained inside one layer
//	big/weights:latest  half a gigabyte that does not compress, as a model's weights:
//	                    what there is to gain on the way
//
// Making them takes some minutes, about 450 MB of downloads and, for a while,
// 8 GB in the folder cache.
func PushBig(base, storage, cache string, log io.Writer) error {
	stamp := filepath.Join(storage, "big-"+bigVersion)
	if _, err := os.Stat(stamp); err == nil {
		return nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	layers, err := bigLayers(cache, log)
	if err != nil {
		return err
	}
	weights, err := packLayer(cache, "weights-"+bigVersion, 6, weightsTar)
	if err != nil {
		return err
	}
	cfg := Config{Env: []string{path, "LANG=C.UTF-8"}, Cmd: []string{"python3"}}
	for _, n := range []named{
		{"big/big", "latest", []Image{{Config: cfg, Layers: layers}}},
		{"big/single", "latest", []Image{{Config: cfg, Layers: layers[biggest(layers):][:1]}}},
		{"big/weights", "latest", []Image{{OCI: true, Config: cfg, Layers: []Layer{weights}}}},
	} {
		fmt.Fprintf(log, "images: pushing %s\n", n.repo)
		if err := Push(base, n.repo, n.tag, n.images...); err != nil {
			return fmt.Errorf("image %s:%s: %w", n.repo, n.tag, err)
		}
	}
	if err := os.WriteFile(stamp, nil, 0o600); err != nil {
		return err
	}
	// The registry has them now: twice a gigabyte is enough.
	for _, l := range append(layers, weights) {
		err = errors.Join(err, os.Remove(l.file), os.Remove(strings.TrimSuffix(l.file, ".tar.gz")+".json"))
	}
	return err
}

func biggest(layers []Layer) int {
	at := 0
	for i, l := range layers {
		if l.Size > layers[at].Size {
			at = i
		}
	}
	return at
}

// weightsTar writes a layer with one large file of noise.
func weightsTar(out io.Writer) error {
	const size = 512 << 20
	w := tar.NewWriter(out)
	if err := w.WriteHeader(&tar.Header{Name: "model.safetensors", Mode: 0o644, Size: size, ModTime: epoch}); err != nil {
		return err
	}
	if _, err := io.CopyN(w, &noiseReader{x: 2463534242}, size); err != nil {
		return err
	}
	return w.Close()
}

// bigLayers makes the layers that the folder cache lacks.
func bigLayers(cache string, log io.Writer) ([]Layer, error) {
	steps := bigSteps()
	name := func(i int) string { return fmt.Sprintf("big-%s-%d", bigVersion, i) }
	layers := make([]Layer, len(steps)+1)
	var missing error
	for i := range layers {
		var err error
		layers[i], err = readLayer(cache, name(i))
		missing = errors.Join(missing, err)
	}
	if missing == nil {
		return layers, nil
	}
	work, err := os.MkdirTemp(cache, "big")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	trees, err := bigTrees(work, steps, log)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(log, "images: packing the layers as docker build does (gzip, level 6)")
	errs := make([]error, len(trees))
	var wg sync.WaitGroup
	for i, tree := range trees {
		wg.Go(func() {
			base := ""
			if i > 0 {
				base = trees[i-1]
			}
			layers[i], errs[i] = writeLayer(cache, name(i), tree, base, 6, bigUnwanted)
		})
	}
	wg.Wait()
	return layers, errors.Join(errs...)
}

// bigTrees installs the steps, each into a copy of the one before.
func bigTrees(work string, steps [][]string, log io.Writer) ([]string, error) {
	trees := []string{filepath.Join(work, "0")}
	fmt.Fprintln(log, "images: the big image: debootstrap (all in all some minutes, kept for later runs)")
	if err := quiet("debootstrap", "--variant=minbase", "bookworm", trees[0]); err != nil {
		return nil, err
	}
	if err := quiet("chroot", trees[0], "apt-get", "-q", "update"); err != nil {
		return nil, err
	}
	for i, packages := range steps {
		tree := filepath.Join(work, fmt.Sprint(i+1))
		if err := quiet("cp", "-a", trees[i], tree); err != nil {
			return nil, err
		}
		fmt.Fprintf(log, "images: the big image: apt-get install %s\n", strings.Join(packages, " "))
		install := append([]string{tree, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qy", "install", "--no-install-recommends"}, packages...)
		if err := quiet("chroot", install...); err != nil {
			return nil, err
		}
		trees = append(trees, tree)
	}
	return trees, nil
}

// bigUnwanted leaves out only what belongs to the host. The packages that
// apt-get has fetched stay, as they do after a plain RUN in a Dockerfile: a
// good third of the image does not compress, like the wheels and weights in
// others.
func bigUnwanted(rel string) bool {
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp"} {
		if strings.HasPrefix(rel, dir+"/") {
			return true
		}
	}
	return rel == "etc/resolv.conf" || rel == "etc/hostname"
}
