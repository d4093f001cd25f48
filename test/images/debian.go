package images

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// debianLayers returns the layers of a minimal Debian system and of python3 on
// top of it. Making them takes minutes, so they are kept in the folder cache.
func debianLayers(cache string, log io.Writer) (base, python Layer, err error) {
	base, err1 := readLayer(cache, "minbase")
	python, err2 := readLayer(cache, "python")
	if err1 == nil && err2 == nil {
		return base, python, nil
	}
	work, err := os.MkdirTemp(cache, "debootstrap")
	if err != nil {
		return base, python, err
	}
	defer os.RemoveAll(work)
	one, two := filepath.Join(work, "minbase"), filepath.Join(work, "python")

	fmt.Fprintln(log, "images: debootstrap makes a minimal Debian (a minute or two, kept for later runs)")
	if err := quiet("debootstrap", "--variant=minbase", "bookworm", one); err != nil {
		return base, python, err
	}
	if err := quiet("cp", "-a", one, two); err != nil {
		return base, python, err
	}
	fmt.Fprintln(log, "images: apt-get installs python3 into a copy of it")
	install := "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3"
	if err := quiet("chroot", two, "sh", "-c", install); err != nil {
		return base, python, err
	}
	if base, err = writeLayer(cache, "minbase", one, "", 4, unwanted); err != nil {
		return base, python, err
	}
	python, err = writeLayer(cache, "python", two, one, 4, unwanted)
	return base, python, err
}

// quiet runs a program and shows its output only when it fails.
func quiet(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail(out))
	}
	return nil
}

func tail(out []byte) []byte {
	if len(out) > 2000 {
		out = out[len(out)-2000:]
	}
	return out
}

// unwanted is what images leave out: devices, caches and what only the host's
// set-up left there.
func unwanted(rel string) bool {
	for _, dir := range []string{"dev", "proc", "sys", "run", "debootstrap", "var/cache/apt", "var/lib/apt/lists",
		"var/log", "usr/share/doc", "usr/share/locale", "usr/share/man"} {
		if strings.HasPrefix(rel, dir+"/") {
			return true
		}
	}
	return rel == "etc/resolv.conf" || rel == "etc/hostname" || rel == "debootstrap"
}

// layerRecord is what a cached layer is found by; the blob lies beside it.
type layerRecord struct{ Digest, DiffID string }

func readLayer(cache, name string) (Layer, error) {
	b, err := os.ReadFile(filepath.Join(cache, name+".json"))
	if err != nil {
		return Layer{}, err
	}
	var r layerRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return Layer{}, err
	}
	file := filepath.Join(cache, name+".tar.gz")
	info, err := os.Stat(file)
	if err != nil {
		return Layer{}, err
	}
	return Layer{Blob: Blob{Digest: r.Digest, Size: info.Size(), file: file}, DiffID: r.DiffID, compression: "gzip"}, nil
}

// writeLayer packs what root has and base has not.
func writeLayer(cache, name, root, base string, level int, skip func(rel string) bool) (Layer, error) {
	return packLayer(cache, name, level, func(w io.Writer) error { return treeTar(w, root, base, skip) })
}

// packLayer keeps the tar stream that write makes in the folder cache.
func packLayer(cache, name string, level int, write func(io.Writer) error) (Layer, error) {
	f, err := os.Create(filepath.Join(cache, name+".tar.gz"))
	if err != nil {
		return Layer{}, err
	}
	defer f.Close()
	packed, plain := sha256.New(), sha256.New()
	gz, err := gzip.NewWriterLevel(io.MultiWriter(f, packed), level)
	if err != nil {
		return Layer{}, err
	}
	if err := write(io.MultiWriter(gz, plain)); err != nil {
		return Layer{}, err
	}
	if err := gz.Close(); err != nil {
		return Layer{}, err
	}
	b, err := json.Marshal(layerRecord{Digest: hexOf(packed), DiffID: hexOf(plain)})
	if err != nil {
		return Layer{}, err
	}
	if err := os.WriteFile(filepath.Join(cache, name+".json"), b, 0o644); err != nil {
		return Layer{}, err
	}
	return readLayer(cache, name)
}

func hexOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// busyboxLayer makes a root file system of the host's static busybox.
func busyboxLayer() (Layer, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return Layer{}, fmt.Errorf("no busybox: run test/packages.sh: %w", err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return Layer{}, err
	}
	if bytes.Contains(program[:4096], []byte("/lib64/ld-linux")) {
		return Layer{}, fmt.Errorf("%s is not static: install the package busybox-static", path)
	}
	list, err := exec.Command(path, "--list").Output()
	if err != nil {
		return Layer{}, err
	}
	entries := []Entry{
		{Name: "bin/"}, {Name: "bin/busybox", Body: string(program), Mode: 0o755},
		{Name: "dev/"}, {Name: "etc/"},
		{Name: "etc/passwd", Body: "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"},
		{Name: "etc/group", Body: "root:x:0:\ndaemon:x:1:\nadm:x:4:daemon\nwww-data:x:33:\naudio:x:29:daemon,root\nusers:x:100:\nnobody:x:65534:\n"},
		{Name: "home/"}, {Name: "proc/"}, {Name: "root/", Mode: 0o700}, {Name: "sys/"},
		{Name: "tmp/", Mode: 0o1777}, {Name: "usr/"}, {Name: "usr/sbin/"}, {Name: "var/"}, {Name: "var/www/", UID: 33, GID: 33},
	}
	for _, applet := range strings.Fields(string(list)) {
		if applet != "busybox" {
			entries = append(entries, Entry{Name: "bin/" + applet, Type: '1', Link: "bin/busybox", Mode: 0o755})
		}
	}
	return GzipLayer(Tar(entries...)), nil
}
