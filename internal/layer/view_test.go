package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// stack unpacks layers, given bottom first, and returns their trees top first.
func stack(t testing.TB, opt Options, layers ...[]tar.Header) []string {
	t.Helper()
	base := tempDir(t)
	var trees []string
	for i, l := range layers {
		dir := filepath.Join(base, fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		r, err := Unpack(t.Context(), dir, bytes.NewReader(tarOf(t, l...)), opt)
		if err != nil {
			t.Fatal(err)
		}
		if r.Opaque {
			trees = nil
		}
		trees = append([]string{dir}, trees...)
	}
	return trees
}

func mustView(t testing.TB, upper string, trees []string) *View {
	t.Helper()
	v, err := NewView(upper, trees)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func TestView(t *testing.T) {
	trees := stack(t, Options{},
		[]tar.Header{
			reg("etc/passwd", "root"), reg("etc/gone", "x"), reg("dir/one", "1"), reg("opaque/old", "x"),
			reg("usr/bin/sh", "sh"), symlink("bin", "usr/bin"), symlink("abs", "/etc/passwd"), symlink("up", "../../../../etc"),
			symlink("loop1", "loop2"), symlink("loop2", "loop1"), symlink("dangling", "/nowhere"),
			device(tar.TypeFifo, "pipe", 0, 0), reg("tofolder", "file"), reg("tofile/x", "1"),
			symlink("usr/bin/back", "../../dir/../etc/passwd"), symlink("slash", "usr/bin/"),
		},
		[]tar.Header{
			reg("etc/.wh.gone", ""), reg("dir/two", "2"), reg("opaque/.wh..wh..opq", ""), reg("opaque/new", "n"),
			folder("tofolder"), reg("tofolder/x", "y"), reg("tofile", "now"),
		},
	)
	v := mustView(t, "", trees)
	for _, c := range []struct{ path, content, real, err string }{
		{"/etc/passwd", "root", "/etc/passwd", ""},
		{"etc/passwd", "root", "/etc/passwd", ""},
		{"/etc/../etc/./passwd", "root", "/etc/passwd", ""},
		{"../../etc/passwd", "root", "/etc/passwd", ""},
		{"/bin/sh", "sh", "/usr/bin/sh", ""},
		{"/abs", "root", "/etc/passwd", ""},
		{"/up/passwd", "root", "/etc/passwd", ""},
		{"/bin/back", "root", "/etc/passwd", ""},
		{"/slash/sh", "sh", "/usr/bin/sh", ""},
		{"/dir/one", "1", "/dir/one", ""},
		{"/dir/two", "2", "/dir/two", ""},
		{"/tofile", "now", "/tofile", ""},
		{"/tofolder/x", "y", "/tofolder/x", ""},
		{"/opaque/new", "n", "/opaque/new", ""},
		{"/opaque/old", "", "", "no such file"},
		{"/etc/gone", "", "", "no such file"},
		{"/tofile/x", "", "", "not a directory"},
		{"/etc/passwd/", "", "", "not a directory"},
		{"/loop1", "", "", "too many levels"},
		{"/dangling", "", "", "no such file"},
		{"/pipe", "", "/pipe", "not a regular file"},
		{"/dir", "", "/dir", "is a directory"},
		{"/", "", "/", "is a directory"},
		{strings.Repeat("x", 300), "", "", "file name too long"},
	} {
		b, err := v.ReadFile(c.path, 100)
		if c.err == "" && (err != nil || string(b) != c.content) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("ReadFile(%s): %q, %v; want %q, %q", c.path, b, err, c.content, c.err)
		}
		if real, err := v.Resolve(c.path); real != c.real {
			t.Errorf("Resolve(%s): %q, %v; want %q", c.path, real, err, c.real)
		}
	}
	if _, err := v.ReadFile("/etc/gone", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a hidden file: %v", err)
	}
	if _, err := v.ReadFile("/etc/passwd", 3); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large file: %v", err)
	}
	if s, err := v.Readlink("/usr/bin/../../abs"); s != "/etc/passwd" {
		t.Errorf("Readlink: %q, %v", s, err)
	}
	if _, err := v.Readlink("/dir"); err == nil {
		t.Error("Readlink of a folder succeeds")
	}
	if st, err := v.Lstat("/abs"); err != nil || st.Mode()&fs.ModeSymlink == 0 || st.Name() != "abs" {
		t.Errorf("Lstat: %v, %v", st, err)
	}
	if st, err := v.Stat("/abs"); err != nil || !st.Mode().IsRegular() || st.Size() != 4 {
		t.Errorf("Stat: %v, %v", st, err)
	}
	if st, err := v.Stat("/"); err != nil || !st.IsDir() {
		t.Errorf("Stat of the root: %v, %v", st, err)
	}
	names := func(path string) (out []string) {
		entries, err := v.ReadDir(path)
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			out = append(out, e.Name)
		}
		return out
	}
	if got := names("/dir"); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("dir: %q", got)
	}
	if got := names("/opaque"); !slices.Equal(got, []string{"new"}) {
		t.Errorf("opaque: %q", got)
	}
	if got := names("/etc"); !slices.Equal(got, []string{"passwd"}) {
		t.Errorf("etc: %q", got)
	}
	if _, err := v.ReadDir("/tofile"); err == nil {
		t.Error("a file can be listed")
	}
	checkNoLeak(t)
}

// checkNoLeak looks for descriptors of views left open in this process.
func checkNoLeak(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) > 40 {
		t.Errorf("%d descriptors are open", len(entries))
	}
}

func TestViewUpper(t *testing.T) {
	trees := stack(t, Options{}, []tar.Header{reg("d/a", "old"), reg("d/b", "old"), reg("o/c", "old")})
	upper := tempDir(t)
	for _, p := range []string{"d", "o"} {
		os.Mkdir(filepath.Join(upper, p), 0o755)
	}
	os.WriteFile(filepath.Join(upper, "d/a"), []byte("new"), 0o644)
	if err := unix.Mknod(filepath.Join(upper, "d/b"), unix.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
	family := userFamily
	if os.Geteuid() == 0 {
		// A container may set this one by itself; it must not count.
		if err := unix.Lsetxattr(filepath.Join(upper, "d"), userFamily+opaqueAttr, []byte("y"), 0); err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(upper, "d/e"), nil, 0o644)
		family = trustedFamily
	}
	if err := unix.Lsetxattr(filepath.Join(upper, "o"), family+opaqueAttr, []byte("y"), 0); err != nil {
		t.Fatal(err)
	}
	v := mustView(t, upper, trees)
	if b, err := v.ReadFile("d/a", 10); string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
	for _, p := range []string{"d/b", "o/c"} {
		if _, err := v.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// randomLayer makes up a layer that collides a lot with others of its kind.
func randomLayer(r *rand.Rand) []tar.Header {
	names := []string{"a", "b", "c", "d"}
	name := func() string {
		parts := make([]string, 1+r.IntN(3))
		for i := range parts {
			parts[i] = names[r.IntN(len(names))]
		}
		return strings.Join(parts, "/")
	}
	hide := func(prefix string) string {
		p := name()
		dir, base := filepath.Split(p)
		return dir + prefix + base
	}
	var out []tar.Header
	for i := range 3 + r.IntN(12) {
		content := fmt.Sprint(r.IntN(1000), i)
		switch r.IntN(12) {
		case 0, 1, 2, 3:
			out = append(out, reg(name(), content))
		case 4, 5:
			out = append(out, with(folder(name()), func(h *tar.Header) { h.Mode = 0o700 + int64(r.IntN(64)) }))
		case 6:
			out = append(out, symlink(name(), []string{"/", "../", ""}[r.IntN(3)]+name()))
		case 7, 8, 9:
			out = append(out, reg(hide(".wh."), ""))
		case 10:
			out = append(out, reg(name()+"/.wh..wh..opq", ""))
		case 11:
			out = append(out, reg(name(), ""))
		}
	}
	return out
}

// TestViewIsWhatTheKernelShows compares the view of random stacks with an
// overlay mount of them, and a copy with both.
func TestViewIsWhatTheKernelShows(t *testing.T) {
	inNamespace(t, func(mount func(trees []string, at string)) {
		for seed := range uint64(60) {
			r := rand.New(rand.NewPCG(seed, 1))
			var layers [][]tar.Header
			for range 1 + r.IntN(4) {
				layers = append(layers, randomLayer(r))
			}
			layers = unpackable(t, layers)
			if len(layers) == 0 {
				continue
			}
			trees := stack(t, Options{}, layers...)
			v := mustView(t, "", trees)
			if seed%5 == 4 {
				// The other form of whiteouts, which the kernel does
				// not know, shows the same.
				v = mustView(t, "", stack(t, Options{byName: true}, layers...))
			}
			copied := filepath.Join(tempDir(t), "copy")
			if err := os.Mkdir(copied, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := v.Materialize(copied); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			byView := listView(t, v, "/")
			byCopy := describeFull(t, copied)
			if len(trees) == 1 {
				trees = append(trees, tempDir(t)) // overlay wants two
			}
			merged := tempDir(t)
			mount(trees, merged)
			byKernel := describeFull(t, merged)
			if err := unix.Unmount(merged, 0); err != nil {
				t.Fatal(err)
			}
			compare(t, seed, "the view", byView, "the kernel", byKernel)
			compare(t, seed, "the copy", byCopy, "the kernel", byKernel)
			if t.Failed() {
				for i, l := range layers {
					for _, h := range l {
						t.Logf("layer %d: %c %s %s", i, h.Typeflag, h.Name, h.Linkname)
					}
				}
				return
			}
			v.Close()
		}
	})
}

// unpackable leaves out layers that are refused.
func unpackable(t *testing.T, layers [][]tar.Header) (good [][]tar.Header) {
	t.Helper()
	for _, l := range layers {
		_, err := Unpack(t.Context(), tempDir(t), bytes.NewReader(tarOf(t, l...)), Options{})
		var e *EntryError
		switch {
		case err == nil:
			good = append(good, l)
		case !errors.As(err, &e):
			t.Fatal(err)
		}
	}
	return good
}

func compare(t *testing.T, seed uint64, aName string, a map[string]string, bName string, b map[string]string) {
	t.Helper()
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if a[k] != b[k] {
			t.Errorf("seed %d: %s: %s has %q, %s has %q", seed, k, aName, a[k], bName, b[k])
		}
	}
}

// describeFull is describe with modes and times.
func describeFull(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for p := range describe(t, root) {
		info, err := os.Lstat(filepath.Join(root, p))
		if err != nil {
			t.Fatal(err)
		}
		out[p] = fmt.Sprint(info.Mode(), " ", timeOf(info))
		if info.Mode()&fs.ModeSymlink != 0 {
			target, _ := os.Readlink(filepath.Join(root, p))
			out[p] += " " + target
		}
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(filepath.Join(root, p))
			if err != nil {
				t.Fatal(err)
			}
			out[p] += " " + string(b)
		}
	}
	return out
}

// timeOf tells times that the stream gave from the time of the test.
func timeOf(info fs.FileInfo) string {
	if info.ModTime().Equal(when) {
		return "kept"
	}
	return "new"
}

func listView(t *testing.T, v *View, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := v.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		p := filepath.Join(dir, e.Name)
		info, err := v.Lstat(p)
		if err != nil {
			t.Fatalf("%s is listed, but: %v", p, err)
		}
		if info.Mode().Type() != e.Type {
			t.Fatalf("%s is listed as %v, but is %v", p, e.Type, info.Mode().Type())
		}
		rel := strings.TrimPrefix(p, "/")
		out[rel] = fmt.Sprint(info.Mode(), " ", timeOf(info))
		switch {
		case info.IsDir():
			maps.Copy(out, listView(t, v, p))
		case info.Mode().IsRegular():
			b, err := v.ReadFile(p, 1000)
			if err != nil {
				t.Fatal(err)
			}
			out[rel] += " " + string(b)
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := v.Readlink(p)
			out[rel] += " " + target
		}
	}
	return out
}

const inNamespaceEnv = "LAYER_TEST_IN_NAMESPACE"

// inNamespace runs do where it may mount overlays: on a thread with a mount
// namespace of its own, for an ordinary account inside a user namespace.
func inNamespace(t *testing.T, do func(mount func(trees []string, at string))) {
	t.Helper()
	option := ""
	if os.Getenv(asUserEnv) != "" {
		option = ",userxattr"
		if os.Getenv(inNamespaceEnv) == "" {
			rerunInUserNamespace(t)
			return
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with us
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			t.Error("cannot make a mount namespace:", err)
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Error(err)
			return
		}
		do(func(trees []string, at string) {
			data := "lowerdir=" + strings.Join(trees, ":") + option
			if err := unix.Mount("overlay", at, "overlay", unix.MS_RDONLY, data); err != nil {
				t.Errorf("cannot mount overlay (%s): %v", data, err)
				runtime.Goexit()
			}
		})
	}()
	<-done
}

func rerunInUserNamespace(t *testing.T) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespaceEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in a user namespace: %v\n%s", err, out)
	}
}

// TestViewOfContainer lets the kernel write the topmost folder and compares
// what it shows with the view.
func TestViewOfContainer(t *testing.T) {
	inNamespace(t, func(func([]string, string)) {
		trees := stack(t, Options{},
			[]tar.Header{reg("d/a", "1"), reg("d/b", "2"), reg("e/sub/c", "3"), reg("f", "4"), symlink("l", "d")},
			[]tar.Header{reg("d/c", "5"), reg("g/h", "6")},
		)
		base := tempDir(t)
		upper, merged := filepath.Join(base, "upper"), filepath.Join(base, "merged")
		for _, p := range []string{upper, merged, filepath.Join(base, "work")} {
			if err := os.Mkdir(p, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s/work", strings.Join(trees, ":"), upper, base)
		if os.Getenv(asUserEnv) != "" {
			data += ",userxattr"
		} else {
			data += ",redirect_dir=off,metacopy=off"
		}
		if err := unix.Mount("overlay", merged, "overlay", 0, data); err != nil {
			t.Fatalf("cannot mount overlay (%s): %v", data, err)
		}
		defer unix.Unmount(merged, unix.MNT_DETACH)
		sh := exec.Command("sh", "-ec", `rm d/a; echo new >d/b; rm -r e; mkdir e; echo x >e/y; rm f; mkdir f; echo z >f/z
			rm -r g; echo file >g; rm l; ln -s e l; chmod 700 d; mkfifo p; rm -r d/c; mkdir -p n/o; rmdir n/o; mv d/b moved`)
		sh.Dir = merged
		if out, err := sh.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		v := mustView(t, upper, trees)
		byView, byKernel := listView(t, v, "/"), describeFull(t, merged)
		compare(t, 0, "the view", byView, "the kernel", byKernel)
		if len(byKernel) != 10 {
			t.Errorf("the container has %d files: %v", len(byKernel), byKernel)
		}
	})
}

// A layer may hide things by names where the file system lacks attributes.
func TestHideByName(t *testing.T) {
	lower := []tar.Header{reg("a/x", "1"), reg("a/y", "2"), reg("b/z", "3"), reg("c", "4")}
	upper := []tar.Header{
		reg("a/.wh.x", ""), reg("a/new", "5"), reg("b/.wh..wh..opq", ""), reg("b/n", "6"), reg(".wh.c", ""),
		reg(".wh.d", ""), reg("d", "7"), hardlink("e", "d"), reg(".wh.f", ""), folder("f"), reg("g", "8"), reg(".wh.g", ""),
	}
	opt := Options{byName: true}
	trees := stack(t, opt, lower, upper)
	got := describe(t, trees[0])
	for _, p := range []string{byNameFile, "a/.wh.x", "b/.wh..wh..opq", ".wh.c"} {
		if got[p] != "file " {
			t.Errorf("%s: %q", p, got[p])
		}
	}
	for p, what := range got {
		if what == "whiteout" || strings.Contains(what, "opaque=") {
			t.Errorf("%s is a %s", p, what)
		}
	}
	v := mustView(t, "", trees)
	var all []string
	for p := range listView(t, v, "/") {
		all = append(all, p)
	}
	slices.Sort(all)
	if want := []string{"a", "a/new", "a/y", "b", "b/n", "d", "e", "f", "g"}; !slices.Equal(all, want) {
		t.Errorf("got %q, want %q", all, want)
	}
	for _, p := range []string{"a/x", "a/.wh.x", "b/z", "c", ".wh.c", byNameFile, "b/.wh..wh..opq"} {
		if _, err := v.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", p, err)
		}
	}
	set, _ := testSet(t)
	m, err := set.Add(t.Context(), bytes.NewReader(tarOf(t, upper...)), opt)
	if err != nil || !m.ByName || set.OverlayFits([]string{m.DiffID}) {
		t.Errorf("%+v, %v", m, err)
	}
	// In what a container writes, such names mean nothing.
	v = mustView(t, trees[0], nil)
	if _, err := v.Lstat("a/.wh.x"); err != nil {
		t.Error(err)
	}
}

// ramfs keeps no extended attributes.
func TestFileSystemWithoutAttributes(t *testing.T) {
	inNamespace(t, func(func([]string, string)) {
		dir := tempDir(t)
		if err := unix.Mount("ramfs", dir, "ramfs", 0, ""); err != nil {
			t.Error("cannot mount ramfs:", err)
			return
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
		entries := []tar.Header{
			reg("a/.wh.x", ""), reg("b/.wh..wh..opq", ""), reg("b/n", "6"),
			with(reg("m", "x"), func(h *tar.Header) { h.PAXRecords = map[string]string{xattrRecord + "user.mime": "text/plain"} }),
		}
		r, err := Unpack(t.Context(), dir, bytes.NewReader(tarOf(t, entries...)), Options{})
		if err != nil {
			t.Error(err)
			return
		}
		if !r.ByName || string(r.Owners["m"].Xattrs["user.mime"]) != "text/plain" {
			t.Errorf("%+v", r)
		}
		lower := stack(t, Options{}, []tar.Header{reg("a/x", "1"), reg("a/y", "2"), reg("b/z", "3")})
		v := mustView(t, "", append([]string{dir}, lower...))
		want := []string{"a", "a/y", "b", "b/n", "m"}
		if got := slices.Sorted(maps.Keys(listView(t, v, "/"))); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		v.Close()
	})
}
