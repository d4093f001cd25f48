package pull

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"berth/internal/images"
	"berth/internal/registry"
	"berth/internal/registry/registrytest"
	"berth/internal/state"
	"berth/internal/store"
)

// helperEnv makes the test binary pull an image into a root and end:
// "ROOT IMAGE".
const helperEnv = "BERTH_PULL_TEST_HELPER"

func TestMain(m *testing.M) {
	if job := os.Getenv(helperEnv); job != "" {
		os.Exit(helper(strings.Fields(job)))
	}
	os.Setenv("DOCKER_CONFIG", "/nonexistent")
	os.Exit(m.Run())
}

// helper pulls in a process of its own. With a third word it first mounts a
// small disk of that size over the root.
func helper(args []string) int {
	if len(args) == 3 {
		if err := unix.Mount("none", args[0], "tmpfs", 0, "size="+args[2]); err != nil {
			fmt.Println("mount:", err)
			return 1
		}
	}
	dir, err := state.Open(args[0])
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_, err = New(registry.Options{}).Pull(context.Background(), store.Open(dir), images.PullOptions{Ref: args[1]})
	if err != nil {
		fmt.Println(err)
	}
	for _, sub := range []string{"tmp", "layers", "oci/blobs/sha256"} {
		entries, _ := os.ReadDir(dir.Path(sub))
		fmt.Println(sub, len(entries))
	}
	if err != nil {
		return 1
	}
	return 0
}

func runHelper(t *testing.T, smallDisk bool, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+strings.Join(args, " "))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if smallDisk {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

// root is a data root to pull into.
type root struct {
	t     *testing.T
	dir   *state.Dir
	store *store.Store
}

func newRoot(t *testing.T) *root {
	t.Helper()
	dir, err := state.Open(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return &root{t: t, dir: dir, store: store.Open(dir)}
}

func (r *root) pull(opt images.PullOptions) (images.PullResult, error) {
	return New(registry.Options{}).Pull(context.Background(), r.store, opt)
}

func (r *root) mustPull(name string) images.PullResult {
	r.t.Helper()
	res, err := r.pull(images.PullOptions{Ref: name})
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

// layers returns the unpacked layers.
func (r *root) layers() []string {
	r.t.Helper()
	return r.names("layers", "")
}

func (r *root) names(sub, prefix string) []string {
	r.t.Helper()
	entries, err := os.ReadDir(r.dir.Path(sub))
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			out = append(out, e.Name())
		}
	}
	return out
}

// tidy checks that nothing half-made is left.
func (r *root) tidy() {
	r.t.Helper()
	if left := r.names("tmp", ""); len(left) > 0 {
		r.t.Errorf("left in tmp: %v", left)
	}
	if left := r.names("layers", "."); len(left) > 0 {
		r.t.Errorf("left in layers: %v", left)
	}
}

// empty checks that nothing at all is there.
func (r *root) empty() {
	r.t.Helper()
	r.tidy()
	if l := r.layers(); len(l) > 0 {
		r.t.Errorf("left in layers: %v", l)
	}
	if l := r.names("oci/blobs/sha256", ""); len(l) > 0 {
		r.t.Errorf("left in oci/blobs: %v", l)
	}
	images, err := r.store.Images()
	if err != nil || len(images) > 0 {
		r.t.Errorf("images: %v, %v", images, err)
	}
}

func (r *root) read(diffID, name string) string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(store.LayerPath(r.dir, store.Plain, diffID), "tree", name))
	if err != nil {
		r.t.Error(err)
	}
	return string(b)
}

// recorder is a progress that remembers.
type recorder struct {
	mu       sync.Mutex
	messages []string
	layers   map[string][]string // statuses by id, without repetitions
	hear     func(id, status string, current, total int64)
}

func (r *recorder) Message(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, text)
}

func (r *recorder) Layer(id, status string, current, total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.layers == nil {
		r.layers = map[string][]string{}
	}
	if l := r.layers[id]; len(l) == 0 || l[len(l)-1] != status {
		r.layers[id] = append(l, status)
	}
	if r.hear != nil {
		r.hear(id, status, current, total)
	}
}

// noise returns n bytes that do not compress; seeds give different ones.
func noise(n int, seed uint32) string {
	b := make([]byte, n)
	x := seed*2654435761 | 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return string(b)
}

func packed(t *testing.T, packing, name, body string) registrytest.Layer {
	t.Helper()
	return registrytest.Layer{Tar: registrytest.Tar(t, registrytest.File{Name: name, Body: body}), Packing: packing}
}

// line checks an error of one line.
func line(t *testing.T, err error, kind error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not contain %q", err, p)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q has more than one line", err)
	}
	if kind != nil && !errors.Is(err, kind) {
		t.Errorf("error %q is not %v", err, kind)
	}
}
