package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/volume"

	"berth/internal/errdef"
	"berth/internal/state"
)

// house is a set of volumes with what its containers use.
type house struct {
	*Set
	root string
	uses map[string][]string
	err  error // what hinders telling who uses what
}

func openAt(t *testing.T, root string) *house {
	t.Helper()
	dir, err := state.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{root: root, uses: map[string][]string{}}
	h.Set = Open(dir, func() (map[string][]string, error) { return h.uses, h.err })
	return h
}

func (h *house) Root() string { return h.root }

// withContainer lets a container use volumes.
func withContainer(t *testing.T, h *house, id string, volumes ...string) {
	t.Helper()
	for _, v := range volumes {
		h.uses[v] = append(h.uses[v], id)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, e *house, opt Request) volume.Volume {
	t.Helper()
	v, err := e.Create(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func names(t *testing.T, e *house, filters map[string][]string) []string {
	t.Helper()
	list, err := e.List(t.Context(), filters)
	if err != nil || len(list.Warnings) > 0 {
		t.Fatal(list.Warnings, err)
	}
	out := []string{}
	for _, v := range list.Volumes {
		out = append(out, v.Name)
	}
	return out
}

func TestCreate(t *testing.T) {
	e := openAt(t, t.TempDir())
	v := create(t, e, Request{Name: "data", Labels: map[string]string{"a": "b"}})
	if v.Name != "data" || v.Driver != "local" || v.Scope != "local" || v.Labels["a"] != "b" || v.Mountpoint != filepath.Join(e.Root(), "volumes/data/_data") {
		t.Errorf("%+v", v)
	}
	if at, err := time.Parse(time.RFC3339, v.CreatedAt); err != nil || time.Since(at) > time.Minute {
		t.Errorf("created at %q", v.CreatedAt)
	}
	if fi, err := os.Stat(v.Mountpoint); err != nil || !fi.IsDir() || fi.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", fi, err)
	}
	put(t, filepath.Join(v.Mountpoint, "kept"), "x")
	again := create(t, e, Request{Name: "data", Labels: map[string]string{"other": ""}})
	if again.Labels["a"] != "b" || len(again.Labels) != 1 {
		t.Errorf("creating again changed the labels: %v", again.Labels)
	}
	if _, err := os.Stat(filepath.Join(v.Mountpoint, "kept")); err != nil {
		t.Error("creating again lost a file")
	}
	a, b := create(t, e, Request{}), create(t, e, Request{})
	if len(a.Name) != 64 || a.Name == b.Name {
		t.Errorf("anonymous: %q and %q", a.Name, b.Name)
	}
	if _, ok := a.Labels[AnonymousLabel]; !ok {
		t.Errorf("anonymous labels: %v", a.Labels)
	}
	if left, _ := os.ReadDir(filepath.Join(e.Root(), "tmp")); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
	// After a power failure the file may have come without its content.
	put(t, filepath.Join(e.Root(), "volumes", a.Name, metaFile), "")
	if v, err := e.Inspect(t.Context(), a.Name); err != nil || v.Name != a.Name || len(v.Labels) != 1 {
		t.Errorf("an empty record: %+v, %v", v, err)
	}
	got, err := e.Inspect(t.Context(), "data")
	if err != nil || got.Name != "data" {
		t.Errorf("inspect: %+v, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	e := openAt(t, t.TempDir())
	const chars = ` includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`
	for _, c := range []struct {
		opt  Request
		kind error
		want string
	}{
		{Request{Name: "a"}, errdef.ErrInvalid, "create a: volume name is too short, names should be at least two alphanumeric characters"},
		{Request{Name: "a/b"}, errdef.ErrInvalid, `create a/b: "a/b"` + chars},
		{Request{Name: ".lock"}, errdef.ErrInvalid, `create .lock: ".lock"` + chars},
		{Request{Name: "ab\nc"}, errdef.ErrInvalid, ""},
		{Request{Name: strings.Repeat("x", 256)}, errdef.ErrInvalid, ""},
		{Request{Name: "nfs1", Driver: "nfs"}, errdef.ErrNotFound, `create nfs1: error looking up volume plugin nfs: plugin "nfs" not found (berth has only the driver local)`},
		{Request{Name: "vv", DriverOpts: map[string]string{"foo": "1"}}, errdef.ErrInvalid, `create vv: invalid option: "foo"`},
		{Request{Name: "vv", DriverOpts: map[string]string{"type": "tmpfs"}}, errdef.ErrInvalid, `create vv: missing required option: "device"`},
		{Request{Name: "vv", DriverOpts: map[string]string{"o": "bind"}}, errdef.ErrInvalid, `create vv: missing required option: "device"`},
		{Request{Name: "vv", DriverOpts: map[string]string{"size": "1g"}}, errdef.ErrInvalid, `create vv: quota size requested but no quota support`},
		{Request{Name: "vv", DriverOpts: map[string]string{"type": "nfs", "device": ":/x", "o": "addr=1.2.3.4"}}, errdef.ErrInvalid, `create vv: file system type "nfs" is not supported for volumes; mount it on the host and use type=none,o=bind,device=/path, or use tmpfs`},
		{Request{Name: "vv", DriverOpts: map[string]string{"type": "none", "device": "/x"}}, errdef.ErrInvalid, `create vv: type none needs the option o=bind`},
		{Request{Name: "vv", DriverOpts: map[string]string{"type": "none", "device": "x", "o": "bind"}}, errdef.ErrInvalid, `create vv: device "x" of a bind volume must be an absolute path`},
		{Request{Name: "vv", DriverOpts: map[string]string{"type": "none", "device": "/x", "o": "bind,ro"}}, errdef.ErrInvalid, ""},
		{Request{Name: "vv", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "bogus=1"}}, errdef.ErrInvalid, ""},
	} {
		_, err := e.Create(t.Context(), c.opt)
		if !errors.Is(err, c.kind) || c.want != "" && err.Error() != c.want {
			t.Errorf("%+v:\n got %v\nwant %s", c.opt, err, c.want)
		}
	}
	if got := names(t, e, nil); len(got) > 0 {
		t.Errorf("refused requests left %v", got)
	}
	for _, name := range []string{"none", "../volumes", "", "a/b"} {
		if _, err := e.Inspect(t.Context(), name); !errors.Is(err, errdef.ErrNotFound) || err.Error() != "get "+name+": no such volume" {
			t.Errorf("inspect %q: %v", name, err)
		}
		if err := e.Remove(t.Context(), name, false); !errors.Is(err, errdef.ErrNotFound) || err.Error() != "get "+name+": no such volume" {
			t.Errorf("remove %q: %v", name, err)
		}
		if err := e.Remove(t.Context(), name, true); err != nil {
			t.Errorf("remove --force %q: %v", name, err)
		}
	}
}

func TestOptions(t *testing.T) {
	e := openAt(t, t.TempDir())
	elsewhere := t.TempDir()
	put(t, filepath.Join(elsewhere, "file"), "x")
	v := create(t, e, Request{Name: "bound", DriverOpts: map[string]string{"type": "none", "o": "bind", "device": elsewhere}})
	if _, err := os.Stat(filepath.Join(v.Mountpoint, "file")); err != nil {
		t.Errorf("through the mount point: %v", err)
	}
	if v.Options["device"] != elsewhere {
		t.Errorf("options %v", v.Options)
	}
	if err := e.Remove(t.Context(), "bound", false); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(elsewhere, "file")); err != nil {
		t.Errorf("removing the volume went through the link: %v", err)
	}
	create(t, e, Request{Name: "mem", DriverOpts: map[string]string{"type": "tmpfs", "o": "size=10m,mode=1777", "device": "tmpfs"}})
	if o, ok := e.Tmpfs("mem"); !ok || o != "size=10m,mode=1777" {
		t.Errorf("%q, %v", o, ok)
	}
	create(t, e, Request{Name: "plain"})
	if _, ok := e.Tmpfs("plain"); ok {
		t.Error("a plain volume lies in memory")
	}
}

func TestListAndFilters(t *testing.T) {
	e := openAt(t, t.TempDir())
	create(t, e, Request{Name: "web-data", Labels: map[string]string{"app": "web", "tier": "1"}})
	create(t, e, Request{Name: "db-data", Labels: map[string]string{"app": "db"}})
	create(t, e, Request{Name: "cache"})
	withContainer(t, e, strings.Repeat("a", 64), "cache")
	for _, c := range []struct {
		filters map[string][]string
		want    []string
	}{
		{nil, []string{"cache", "db-data", "web-data"}},
		{map[string][]string{"name": {"data"}}, []string{"db-data", "web-data"}},
		{map[string][]string{"name": {"cache", "db"}}, []string{"cache", "db-data"}},
		{map[string][]string{"label": {"app"}}, []string{"db-data", "web-data"}},
		{map[string][]string{"label": {"app=web", "tier"}}, []string{"web-data"}},
		{map[string][]string{"label": {"app=web", "app=db"}}, []string{}},
		{map[string][]string{"driver": {"local"}}, []string{"cache", "db-data", "web-data"}},
		{map[string][]string{"driver": {"nfs"}}, []string{}},
		{map[string][]string{"dangling": {"true"}}, []string{"db-data", "web-data"}},
		{map[string][]string{"dangling": {"0"}}, []string{"cache"}},
		{map[string][]string{"dangling": {"1"}, "name": {"db"}}, []string{"db-data"}},
	} {
		if got := names(t, e, c.filters); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.filters, got, c.want)
		}
	}
	for _, f := range []map[string][]string{{"dangling": {"maybe"}}, {"color": {"red"}}} {
		if _, err := e.List(t.Context(), f); !errors.Is(err, errdef.ErrInvalid) {
			t.Errorf("%v: %v", f, err)
		}
	}
	// A damaged record hides its own volume only, and says so.
	put(t, filepath.Join(e.Root(), "volumes/cache/meta.json"), "{")
	list, err := e.List(t.Context(), nil)
	if err != nil || len(list.Volumes) != 2 || len(list.Warnings) != 1 || !strings.Contains(list.Warnings[0], "cache") {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestRemove(t *testing.T) {
	e := openAt(t, t.TempDir())
	v := create(t, e, Request{Name: "data"})
	id := strings.Repeat("ab", 32)
	withContainer(t, e, id, "data")
	for _, force := range []bool{false, true} {
		err := e.Remove(t.Context(), "data", force)
		if !errors.Is(err, errdef.ErrConflict) || err.Error() != "remove data: volume is in use - ["+id+"]" {
			t.Errorf("in use, force %v: %v", force, err)
		}
	}
	delete(e.uses, "data")
	// A folder that denies its owner access is no obstacle.
	locked := filepath.Join(v.Mountpoint, "a", "b")
	if err := os.MkdirAll(locked, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(locked), 0); err != nil {
		t.Fatal(err)
	}
	if err := e.Remove(t.Context(), "data", false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(e.Root(), "volumes/data")); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(e.Root(), "tmp")); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
	// What cannot be told is not removed.
	create(t, e, Request{Name: "data"})
	e.err = errors.New("a container's record is damaged")
	if err := e.Remove(t.Context(), "data", true); err == nil {
		t.Error("removed although a container's record is damaged")
	}
}

// Nobody sees a volume that another one is just filling, and two never copy.
func TestFill(t *testing.T) {
	h := openAt(t, t.TempDir())
	v, err := h.Create(context.Background(), Request{Name: "data"})
	if err != nil {
		t.Fatal(err)
	}
	var copies atomic.Int32
	copying := func(dir string) error {
		copies.Add(1)
		for _, name := range []string{"a", "b"} {
			time.Sleep(10 * time.Millisecond)
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := h.Fill("data", copying); err != nil {
				t.Error(err)
			}
			if entries, _ := os.ReadDir(v.Mountpoint); len(entries) != 2 {
				t.Errorf("went on with %d of 2 files", len(entries))
			}
		})
	}
	all.Wait()
	if n := copies.Load(); n != 1 {
		t.Errorf("%d copied, want 1", n)
	}
}

func TestPrune(t *testing.T) {
	e := openAt(t, t.TempDir())
	prune := func(all bool, filters map[string][]string) []string {
		t.Helper()
		rep, err := e.Prune(t.Context(), all, filters)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(rep.VolumesDeleted)
		return rep.VolumesDeleted
	}
	anon, used := create(t, e, Request{}), create(t, e, Request{})
	create(t, e, Request{Name: "named", Labels: map[string]string{"keep": "1"}})
	create(t, e, Request{Name: "other"})
	create(t, e, Request{Name: "busy"})
	withContainer(t, e, strings.Repeat("a", 64), "busy", used.Name)
	put(t, filepath.Join(anon.Mountpoint, "f"), "12345")
	if got := prune(false, map[string][]string{"label": {"no"}}); len(got) > 0 {
		t.Errorf("with a label nobody has: %v", got)
	}
	rep, err := e.Prune(t.Context(), false, nil)
	if err != nil || !slices.Equal(rep.VolumesDeleted, []string{anon.Name}) || rep.SpaceReclaimed != 5 {
		t.Errorf("%+v, %v", rep, err)
	}
	if got := prune(true, map[string][]string{"label!": {"keep"}}); !slices.Equal(got, []string{"other"}) {
		t.Errorf("all but kept: %v", got)
	}
	if got := prune(false, map[string][]string{"all": {"true"}}); !slices.Equal(got, []string{"named"}) {
		t.Errorf("filter all: %v", got)
	}
	want := []string{"busy", used.Name}
	slices.Sort(want)
	if got := names(t, e, nil); !slices.Equal(got, want) {
		t.Errorf("left: %v, want %v", got, want)
	}
	if _, err := e.Prune(t.Context(), false, map[string][]string{"name": {"x"}}); !errors.Is(err, errdef.ErrInvalid) {
		t.Errorf("an unknown filter: %v", err)
	}
}

// TestDrop: removal with a container spares what another one uses.
func TestDrop(t *testing.T) {
	e := openAt(t, t.TempDir())
	shared, alone := create(t, e, Request{}).Name, create(t, e, Request{}).Name
	withContainer(t, e, strings.Repeat("f", 64), shared)
	if err := e.DropUnused([]string{shared, alone, "missing"}); err != nil {
		t.Fatal(err)
	}
	if left := names(t, e, nil); !slices.Contains(left, shared) || slices.Contains(left, alone) {
		t.Errorf("left %v", left)
	}
}

// TestHold: nothing is removed while a container is being put together.
func TestHold(t *testing.T) {
	e := openAt(t, t.TempDir())
	create(t, e, Request{Name: "data"})
	hold, err := e.Hold()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- e.Remove(context.Background(), "data", false) }()
	select {
	case err := <-done:
		t.Fatalf("removed under the hold: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	withContainer(t, e, strings.Repeat("a", 64), "data")
	hold.Unlock()
	if err := <-done; !errors.Is(err, errdef.ErrConflict) {
		t.Errorf("after the container came: %v", err)
	}
}

const volumeHelperVar = "BERTH_TEST_VOLUME_ROOT"

// TestHelper is one of the processes of the test below.
func TestHelper(t *testing.T) {
	root := os.Getenv(volumeHelperVar)
	if root == "" {
		return // not a test of its own
	}
	e := openAt(t, root)
	for i := range 5 {
		name := fmt.Sprintf("shared%d", i)
		v, err := e.Create(t.Context(), Request{Name: name, Labels: map[string]string{"by": fmt.Sprint(os.Getpid())}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("MADE %s %s\n", name, v.Labels["by"])
		if _, err := os.ReadDir(v.Mountpoint); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCreateAtOnce: many processes create the same volumes, and all get
// the same ones.
func TestCreateAtOnce(t *testing.T) {
	root := t.TempDir()
	openAt(t, root)
	makers := map[string]map[string]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestHelper$")
			cmd.Env = append(os.Environ(), volumeHelperVar+"="+root)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for line := range strings.Lines(string(out)) {
				if f := strings.Fields(line); len(f) == 3 && f[0] == "MADE" {
					if makers[f[1]] == nil {
						makers[f[1]] = map[string]bool{}
					}
					makers[f[1]][f[2]] = true
				}
			}
		})
	}
	wg.Wait()
	if len(makers) != 5 {
		t.Errorf("%d volumes", len(makers))
	}
	for name, by := range makers {
		if len(by) != 1 {
			t.Errorf("%s was seen as made by %d processes", name, len(by))
		}
	}
	if left, _ := os.ReadDir(filepath.Join(root, "tmp")); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

func TestJSON(t *testing.T) {
	e := openAt(t, t.TempDir())
	b, err := json.Marshal(create(t, e, Request{Name: "data"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"Driver":"local"`, `"Labels":null`, `"Name":"data"`, `"Options":null`, `"Scope":"local"`} {
		if !strings.Contains(string(b), part) {
			t.Errorf("%s lacks %s", b, part)
		}
	}
}
