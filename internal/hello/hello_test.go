package hello

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestLayer(t *testing.T) {
	binary := bytes.Repeat([]byte("binary"), 1000)
	var a, b bytes.Buffer
	for _, w := range []*bytes.Buffer{&a, &b} {
		if err := WriteLayer(w, bytes.NewReader(binary), int64(len(binary))); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the same binary makes different layers")
	}
	r := tar.NewReader(&a)
	h, err := r.Next()
	if err != nil || h.Name != "hello" || h.Mode != 0o755 || h.Uid != 0 {
		t.Errorf("%+v, %v", h, err)
	}
	if got, _ := io.ReadAll(r); !bytes.Equal(got, binary) {
		t.Error("the file is not the binary")
	}
	if err := WriteLayer(io.Discard, bytes.NewReader(binary), int64(len(binary))+1); err == nil {
		t.Error("a short binary is accepted")
	}
}

func TestDocuments(t *testing.T) {
	id := digest([]byte("layer"))
	config, manifest, err := Documents(id, 123)
	if err != nil {
		t.Fatal(err)
	}
	again, _, _ := Documents(id, 123)
	if !bytes.Equal(config, again) {
		t.Error("the same binary makes different images")
	}
	var m struct {
		Config struct{ Digest string }
		Layers []struct {
			Digest string
			Size   int64
		}
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatal(err)
	}
	if m.Config.Digest != digest(config) || len(m.Layers) != 1 || m.Layers[0].Digest != id || m.Layers[0].Size != 123 {
		t.Errorf("%s", manifest)
	}
	var c struct {
		Config struct{ Entrypoint []string }
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(config, &c); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Config.Entrypoint, []string{"/hello", Arg}) || !slices.Equal(c.RootFS.DiffIDs, []string{id}) {
		t.Errorf("%s", config)
	}
}

// fake makes up a tree to look at.
func fake(t *testing.T, files map[string]string) look {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return look{root: root}
}

func TestLimits(t *testing.T) {
	const meminfo = "MemTotal:       16777216 kB\nMemFree: 1 kB\n"
	for _, c := range []struct {
		name   string
		files  map[string]string
		cpu    float64
		memory string
	}{
		{"version 2 in a namespace", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n", "sys/fs/cgroup/memory.max": "1073741824\n", "proc/meminfo": meminfo,
		}, 1.5, "limited to 1 GiB of the machine's 16 GiB"},
		{"version 2, narrowed further out", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n",
			"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "52428800\n", "proc/meminfo": meminfo,
		}, 0.5, "limited to 50 MiB of the machine's 16 GiB"},
		{"version 1", map[string]string{
			"proc/self/cgroup":                            "5:memory:/\n4:cpu,cpuacct:/\n0::/\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":          "200000\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us":         "100000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":  "9223372036854771712\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes":  "1\n",
			"proc/meminfo":                                meminfo,
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "1\n",
		}, 2, "no limit, the machine has 16 GiB"},
		{"version 1 without", map[string]string{
			"proc/self/cgroup": "4:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
		}, 0, "unknown"},
		{"nothing", nil, 0, "unknown"},
	} {
		l := fake(t, c.files)
		if got := l.cpuLimit(); got != c.cpu {
			t.Errorf("%s: cpu limit %v, want %v", c.name, got, c.cpu)
		}
		if got := l.memory(); got[0] != c.memory {
			t.Errorf("%s: memory %q, want %q", c.name, got, c.memory)
		}
	}
}

func TestMounts(t *testing.T) {
	l := fake(t, map[string]string{"proc/self/mountinfo": `1 0 0:30 / / rw,relatime - overlay overlay rw
2 1 0:31 / /proc rw - proc proc rw
3 2 0:31 /sys /proc/sys ro - proc proc rw
4 1 0:32 / /dev rw - tmpfs tmpfs rw
5 4 0:33 / /dev/shm rw - tmpfs shm rw
6 4 0:34 / /dev/pts rw - devpts devpts rw
7 1 8:1 /home/x /my\040data ro,relatime master:1 - ext4 /dev/sda1 rw
nonsense
`})
	want := []string{"/ (overlay)", "/dev (tmpfs)", "/dev/shm (tmpfs)", "/my data (ext4, read-only)", "/proc (proc)"}
	if got := l.mounts(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestGPUs(t *testing.T) {
	l := fake(t, map[string]string{
		"dev/nvidia0": "", "dev/nvidia1": "", "dev/nvidiactl": "", "dev/nvidia-uvm": "", "dev/dri/renderD128": "", "dev/kfd": "",
		"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA H100\nDevice Minor: \t 1\n",
	})
	want := []string{"/dev/nvidia0", "/dev/nvidia1 (NVIDIA H100)", "/dev/dri/renderD128", "/dev/kfd"}
	if got := l.gpus(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := fake(t, nil).gpus(); !slices.Equal(got, []string{"none"}) {
		t.Errorf("%q", got)
	}
}

func TestOutside(t *testing.T) {
	l := fake(t, map[string]string{"proc/self/uid_map": "         0       1000          1\n         1     100000      65536\n"})
	for in, want := range map[int]int{0: 1000, 1: 100000, 65536: 165535} {
		if got, ok := l.outside(in); got != want || !ok {
			t.Errorf("%d: %d, %v", in, got, ok)
		}
	}
	if _, ok := l.outside(70000); ok {
		t.Error("an ID that is not mapped")
	}
}

func TestGreet(t *testing.T) {
	var b strings.Builder
	if err := greet(&b, "/", []string{"/hello", Arg}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Ahoy!", "user ", "process ", "host name ", "kernel ", "Linux", "cpus ", "memory ", "mounts ", "network ", "gpus ", "berth pull", "berth run -it"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "was not run") {
		t.Error("speaks of a command that nobody gave")
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if strings.HasSuffix(line, " ") {
			t.Errorf("blanks at the end of %q", line)
		}
	}
	b.Reset()
	greet(&b, "/", []string{"/hello", Arg, "sh", "-c", "x"})
	if !strings.Contains(b.String(), `"sh -c x" was not run`) {
		t.Error(b.String())
	}
	t.Log(b.String())
}
