package inside

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/internal/host"
	"berth/internal/layer"
	"berth/internal/state"
	"berth/internal/store"
	"berth/internal/userns/usernstest"
)

// The account that the tests run as, and what it is granted.
const (
	account   = usernstest.ID
	firstUID  = 200000
	firstGID  = 300000
	grantedU  = "ranged:200000:65536\n"
	grantedGr = "ranged:300000:65536\n"
)

// TestMain carries out what tests start this program for.
func TestMain(m *testing.M) {
	if os.Args[0] == Arg0 {
		os.Exit(Main())
	}
	usernstest.Main(m)
}

func asAccount(t *testing.T) bool { return usernstest.As(t, grantedU, grantedGr) }

// open makes a data root.
func open(t *testing.T) (*state.Dir, *Account) {
	t.Helper()
	root, err := os.MkdirTemp("/tmp", "inside-test-")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := state.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	a := New(host.Host{Rootless: true, UID: account, GID: account}, root)
	dir.SetInside(a.Remove, a.Size)
	t.Cleanup(func() {
		if err := a.Remove(root); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(root); err == nil {
			t.Error("the data root is still there")
		}
	})
	return dir, a
}

// sample is a layer with files of others, some closed to everybody else.
func sample(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "data/", Mode: 0o700, Uid: 999, Gid: 998},
		{Typeflag: tar.TypeReg, Name: "data/secret", Mode: 0o600, Uid: 999, Gid: 998, Size: 6},
		{Typeflag: tar.TypeReg, Name: "tool", Mode: 0o4755, Uid: 1, Gid: 2, Size: 6},
		{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "tool", Uid: 5, Gid: 6},
		{Typeflag: tar.TypeReg, Name: "beyond", Mode: 0o644, Uid: 1_000_000, Gid: 7, Size: 6},
		{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			io.WriteString(w, "secret")
		}
	}
	w.Close()
	return b.Bytes()
}

func owner(t *testing.T, path string) [2]uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Error(err)
	}
	return [2]uint32{st.Uid, st.Gid}
}

// TestLayers: a layer goes in with true owners, comes out to the byte, and is
// made again in either kind from the other.
func TestLayers(t *testing.T) {
	if !asAccount(t) {
		return
	}
	dir, a := open(t)
	ctx := t.Context()
	ranged, plain := layer.OpenKind(dir, store.Ranged, a), layer.OpenKind(dir, store.Plain, a)
	want := sample(t)
	m, err := ranged.Add(ctx, bytes.NewReader(want), layer.Options{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	if m.Rootless || m.Size != 18 || m.Unsynced == "" && m.Files != 6 {
		t.Errorf("%+v", m)
	}
	check := func(what string) {
		t.Helper()
		tree := ranged.Path(m.DiffID)
		for name, want := range map[string][2]uint32{
			"": {account, account}, "data": {firstUID + 998, firstGID + 997}, "tool": {firstUID, firstGID + 1}, "link": {firstUID + 4, firstGID + 5},
			"beyond": {account, account}, // no such id is granted
		} {
			if got := owner(t, filepath.Join(tree, name)); got != want {
				t.Errorf("%s: %s belongs to %v, want %v", what, name, got, want)
			}
		}
		if fi, err := os.Stat(filepath.Join(tree, "tool")); err != nil || fi.Mode() != 0o755|fs.ModeSetuid {
			t.Errorf("%s: mode %v, %v", what, fi.Mode(), err)
		}
		if _, err := os.ReadFile(filepath.Join(tree, "data", "secret")); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: the account reads what belongs to another id: %v", what, err)
		}
		for _, set := range []*layer.Set{ranged, plain} {
			var got bytes.Buffer
			if err := set.Tar(ctx, m.DiffID, &got); err != nil || !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s: stream of %d bytes, want %d: %v", what, got.Len(), len(want), err)
			}
		}
	}
	check("added")
	if plain.Has(m.DiffID) {
		t.Error("it is there in the other kind, too")
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(ranged.Path(m.DiffID)), "index"), []byte("i"), 0o600); err != nil {
		t.Fatal(err)
	}
	ids := []string{m.DiffID, "sha256:" + strings.Repeat("0", 64)}
	if err := plain.Ensure(ctx, ids); err != nil || !plain.Has(m.DiffID) || plain.Has(ids[1]) {
		t.Fatalf("made plain: %v", err)
	}
	if b, err := os.ReadFile(plain.Path(m.DiffID) + "/data/secret"); err != nil || string(b) != "secret" {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Dir(plain.Path(m.DiffID)) + "/index"); err != nil || string(b) != "i" {
		t.Errorf("%q, %v", b, err)
	}
	if err := dir.Discard(filepath.Dir(ranged.Path(m.DiffID))); err != nil {
		t.Fatal(err)
	}
	if err := ranged.Ensure(ctx, ids); err != nil {
		t.Fatalf("made ranged: %v", err)
	}
	check("made from the plain one")
	if left, _ := os.ReadDir(dir.Path("tmp")); len(left) > 0 {
		t.Errorf("in tmp there is %v", left)
	}
}

// TestBroken: a stream that breaks off, that is another one, and a caller that
// has enough leave nothing.
func TestBroken(t *testing.T) {
	if !asAccount(t) {
		return
	}
	dir, a := open(t)
	set := layer.OpenKind(dir, store.Ranged, a)
	want := sample(t)
	boom := errors.New("boom")
	broken, end := io.Pipe()
	go func() {
		end.Write(want)
		end.CloseWithError(boom)
	}()
	if _, err := set.Add(t.Context(), broken, layer.Options{}); !errors.Is(err, boom) {
		t.Errorf("broken off at its end: %v", err)
	}
	var wrong *layer.DigestError
	if _, err := set.Add(t.Context(), bytes.NewReader(want), layer.Options{DiffID: "sha256:" + strings.Repeat("1", 64)}); !errors.As(err, &wrong) || wrong.Got != store.Digest(want) {
		t.Errorf("another one: %v", err)
	}
	if _, err := set.Add(t.Context(), strings.NewReader(strings.Repeat("no tar ", 1000)), layer.Options{}); err == nil || !strings.Contains(err.Error(), "cannot read layer") {
		t.Errorf("nonsense: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stuck, _ := io.Pipe()
	go cancel()
	if _, err := set.Add(ctx, stuck, layer.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if err := set.Tar(t.Context(), "sha256:"+strings.Repeat("1", 64), io.Discard); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("not there: %v", err)
	}
	dir.Sweep() // after one that was killed
	for sub, want := range map[string]int{"tmp": 0, string(store.Ranged): 1} {
		if left, _ := os.ReadDir(dir.Path(sub)); len(left) != want {
			t.Errorf("in %s there is %v", sub, left)
		}
	}
}

// TestTrees: what a container has made is copied, measured and removed.
func TestTrees(t *testing.T) {
	if !asAccount(t) {
		return
	}
	dir, a := open(t)
	set := layer.OpenKind(dir, store.Ranged, a)
	m, err := set.Add(t.Context(), bytes.NewReader(sample(t)), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	trees, err := set.Stack([]string{m.DiffID})
	if err != nil {
		t.Fatal(err)
	}
	to := dir.Path("volumes", "v", "_data")
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := a.Copy(t.Context(), trees, "/data", to); err != nil {
		t.Fatal(err)
	}
	if got := owner(t, to); got != [2]uint32{firstUID + 998, firstGID + 997} {
		t.Errorf("the copied folder belongs to %v", got)
	}
	if err := a.Copy(t.Context(), trees, "/nothing", to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing to copy: %v", err)
	}
	if n := dir.Size(to); n != 6 {
		t.Errorf("it has %d bytes, want 6", n)
	}
	if err := dir.Discard(filepath.Dir(to)); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir.Path("tmp")); len(left) > 0 {
		t.Errorf("in tmp there is %v", left)
	}
}

// TestNoRanges says why nothing can be done.
func TestNoRanges(t *testing.T) {
	a := New(host.Host{}, t.TempDir())
	if err := a.Remove("/nowhere"); err == nil || !strings.HasPrefix(err.Error(), "files of containers with several ids cannot be worked on: ") {
		t.Errorf("%v", err)
	}
}
