package runtime

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// The program can be run, and not written to, by root neither.
func TestSealedForUser(t *testing.T) {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(exe, program, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := SealedForUser(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR, unix.O_WRONLY | unix.O_TRUNC} {
		if fd, err := unix.Open(at, flags, 0); err != unix.EROFS {
			t.Errorf("open for writing: descriptor %d, %v; want %v", fd, err, unix.EROFS)
		}
	}
	if err := unix.Chmod(at, 0o666); err != unix.EROFS {
		t.Errorf("chmod: %v", err)
	}
	attr := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(int(f.Fd()), "", unix.AT_EMPTY_PATH, &attr); err == nil {
		t.Error("the mount could be made writable")
	}
	p, err := os.StartProcess(at, []string{"x", "-test.run=^$"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := p.Wait(); err != nil || !st.Success() {
		t.Errorf("it does not run: %v, %v", st, err)
	}
}

func BenchmarkSealedForUser(b *testing.B) {
	for range b.N {
		f, err := SealedForUser("/proc/self/exe")
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
