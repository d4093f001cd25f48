package transfer

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSwappedFolder: whatever a container exchanges at whichever moment,
// nothing outside is read or written.
func TestSwappedFolder(t *testing.T) {
	outside := tree(t, map[string]string{"secret": "host", "sub/secret": "host"})
	dir := tree(t, map[string]string{"d/sub/f": "inside", "d/f": "inside", "evil": "->" + outside, "evil2": "->" + outside + "/sub"})
	r := container(t, dir)
	var stop atomic.Bool
	done := make(chan struct{})
	// By descriptors: the names would lead this process itself outside.
	d, err := open(r.fd, "d", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(d)
	go func() {
		defer close(done)
		for !stop.Load() {
			unix.Renameat2(r.fd, "d", r.fd, "evil", unix.RENAME_EXCHANGE)
			unix.Renameat2(d, "sub", r.fd, "evil2", unix.RENAME_EXCHANGE)
		}
	}()
	defer func() { stop.Store(true); <-done }()
	in := stream(t, folder("sub/"), file("sub/secret", "changed"), file("sub/deep/er", "new"), link("sub/l", "x"), hard("sub/h", "sub/secret"), file("secret", "changed"))
	wrote, read := 0, 0
	for range 300 {
		if _, err := r.Unpack(t.Context(), bytes.NewReader(in), "/d", UnpackOptions{}); err == nil {
			wrote++
		}
		var b bytes.Buffer
		if _, err := r.Pack(t.Context(), &b, "/d/", "d"); err == nil {
			read++
		}
		if strings.Contains(b.String(), "host") {
			t.Fatal("a secret of the host was read")
		}
	}
	if wrote == 0 || read == 0 {
		t.Errorf("%d unpackings and %d packings came to an end: this tests nothing", wrote, read)
	}
	for _, name := range []string{"secret", "sub/secret"} {
		if b, err := os.ReadFile(filepath.Join(outside, name)); err != nil || string(b) != "host" {
			t.Errorf("outside %s: %q, %v", name, b, err)
		}
	}
	for dir, want := range map[string]int{outside: 2, outside + "/sub": 1} {
		if left, _ := os.ReadDir(dir); len(left) != want {
			t.Errorf("there is something new outside: %v", left)
		}
	}
}

// FuzzUnpack: no archive makes, changes or reads anything outside.
func FuzzUnpack(f *testing.F) {
	f.Add(stream(f, folder("a/"), file("a/b", "x"), link("l", "/etc"), file("l/x", "y"), hard("h", "a/b")))
	f.Add(stream(f, file("../../out", "x")))
	f.Add(stream(f, link("up", ".."), file("up/out", "x"), hard("up/h", "up/out")))
	f.Add([]byte("\x1f\x8bjunk"))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, local := range []bool{false, true} {
			top := tree(t, map[string]string{"canary": "host", "root/x": "x"})
			r, err := OpenFolder(filepath.Join(top, "root"))
			if err != nil {
				t.Fatal(err)
			}
			if !local {
				r = NewRoot(r.fd, nil)
			}
			r.Unpack(t.Context(), bytes.NewReader(in), ".", UnpackOptions{Local: local})
			r.Close()
			left, _ := os.ReadDir(top)
			if b, err := os.ReadFile(filepath.Join(top, "canary")); err != nil || string(b) != "host" || len(left) != 2 {
				t.Errorf("outside: %q, %v, %v", b, err, left)
			}
		}
	})
}
