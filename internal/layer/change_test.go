package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// imageForChanges is what the container of these tests starts from.
func imageForChanges(t *testing.T) []string {
	return stack(t, Options{},
		[]tar.Header{
			folder("etc"), reg("etc/passwd", "root"), reg("etc/shadow", "secret"), reg("etc/hosts", ""),
			folder("usr"), folder("usr/bin"), reg("usr/bin/tool", "tool"), hardlink("usr/bin/tool2", "usr/bin/tool"),
			folder("opt"), reg("opt/a", "a"), reg("opt/b", "b"), folder("opt/sub"), reg("opt/sub/x", "x"),
			folder("var"), reg("var/file", "v"), folder("var/gone"), reg("var/gone/x", "x"), symlink("var/link", "file"),
			folder("quiet"), reg("quiet/x", "x"), reg("tofolder", "x"), folder("tofile"), reg("tofile/x", "x"),
		},
		[]tar.Header{reg("etc/issue", "two"), reg("quiet/y", "y")},
	)
}

// changeContainer does in a container's root what programs do. It reports on
// t with Error only, since it runs on a thread of its own.
func changeContainer(t *testing.T, root string) {
	at := func(p string) string { return filepath.Join(root, p) }
	for _, err := range []error{
		os.WriteFile(at("etc/passwd"), []byte("root, user"), 0o644),
		os.WriteFile(at("etc/hosts"), []byte("of the engine"), 0o644),
		os.WriteFile(at("etc/new"), []byte("new"), 0o600),
		os.Link(at("etc/new"), at("etc/new2")),
		os.Chmod(at("usr/bin/tool"), 0o4755),
		os.RemoveAll(at("opt")),
		os.Mkdir(at("opt"), 0o755), // hides what was in it
		os.WriteFile(at("opt/b"), []byte("other"), 0o644),
		os.Remove(at("var/file")),
		os.RemoveAll(at("var/gone")),
		os.Remove(at("var/link")),
		os.Symlink("elsewhere", at("var/link")),
		os.Remove(at("tofolder")),
		os.Mkdir(at("tofolder"), 0o700),
		os.WriteFile(at("tofolder/x"), nil, 0o644),
		os.RemoveAll(at("tofile")),
		os.WriteFile(at("tofile"), []byte("now"), 0o644),
		unix.Mkfifo(at("var/pipe"), 0o600),
		os.MkdirAll(at("mnt/volume"), 0o755),
		os.WriteFile(at("mnt/volume/x"), []byte("not the container's"), 0o644),
		os.MkdirAll(at("srv/volume"), 0o755),
		os.WriteFile(at("srv/more"), nil, 0o644),
		os.WriteFile(at("a-b"), nil, 0o644),
		os.WriteFile(at(".wh.trick"), []byte("x"), 0o644),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

func wantedChanges() []string {
	return []string{
		"A /.wh.trick", "A /a-b", "C /etc", "A /etc/new", "A /etc/new2", "C /etc/passwd",
		"C /opt", "D /opt/a", "C /opt/b", "D /opt/sub", "A /srv", "A /srv/more", "C /tofile", "C /tofolder", "A /tofolder/x",
		"C /usr", "C /usr/bin", "C /usr/bin/tool",
		"C /var", "D /var/file", "D /var/gone", "C /var/link", "A /var/pipe",
	}
}

func checkChanges(t *testing.T, c Container, want []string) {
	t.Helper()
	c.Exclude = []string{"/etc/hosts", "/mnt/volume", "/srv/volume"}
	changes, err := Changes(t.Context(), c)
	if err != nil {
		t.Error(err)
	}
	var got []string
	for _, ch := range changes {
		got = append(got, fmt.Sprintf("%c %s", ch.Kind, ch.Path))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// packView packs the whole tree of a view.
func packView(t *testing.T, upper string, trees []string, opt TarOptions) []byte {
	t.Helper()
	v, err := NewView(upper, trees)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer v.Close()
	var b bytes.Buffer
	if err := v.Tar(t.Context(), &b, "/", opt); err != nil {
		t.Error(err)
	}
	return b.Bytes()
}

func listTar(t *testing.T, stream []byte) string {
	var out strings.Builder
	r := tar.NewReader(bytes.NewReader(stream))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			t.Error(err)
			return out.String()
		}
		b, _ := io.ReadAll(r)
		fmt.Fprintf(&out, "%c %s -> %q %o %d:%d %d:%d %v %q %v\n", h.Typeflag, h.Name, h.Linkname, h.Mode, h.Uid, h.Gid, h.Devmajor, h.Devminor, h.ModTime.Unix(), b, h.PAXRecords)
	}
}

// TestChangesOverlay lets the kernel's overlay write down what a container
// changes, and checks that a layer made of it shows the same tree.
func TestChangesOverlay(t *testing.T) {
	trees := imageForChanges(t)
	base := tempDir(t)
	for _, d := range []string{"upper", "work", "root", "layer"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	upper := filepath.Join(base, "upper")
	inNamespace(t, func(func([]string, string)) {
		data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s/work", strings.Join(trees, ":"), upper, base)
		if UserXattr() {
			data += ",userxattr"
		}
		root := filepath.Join(base, "root")
		if err := unix.Mount("overlay", root, "overlay", 0, data); err != nil {
			t.Error(err)
			return
		}
		changeContainer(t, root)
		if err := unix.Unmount(root, 0); err != nil {
			t.Error(err)
		}
		c := Container{Upper: upper, Trees: trees}
		checkChanges(t, c, wantedChanges())
		if changes, err := Changes(t.Context(), Container{Upper: filepath.Join(base, "layer"), Trees: trees}); err != nil || len(changes) > 0 {
			t.Errorf("changes of nothing: %v, %v", changes, err)
		}
		var diff, again bytes.Buffer
		for _, w := range []*bytes.Buffer{&diff, &again} {
			if err := WriteDiff(t.Context(), w, c); err != nil {
				t.Error(err)
			}
		}
		if !bytes.Equal(diff.Bytes(), again.Bytes()) {
			t.Error("the same changes give different layers")
		}
		if _, err := Unpack(t.Context(), filepath.Join(base, "layer"), bytes.NewReader(diff.Bytes()), Options{}); err != nil {
			t.Error(err)
		}
		got := listTar(t, packView(t, "", append([]string{filepath.Join(base, "layer")}, trees...), TarOptions{}))
		want := listTar(t, packView(t, upper, trees, TarOptions{Exclude: []string{"/.wh.trick"}}))
		if got != want {
			t.Errorf("the container shows\n%s\nwith its changes as a layer it is\n%s", want, got)
		}
	})
}

// TestChangesCopied does the same to a copied root.
func TestChangesCopied(t *testing.T) {
	trees := imageForChanges(t)
	root, unpacked := tempDir(t), tempDir(t)
	if err := mustView(t, "", trees).Materialize(root); err != nil {
		t.Fatal(err)
	}
	c := Container{Copy: root, Trees: trees}
	checkChanges(t, c, nil)
	changeContainer(t, root)
	checkChanges(t, c, slices.Insert(wantedChanges(), 18, "C /usr/bin/tool2")) // of one file still
	var diff bytes.Buffer
	if err := WriteDiff(t.Context(), &diff, c); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(t.Context(), unpacked, bytes.NewReader(diff.Bytes()), Options{}); err != nil {
		t.Fatal(err)
	}
	got := listTar(t, packView(t, "", append([]string{unpacked}, trees...), TarOptions{}))
	want := listTar(t, packView(t, root, nil, TarOptions{Exclude: []string{"/.wh.trick"}, Trees: trees}))
	if got != want {
		t.Errorf("the container shows\n%s\nwith its changes as a layer it is\n%s", want, got)
	}
}

// TestTruth: what an account could not keep in its tree is in the layer that
// is made of its container all the same.
func TestTruth(t *testing.T) {
	set, _ := testSet(t)
	caps := string(append([]byte{1, 0, 0, 2}, make([]byte, 16)...))
	stream := tarOf(t,
		with(reg("changed", "1"), func(h *tar.Header) { h.Uid, h.Gid = 10, 20 }),
		with(reg("copied", "1"), func(h *tar.Header) {
			h.Uid, h.Mode = 11, 0o4011
			h.PAXRecords = map[string]string{xattrRecord + "security.capability": caps}
		}),
		with(hardlink("again", "copied"), func(h *tar.Header) {}),
		folder("dev"), with(device(tar.TypeChar, "dev/null", 1, 3), func(h *tar.Header) { h.Mode = 0o666; h.Gid = 6 }),
		with(folder("home"), func(h *tar.Header) { h.Uid = 12 }),
	)
	m, err := set.Add(t.Context(), bytes.NewReader(stream), Options{rootless: true})
	if err != nil {
		t.Fatal(err)
	}
	trees := []string{set.Path(m.DiffID)}
	root := tempDir(t)
	if err := mustView(t, "", trees).Materialize(root); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "changed"), []byte("2, longer"), 0o644); err != nil {
		t.Fatal(err)
	}
	upper := tempDir(t)
	if err := os.WriteFile(filepath.Join(upper, "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{
		"copy":    listTar(t, packView(t, root, nil, TarOptions{Trees: trees})),
		"overlay": listTar(t, packView(t, upper, trees, TarOptions{})),
	} {
		for _, want := range []string{
			" changed -> \"\" 644 10:20 ", " again -> \"\" 4011 11:0 ", "security.capability", "1 copied -> \"again\" ",
			"3 dev/null -> \"\" 666 0:6 1:3 ", "5 home/ -> \"\" 755 12:0 ",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("%s lacks %q:\n%s", name, want, got)
			}
		}
	}
}

func TestViewTarNames(t *testing.T) {
	v := mustView(t, "", stack(t, Options{}, []tar.Header{reg("d/sub/file", "x"), symlink("l", "d"), reg("d/other", "y")}))
	for _, c := range []struct {
		path string
		opt  TarOptions
		want string // names, or the error
	}{
		{"/d", TarOptions{}, "other sub/ sub/file"},
		{"/d", TarOptions{Name: "new"}, "new/ new/other new/sub/ new/sub/file"},
		{"/d", TarOptions{Name: "new", Exclude: []string{"/d/sub"}}, "new/ new/other"},
		{"/l", TarOptions{Name: "l"}, "l"},
		{"/l", TarOptions{Name: "l", Follow: true}, "l/ l/other l/sub/ l/sub/file"},
		{"/l/other", TarOptions{Name: "z"}, "z"},
		{"/d/other", TarOptions{}, "archive /d/other: not a directory"},
		{"/none", TarOptions{}, "open /none: no such file or directory"},
	} {
		var b bytes.Buffer
		err := v.Tar(t.Context(), &b, c.path, c.opt)
		if err != nil {
			if err.Error() != c.want {
				t.Errorf("%s: %v", c.path, err)
			}
			continue
		}
		var names []string
		for r := tar.NewReader(&b); ; {
			h, err := r.Next()
			if err != nil {
				break
			}
			names = append(names, h.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s %+v: %q, want %q", c.path, c.opt, got, c.want)
		}
	}
}

// A container may make a file with a mode that shuts its own account out.
func TestPackUnreadable(t *testing.T) {
	upper := tempDir(t)
	if err := os.WriteFile(filepath.Join(upper, "secret"), []byte("x"), 0o000); err != nil {
		t.Fatal(err)
	}
	got := listTar(t, packView(t, upper, nil, TarOptions{}))
	if !strings.Contains(got, `secret -> "" 0 `) || !strings.Contains(got, `"x"`) {
		t.Error(got)
	}
	if info, err := os.Stat(filepath.Join(upper, "secret")); err != nil || info.Mode() != 0 {
		t.Errorf("%v, %v", info, err)
	}
}
