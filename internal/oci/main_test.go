package oci

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The test's program is all programs that the tests need: the runtime when it
// is called runc, and what runs in containers when it is called prog.
func TestMain(m *testing.M) {
	if Borrowed() {
		os.Exit(126)
	}
	if name, args, ok := Called(os.Args); ok {
		os.Exit(Main(name, args, Env{os.Stdin, os.Stdout, os.Stderr, func() string { return "test" }}))
	}
	if filepath.Base(os.Args[0]) == "prog" {
		os.Exit(prog(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// prog is the program in containers, and hooks.
func prog(args []string) int {
	switch args[0] {
	case "exit":
		code := 0
		fmt.Sscan(args[1], &code)
		return code
	case "sleep":
		time.Sleep(time.Minute)
	case "echo":
		fmt.Println(strings.Join(args[1:], " "))
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "fds":
		entries, _ := os.ReadDir("/proc/self/fd")
		for _, e := range entries {
			if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, "pipe:") { // Go's start opens others
				fmt.Println(e.Name())
			}
		}
	case "trap":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGUSR1)
		fmt.Println("ready")
		<-c
		return 42
	case "hook": // appends what it was told to a file
		in, err := io.ReadAll(os.Stdin)
		if err != nil {
			return 1
		}
		f, err := os.OpenFile(args[1], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return 1
		}
		ns, _ := os.Readlink("/proc/self/ns/mnt")
		fmt.Fprintf(f, "%s %s %s %s\n", args[2], ns, strings.Join(os.Environ(), ","), in)
	}
	return 0
}

// bundle is a bundle for tests, and the runtime with a root of its own.
type bundle struct {
	t    *testing.T
	dir  string
	root string
	runc string
	spec *specs.Spec
}

func newBundle(t *testing.T, args ...string) *bundle {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	b := &bundle{t: t, dir: dir, root: filepath.Join(dir, "state"), runc: filepath.Join(dir, "runc"), spec: example()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if f, err := elf.Open(self); err != nil || f.Section(".interp") != nil {
		t.Fatalf("the test's program does not run in an empty root (%v): test with CGO_ENABLED=0, as make does", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{b.runc, filepath.Join(dir, "rootfs", "prog")} {
		data, err := os.ReadFile(self)
		if err == nil {
			err = os.WriteFile(to, data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b.spec.Process.Terminal = false
	b.spec.Process.Args = append([]string{"/prog"}, args...)
	b.spec.Linux.CgroupsPath = "/berth-test-" + filepath.Base(filepath.Dir(dir)) + "-" + filepath.Base(dir)
	b.save()
	t.Cleanup(func() { b.call("delete", "-f", "c") })
	return b
}

func (b *bundle) save() {
	b.t.Helper()
	data, err := json.Marshal(b.spec)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.dir, configFile), data, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) command(args ...string) *exec.Cmd {
	cmd := exec.Command(b.runc, append([]string{"--root", b.root}, args...)...)
	cmd.Dir = b.dir
	return cmd
}

// call runs the runtime and returns what it printed, and its exit code.
func (b *bundle) call(args ...string) (stdout, stderr string, code int) {
	b.t.Helper()
	var out, errs bytes.Buffer
	cmd := b.command(args...)
	// A container keeps these open: files, which nobody waits for the end of.
	outFile, errFile := tempFile(b.t), tempFile(b.t)
	cmd.Stdout, cmd.Stderr = outFile, errFile
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	for f, to := range map[*os.File]*bytes.Buffer{outFile: &out, errFile: &errs} {
		f.Seek(0, io.SeekStart)
		io.Copy(to, f)
		f.Close()
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func tempFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// must is call that fails the test when the runtime does.
func (b *bundle) must(args ...string) string {
	b.t.Helper()
	out, errs, code := b.call(args...)
	if code != 0 {
		b.t.Fatalf("%v: exit code %d: %s", args, code, errs)
	}
	return out
}

// refused expects an error with that text and returns its exit code.
func (b *bundle) refused(text string, args ...string) int {
	b.t.Helper()
	_, errs, code := b.call(args...)
	if code == 0 || !strings.Contains(errs, text) {
		b.t.Errorf("%v: exit code %d, %q; want an error with %q", args, code, errs, text)
	}
	return code
}

func (b *bundle) state() specs.State {
	b.t.Helper()
	var s specs.State
	if err := json.Unmarshal([]byte(b.must("state", "c")), &s); err != nil {
		b.t.Fatal(err)
	}
	return s
}

// expect waits for a status: ends show a moment later.
func (b *bundle) expect(want specs.ContainerState) {
	b.t.Helper()
	var got specs.ContainerState
	for range 500 {
		if got = b.state().Status; got == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.t.Fatalf("status %s, want %s", got, want)
}

// clean fails the test if something of the container is left.
func (b *bundle) clean() {
	b.t.Helper()
	entries, err := os.ReadDir(b.root)
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != emptyDir && e.Name() != seccompDir {
			b.t.Errorf("left: %s", e.Name())
		}
	}
	left, _ := filepath.Glob("/sys/fs/cgroup/*" + b.spec.Linux.CgroupsPath)
	unified, _ := filepath.Glob("/sys/fs/cgroup" + b.spec.Linux.CgroupsPath)
	if left = append(left, unified...); len(left) > 0 {
		b.t.Errorf("left: %v", left)
	}
}
