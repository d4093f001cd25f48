package seccomp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// program32 is a 32-bit program that makes one system call and exits with its
// error number.
func program32(nr, arg uint32) []byte {
	const base, head = 0x08048000, 52 + 32
	code := []byte{0xb8} // mov eax, nr
	code = binary.LittleEndian.AppendUint32(code, nr)
	code = append(code, 0xbb) // mov ebx, arg
	code = binary.LittleEndian.AppendUint32(code, arg)
	code = append(code,
		0x31, 0xc9, // xor ecx, ecx
		0x31, 0xd2, // xor edx, edx
		0xcd, 0x80, // int 0x80
		0x31, 0xdb, // xor ebx, ebx
		0x85, 0xc0, // test eax, eax
		0x79, 0x04, // jns +4: no error
		0xf7, 0xd8, // neg eax
		0x89, 0xc3, // mov ebx, eax
		0xb8, 1, 0, 0, 0, // mov eax, exit
		0xcd, 0x80)
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	size := uint32(head + len(code))
	for _, v := range []any{
		uint16(2), uint16(3), uint32(1), uint32(base + head), uint32(52), uint32(0), uint32(0), // an executable for i386
		uint16(52), uint16(32), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(0), uint32(base), uint32(base), size, size, uint32(5), uint32(0x1000), // loaded as a whole
	} {
		binary.Write(&b, binary.LittleEndian, v) // cannot fail
	}
	b.Write(code)
	return b.Bytes()
}

// needs32 says loudly when the kernel cannot run such programs.
func needs32(t *testing.T) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, program32(20, 0), 0o700); err != nil {
		t.Fatal(err)
	}
	err := exec.Command(path).Run()
	if errors.Is(err, unix.ENOEXEC) {
		t.Skip("THIS KERNEL RUNS NO 32-BIT PROGRAMS: filters for them are not tested against it")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// run32 runs such a program under filters.
func run32(t *testing.T, nr, arg uint32, progs ...[]byte) unix.Errno {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, program32(nr, arg), 0o700); err != nil {
		t.Fatal(err)
	}
	var args []string
	for i, prog := range progs {
		name := filepath.Join(dir, string(rune('0'+i)))
		if err := os.WriteFile(name, prog, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, name)
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), childVariable+"=exec", "PROGRAM="+path)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if !cmd.ProcessState.Exited() {
		t.Fatalf("%v", err)
	}
	return unix.Errno(cmd.ProcessState.ExitCode())
}

func TestKernel32(t *testing.T) {
	needs32(t)
	prog, err := Default("amd64", usualCaps, Kernel{6, 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		nr, arg uint32
		want    unix.Errno
	}{
		{"getpid", 20, 0, 0},
		{"keyctl", 288, 0, unix.EPERM},
		{"unshare", 310, unix.CLONE_NEWUSER, unix.EPERM},
		{"clone3", 435, 0, unix.ENOSYS},
		{"later call", 600, 0, unix.ENOSYS},
		{"personality", 136, 6, unix.EPERM},
		{"personality", 136, 0xffffffff, 0},
	} {
		if got := run32(t, tt.nr, tt.arg, prog); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := run32(t, 213, 4711, prog, FakeRoot("amd64")); got != 0 { // setuid32
		t.Errorf("setuid: got %v", got)
	}
}

// TestKernelForeign: a profile that lists no further architecture kills
// programs of one.
func TestKernelForeign(t *testing.T) {
	needs32(t)
	p, err := Parse([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["keyctl"],"action":"SCMP_ACT_ERRNO"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	prog, err := Compile(p, "amd64", nil, Kernel{6, 1})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, filter := filepath.Join(dir, "program"), filepath.Join(dir, "filter")
	for name, data := range map[string][]byte{path: program32(20, 0), filter: prog} {
		if err := os.WriteFile(name, data, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe", filter)
	cmd.Env = append(os.Environ(), childVariable+"=exec", "PROGRAM="+path)
	err = cmd.Run()
	if ws, ok := cmd.ProcessState.Sys().(interface{ Signal() unix.Signal }); !ok || ws.Signal() != unix.SIGSYS {
		t.Errorf("got %v, want SIGSYS", err)
	}
}
