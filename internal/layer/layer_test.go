package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/state"
	"berth/internal/sys"
)

var when = time.Unix(1_000_000_000, 123456789)

// Entries of test streams.

func reg(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), Uname: content}
}

func folder(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}
}

func symlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}
}

func hardlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}
}

func device(kind byte, name string, major, minor int64) tar.Header {
	return tar.Header{Typeflag: kind, Name: name, Devmajor: major, Devminor: minor, Mode: 0o660}
}

// with changes a header.
func with(h tar.Header, change func(*tar.Header)) tar.Header {
	change(&h)
	return h
}

// tarOf makes a stream. The content of files travels in Uname.
func tarOf(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := h.Uname
		h.Uname = ""
		h.Format = tar.FormatPAX
		if h.ModTime.IsZero() {
			h.ModTime = when
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("entry %q: %v", h.Name, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tempDir is a folder that is removed even if its owner may not read it.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "layer-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sys.RemoveAll(dir); err != nil {
			t.Errorf("cannot remove what was unpacked: %v", err)
		}
	})
	return dir
}

// modes are the ways to unpack that this account can try.
func modes() map[string]Options {
	m := map[string]Options{"rootless": {rootless: true}}
	if os.Geteuid() == 0 {
		m["root"] = Options{}
	}
	return m
}

func mustUnpack(t *testing.T, opt Options, entries ...tar.Header) (string, Result) {
	t.Helper()
	dir := tempDir(t)
	r, err := Unpack(t.Context(), dir, bytes.NewReader(tarOf(t, entries...)), opt)
	if err != nil {
		t.Fatal(err)
	}
	return dir, r
}

// describe lists a tree: a line for each entry with its kind and content.
func describe(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, p)
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		switch {
		case d.IsDir():
			out[name] = "dir" + opaqueMark(p)
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			out[name] = "-> " + target
		case info.Mode()&fs.ModeDevice != 0 && st.Rdev == 0:
			out[name] = "whiteout"
		case info.Mode()&fs.ModeDevice != 0:
			out[name] = fmt.Sprintf("device %d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
		case info.Mode()&fs.ModeNamedPipe != 0:
			out[name] = "pipe"
		default:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			out[name] = "file " + string(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(out, ".")
	return out
}

func opaqueMark(path string) string {
	var b [4]byte
	for _, f := range []string{trustedFamily, userFamily} {
		if n, err := unix.Lgetxattr(path, f+opaqueAttr, b[:]); err == nil {
			return " opaque=" + string(b[:n])
		}
	}
	return ""
}

func checkTree(t *testing.T, got, want map[string]string) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if want[k] != got[k] {
			t.Errorf("%s: got %q, want %q", k, got[k], want[k])
		}
	}
	for k := range want {
		if _, ok := got[k]; !ok {
			t.Errorf("%s: missing, want %q", k, want[k])
		}
	}
}

func testSet(t testing.TB) (*Set, *state.Dir) {
	t.Helper()
	dir, err := state.Open(filepath.Join(tempDir(t), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return Open(dir), dir
}

const asUserEnv = "LAYER_TEST_AS_USER"

// nobody is an account that owns nothing on the machine.
const nobody = 65534

// TestAsOrdinaryUser runs the other tests once more in a process of an
// ordinary account.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Getenv(asUserEnv) != "" {
		return // this is that process
	}
	if os.Geteuid() != 0 {
		return // so are all tests of this run
	}
	cmd := userCommand(t, "-test.run=.", "-test.count=1", "-test.v")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "--- PASS"); n < 20 {
		t.Fatalf("only %d tests ran as an ordinary user:\n%s", n, out)
	}
}

// userCommand is this test program run by nobody in a folder of its own.
func userCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	home, err := os.MkdirTemp("/var/tmp", "layer-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.RemoveAll(home) })
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	prog := filepath.Join(home, "layer.test")
	if err := os.WriteFile(prog, exe, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(prog, args...)
	cmd.Dir = home
	cmd.Env = []string{asUserEnv + "=1", "TMPDIR=" + home, "HOME=" + home, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}
