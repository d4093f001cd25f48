package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"berth/test/lab"
)

// tool is something that pulls into a folder.
type tool struct {
	name string
	// start starts what must run beside it.
	start func(store string) (stop func(), daemons []int, err error)
	pull  func(store string) *exec.Cmd
	// repo is the same tool for another registry; nil where it has none.
	repo func(registry string) tool
}

// alone is for tools without a daemon.
func alone(string) (func(), []int, error) { return func() {}, nil, nil }

// tools returns berth and all others that are installed.
func (b *bench) tools() []tool {
	tools := []tool{b.berth("berth", b.registry), b.ordinary()}
	for _, t := range []struct {
		program string
		make    func(registry string) tool
	}{
		{"dockerd", func(r string) tool { return b.docker("docker", r, false) }},
		{"dockerd", func(r string) tool { return b.docker("docker, containerd store", r, true) }},
		{"containerd", b.containerd},
		{"podman", b.podman},
		{"skopeo", b.skopeo},
		{"gzip", func(string) tool { return b.gzipTar() }},
	} {
		if _, err := exec.LookPath(t.program); err != nil {
			continue
		}
		one := t.make(b.registry)
		if t.program != "gzip" {
			one.repo = t.make
		}
		tools = append(tools, one)
		if out, err := exec.Command(t.program, "--version").Output(); err == nil && t.program != "gzip" {
			first, _, _ := strings.Cut(string(out), "\n")
			fmt.Printf("  %s: %s\n", one.name, first)
		}
	}
	return b.chosen(tools)
}

// chosen leaves out what -only does not name; the first stays.
func (b *bench) chosen(tools []tool) []tool {
	if len(b.only) == 0 {
		return tools
	}
	return slices.DeleteFunc(tools, func(t tool) bool {
		return t.name != tools[0].name && !slices.ContainsFunc(b.only, func(o string) bool { return strings.HasPrefix(t.name, o) })
	})
}

func (b *bench) berth(name, registry string) tool {
	return tool{name: name, start: alone, pull: func(store string) *exec.Cmd {
		cmd := exec.Command(b.lab.Berth(), "--root", filepath.Join(store, "root"), "pull", registry+"/"+b.image)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + store, "BERTH_CONFIG=/dev/null", "DOCKER_CONFIG=" + store}
		return cmd
	}}
}

// ordinary is berth as an account that owns nothing but the store.
func (b *bench) ordinary() tool {
	t := b.berth("berth, ordinary account", b.registry)
	pull := t.pull
	t.start = func(store string) (func(), []int, error) {
		return func() {}, nil, os.Chown(store, lab.UID, lab.UID)
	}
	t.pull = func(store string) *exec.Cmd {
		cmd := pull(store)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: lab.UID, Gid: lab.UID}}
		return cmd
	}
	return t
}

func (b *bench) podman(registry string) tool {
	return tool{name: "podman", start: alone, pull: func(store string) *exec.Cmd {
		return exec.Command("podman", "--root", filepath.Join(store, "root"), "--runroot", filepath.Join(store, "run"),
			"--storage-driver", "overlay", "pull", "--tls-verify=false", registry+"/"+b.image)
	}}
}

// skopeo only fetches: it unpacks nothing.
func (b *bench) skopeo(registry string) tool {
	return tool{name: "skopeo copy (fetch only)", start: alone, pull: func(store string) *exec.Cmd {
		return exec.Command("skopeo", "copy", "--src-tls-verify=false", "docker://"+registry+"/"+b.image, "dir:"+filepath.Join(store, "dir"))
	}}
}

// docker has a daemon of its own that touches no network and no other daemon.
// Since release 29 it keeps images in containerd's store by default.
func (b *bench) docker(name, registry string, containerdStore bool) tool {
	t := tool{name: name}
	var docker func(args ...string) *exec.Cmd
	t.start = func(store string) (stop func(), daemons []int, err error) {
		var d *lab.Daemon
		d, docker, err = lab.StartDocker(store, fmt.Sprintf(`{"features":{"containerd-snapshotter":%t}}`, containerdStore))
		if err != nil {
			return nil, nil, err
		}
		// An older docker takes the wish and ignores it.
		info, _ := docker("info", "-f", "{{.DriverStatus}}").Output()
		if containerdStore && !strings.Contains(string(info), "io.containerd.snapshotter") {
			d.Stop()
			return nil, nil, errors.New("this docker does not know it")
		}
		return d.Stop, []int{d.PID}, nil
	}
	t.pull = func(string) *exec.Cmd { return docker("pull", "-q", registry+"/"+b.image) }
	return t
}

// containerd is asked by its own client, with overlayfs and its defaults.
func (b *bench) containerd(registry string) tool {
	sock := func(store string) string { return filepath.Join(store, "c.sock") }
	t := tool{name: "containerd (ctr)"}
	t.start = func(store string) (func(), []int, error) {
		conf := filepath.Join(store, "c.toml")
		text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
			filepath.Join(store, "root"), filepath.Join(store, "state"), sock(store))
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			return nil, nil, err
		}
		d, err := lab.StartDaemon(exec.Command("containerd", "--config", conf, "--log-level", "error"),
			func() error { return exec.Command("ctr", "-a", sock(store), "version").Run() })
		if err != nil {
			return nil, nil, err
		}
		return d.Stop, []int{d.PID}, nil
	}
	t.pull = func(store string) *exec.Cmd {
		return exec.Command("ctr", "-a", sock(store), "images", "pull", "--plain-http", registry+"/"+b.image+":latest")
	}
	return t
}

// gzipTar is what two programs of every system do with the layers, all at
// once and from files: no network, no digests, no store.
func (b *bench) gzipTar() tool {
	return tool{name: "gzip -dc | tar, all at once", start: alone, pull: func(store string) *exec.Cmd {
		var script strings.Builder
		for i, l := range b.layers {
			fmt.Fprintf(&script, "mkdir %s/%d; (gzip -dc <%s | tar -x -C %s/%d) & ", store, i, l, store, i)
		}
		return exec.Command("sh", "-c", script.String()+"wait")
	}}
}

// measureFiles unpacks the layers once, to know how large they are on disk.
func (b *bench) measureFiles() {
	eject, err := b.disk()
	if err != nil {
		b.Fatal(err)
	}
	defer eject()
	store := filepath.Join(b.dir, "disk", "files")
	if err := os.Mkdir(store, 0o755); err != nil {
		b.Fatal(err)
	}
	if err := b.gzipTar().pull(store).Run(); err != nil {
		b.Fatalf("gzip | tar: %v", err)
	}
	if b.unpacked, err = diskUsage(store); err != nil {
		b.Fatal(err)
	}
}

// findLayers asks the registry for the image's layers and finds their files.
func (b *bench) findLayers() {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+b.registry+"/v2/"+b.image+"/manifests/latest", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	var m struct {
		Layers []struct {
			Digest string
			Size   int64
		}
	}
	if err := json.Unmarshal(text, &m); err != nil || len(m.Layers) == 0 {
		b.Fatalf("%s: %s: %v", b.image, text, err)
	}
	for _, l := range m.Layers {
		hex := strings.TrimPrefix(l.Digest, "sha256:")
		b.layers = append(b.layers, filepath.Join(lab.BigStorage(b), "docker/registry/v2/blobs/sha256", hex[:2], hex, "data"))
		b.packed += l.Size
	}
}
