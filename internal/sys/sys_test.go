package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const idleVar = "BERTH_TEST_IDLE"

func TestMain(m *testing.M) {
	if os.Getenv(idleVar) != "" {
		// The part of a process that says its start time and waits.
		start, err := ProcStart(os.Getpid())
		fmt.Println(start, err)
		time.Sleep(time.Minute)
		return
	}
	os.Exit(m.Run())
}

// copySelf puts this program where a test wants it.
func copySelf(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestProcStart: the name of a program is under its author's control, and
// stands in the middle of what we parse.
func TestProcStart(t *testing.T) {
	for _, name := range []string{"plain", "two words", ") R 1 2 3", "a)b(c", "))))", "((", "new\nline", ")\n1 S 9", strings.Repeat("x", 40)} {
		path := filepath.Join(t.TempDir(), name)
		copySelf(t, path)
		before := uptimeTicks(t)
		cmd := exec.Command(path)
		cmd.Env = append(os.Environ(), idleVar+"=1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var said uint64
		fmt.Fscan(out, &said)
		got, err := ProcStart(cmd.Process.Pid)
		if err != nil || got != said || got+1 < before || got > uptimeTicks(t) {
			t.Errorf("%q: %d, %v; it says %d, and it is now %d", name, got, err, said, uptimeTicks(t))
		}
		cmd.Process.Kill()
		// Until it is waited for it is a zombie, and counts as gone.
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if _, err = ProcStart(cmd.Process.Pid); err != nil {
				break
			}
		}
		if !errors.Is(err, ErrNoProcess) {
			t.Errorf("%q as a zombie: %v", name, err)
		}
		cmd.Wait()
		if _, err := ProcStart(cmd.Process.Pid); !errors.Is(err, ErrNoProcess) {
			t.Errorf("%q after its end: %v", name, err)
		}
	}
	for _, pid := range []int{0, -1, 1 << 30} {
		if _, err := ProcStart(pid); !errors.Is(err, ErrNoProcess) {
			t.Errorf("pid %d: %v", pid, err)
		}
	}
	if _, err := ProcStart(1); err != nil {
		t.Errorf("pid 1: %v", err)
	}
}

func uptimeTicks(t *testing.T) uint64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	return uint64(ts.Nano() / 1e7)
}

// asAccount calls f in a thread that belongs to an ordinary account: root may
// do all that the test wants to see refused.
func asAccount(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 12345, 12345, 12345); errno != 0 {
			done <- errno
			return
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestRemoveAll(t *testing.T) {
	base, err := os.MkdirTemp("/var/tmp", "berth-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { RemoveAll(base) })
	if err := os.Chmod(base, 0o777); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(base, "outside")
	tree := filepath.Join(base, "tree")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	asAccount(t, func() {
		must(os.MkdirAll(filepath.Join(outside, "dir"), 0o755))
		must(os.WriteFile(filepath.Join(outside, "dir", "file"), nil, 0o644))
		must(os.Chmod(filepath.Join(outside, "dir"), 0o555))
		must(os.MkdirAll(filepath.Join(tree, "a", "b", "c"), 0o755))
		must(os.MkdirAll(filepath.Join(tree, "closed"), 0o755))
		must(os.WriteFile(filepath.Join(tree, "a", "b", "file"), nil, 0o400))
		must(os.Symlink(filepath.Join(outside, "dir"), filepath.Join(tree, "a", "b", "link")))
		must(os.Symlink("/", filepath.Join(tree, "slash")))
		must(os.Chmod(filepath.Join(tree, "a", "b", "c"), 0))
		must(os.Chmod(filepath.Join(tree, "a", "b"), 0o555))
		must(os.Chmod(filepath.Join(tree, "a"), 0o111))
		must(os.Chmod(filepath.Join(tree, "closed"), 0))
		if err := os.RemoveAll(tree); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("the tree is no obstacle: %v", err)
		}
		must(RemoveAll(tree))
	})
	if _, err := os.Lstat(tree); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the tree is still there: %v", err)
	}
	if fi, err := os.Stat(filepath.Join(outside, "dir")); err != nil || fi.Mode().Perm() != 0o555 {
		t.Errorf("it went through a link: %v, %v", fi, err)
	}
	if err := RemoveAll(tree); err != nil {
		t.Errorf("a missing tree: %v", err)
	}
	asAccount(t, func() {
		if err := RemoveAll("/etc/passwd"); os.Geteuid() != 0 && !errors.Is(err, fs.ErrPermission) {
			t.Errorf("of what belongs to another account: %v", err)
		}
	})
}

// TestSealed: the program runs from the sealed file, and nobody can write
// to it.
func TestSealed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts an overlay: run it as root")
	}
	f, err := Sealed("/proc/self/exe", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), idleVar+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var start uint64
	if _, err := fmt.Fscan(out, &start); err != nil || start == 0 {
		t.Errorf("it does not run: %v", err)
	}
	exe := fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid)
	running, err := os.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	cmd.Process.Kill()
	cmd.Wait()
	// While it ran, ETXTBSY protected it; afterwards only the seal does.
	for _, p := range []string{path, fmt.Sprintf("/proc/self/fd/%d", running.Fd())} {
		if w, err := os.OpenFile(p, os.O_WRONLY|os.O_TRUNC, 0); !errors.Is(err, unix.EROFS) {
			t.Errorf("%s for writing: %v", p, err)
			w.Close()
		}
	}
	// It is the same program.
	a, err := os.ReadFile(path)
	b, err2 := os.ReadFile("/proc/self/exe")
	if err != nil || err2 != nil || string(a) != string(b) {
		t.Errorf("the sealed program differs: %v, %v", err, err2)
	}
}

// A tree with many folders, some of which deny access, goes whole; what a link
// in it leads to stays.
func TestRemoveAllWide(t *testing.T) {
	base := t.TempDir()
	outside := filepath.Join(base, "outside")
	tree := filepath.Join(base, "tree")
	for i := range 40 {
		deep := filepath.Join(tree, fmt.Sprint(i), "a", "b", "c")
		if err := os.MkdirAll(deep, 0o755); err != nil {
			t.Fatal(err)
		}
		for j := range 30 {
			if err := os.WriteFile(filepath.Join(deep, fmt.Sprint(j)), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(outside, filepath.Join(deep, "link")); err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{deep, filepath.Join(tree, fmt.Sprint(i))} {
			if err := os.Chmod(d, fs.FileMode(i%2)*0o500); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.MkdirAll(filepath.Join(outside, "kept"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := RemoveAll(tree); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(tree); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the tree is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Error(err)
	}
}
