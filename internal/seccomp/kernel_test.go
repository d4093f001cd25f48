package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A filter can never be taken off, so tests with real ones run this test
// program again as a child: it installs the filters it finds in the files its
// arguments name, makes the system calls of a probe and prints what they said.
const childVariable = "BERTH_SECCOMP_TEST_PROBE"

func TestMain(m *testing.M) {
	if probe := os.Getenv(childVariable); probe != "" {
		runtime.LockOSThread()
		if err := child(probe, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(probe string, filters []string) error {
	var progs [][]byte
	for _, f := range filters {
		if strings.HasPrefix(f, "-") {
			break
		}
		prog, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		progs = append(progs, prog)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	for _, prog := range progs {
		if err := install(prog); err != nil {
			return fmt.Errorf("the kernel refuses the filter: %w", err)
		}
	}
	if probe == "exec" {
		path := os.Getenv("PROGRAM")
		return unix.Exec(path, []string{path}, nil)
	}
	results := make(map[string]string)
	for name, call := range probes()[probe] {
		results[name] = "ok"
		if err := call(); err != nil {
			results[name] = err.Error()
			var no unix.Errno
			if errors.As(err, &no) {
				results[name] = unix.ErrnoName(no)
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

func install(prog []byte) error {
	fprog := struct {
		n    uint16
		code *byte
	}{uint16(len(prog) / 8), &prog[0]}
	_, _, no := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC|specAllow, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(prog)
	if no != 0 {
		return no
	}
	return nil
}

func raw(nr uintptr, args ...uintptr) func() error {
	var a [6]uintptr
	copy(a[:], args)
	return func() error {
		if _, _, no := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); no != 0 {
			return no
		}
		return nil
	}
}

func socket(family int) func() error {
	return func() error {
		fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

// probes are the system calls each child makes.
func probes() map[string]map[string]func() error {
	dir := os.TempDir()
	return map[string]map[string]func() error{
		"default": {
			"getpid":            raw(unix.SYS_GETPID),
			"unshare user":      func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
			"unshare mount":     func() error { return unix.Unshare(unix.CLONE_NEWNS) },
			"clone user":        raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD)),
			"clone3":            raw(unix.SYS_CLONE3, 0, 0),
			"keyctl":            raw(unix.SYS_KEYCTL, 0),
			"bpf":               raw(unix.SYS_BPF, 99),
			"userfaultfd":       raw(unix.SYS_USERFAULTFD, 0),
			"io_uring_setup":    raw(unix.SYS_IO_URING_SETUP, 1, 0),
			"mount":             func() error { return unix.Mount("", "/", "", unix.MS_PRIVATE, "") },
			"fsopen":            raw(unix.SYS_FSOPEN, 0),
			"later call":        raw(600),
			"no call":           raw(1<<32 - 1),
			"socket unix":       socket(unix.AF_UNIX),
			"socket inet":       socket(unix.AF_INET),
			"socket vsock":      socket(unix.AF_VSOCK),
			"socket alg":        socket(unix.AF_ALG),
			"personality ask":   raw(unix.SYS_PERSONALITY, 0xffffffff),
			"personality linux": raw(unix.SYS_PERSONALITY, 0),
			"personality bsd":   raw(unix.SYS_PERSONALITY, 6),
		},
		"fakeroot": {
			"chown":     func() error { return changesNothing(filepath.Join(dir, "owned")) },
			"setuid":    func() error { return idStays(raw(unix.SYS_SETUID, 4711)) },
			"setresuid": func() error { return idStays(raw(unix.SYS_SETRESUID, 4711, 4711, 4711)) },
			"setgroups": raw(unix.SYS_SETGROUPS, 1, uintptr(unsafe.Pointer(&[]uint32{4711}[0]))),
			"setfsuid -1": func() error {
				id, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, 0xffffffff, 0, 0)
				if int(id) != os.Geteuid() {
					return fmt.Errorf("says %d", id)
				}
				return nil
			},
			"mknod device": func() error {
				path := filepath.Join(dir, "device")
				if err := unix.Mknod(path, unix.S_IFCHR|0o666, 0x103); err != nil {
					return err
				}
				if _, err := os.Lstat(path); err == nil {
					return errors.New("was made")
				}
				return nil
			},
			"mknod pipe": func() error {
				path := filepath.Join(dir, "pipe")
				if err := unix.Mknod(path, unix.S_IFIFO|0o666, 0); err != nil {
					return err
				}
				_, err := os.Lstat(path)
				return err
			},
			"keyctl": raw(unix.SYS_KEYCTL, 0),
		},
	}
}

func changesNothing(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	if err := unix.Chown(path, 4711, 4712); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("belongs to %d", st.Uid)
	}
	return nil
}

func idStays(call func() error) error {
	before := os.Getuid()
	if err := call(); err != nil {
		return err
	}
	if after := os.Getuid(); after != before {
		return fmt.Errorf("is %d now", after)
	}
	return nil
}

// probe runs a child and compares what its calls said.
func probe(t *testing.T, name string, want map[string]string, progs ...[]byte) {
	t.Helper()
	dir := t.TempDir()
	var args []string
	for i, prog := range progs {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, prog, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), childVariable+"="+name, "TMPDIR="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var got map[string]string
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for call, said := range got {
		if want[call] != said {
			t.Errorf("%s: got %q, want %q", call, said, want[call])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d answers, %d expected", len(got), len(want))
	}
}

func TestKernelDefault(t *testing.T) {
	prog, err := Default(runtime.GOARCH, usualCaps, Kernel{6, 1})
	if err != nil {
		t.Fatal(err)
	}
	probe(t, "default", map[string]string{
		"getpid": "ok", "unshare user": "EPERM", "unshare mount": "EPERM", "clone user": "EPERM", "clone3": "ENOSYS",
		"keyctl": "EPERM", "bpf": "EPERM", "userfaultfd": "EPERM", "io_uring_setup": "EPERM", "mount": "EPERM", "fsopen": "EPERM",
		"later call": "ENOSYS", "no call": "ENOSYS",
		"socket unix": "ok", "socket inet": "ok", "socket vsock": "EPERM", "socket alg": "EPERM",
		"personality ask": "ok", "personality linux": "ok", "personality bsd": "EPERM",
	}, prog)
}

// TestKernelFakeRoot stacks the filter on the default one, as the runtime does.
func TestKernelFakeRoot(t *testing.T) {
	prog, err := Default(runtime.GOARCH, usualCaps, Kernel{6, 1})
	if err != nil {
		t.Fatal(err)
	}
	probe(t, "fakeroot", map[string]string{
		"chown": "ok", "setuid": "ok", "setresuid": "ok", "setgroups": "ok", "setfsuid -1": "ok",
		"mknod device": "ok", "mknod pipe": "ok", "keyctl": "EPERM",
	}, prog, FakeRoot(runtime.GOARCH))
}

// TestKernelCaps lets the kernel check the filter for every set of
// capabilities.
func TestKernelCaps(t *testing.T) {
	var progs [][]byte
	for _, caps := range capSets() {
		prog, err := Compile(DefaultProfile(), runtime.GOARCH, caps, Kernel{6, 1})
		if err != nil {
			t.Fatal(err)
		}
		progs = append(progs, prog)
	}
	probe(t, "nothing", map[string]string{}, progs...)
}
