package runtime

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// These tests make real processes in real namespaces. They need root, and a
// static busybox as the container's programs.

// box is a bundle under test, and what its program writes.
type box struct {
	Bundle
	t   *testing.T
	out *os.File
}

func newBox(t *testing.T, script string) *box {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make all namespaces")
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox for the container's programs")
	}
	b := &box{t: t, Bundle: Bundle{Path: t.TempDir(), NoNewKeyring: true}}
	root := filepath.Join(b.Path, "rootfs")
	for _, dir := range []string{"bin", "proc", "dev", "sys", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	b.write("bin/busybox", string(text), 0o755)
	for _, name := range []string{"sh", "cat", "ls", "id", "grep", "sleep", "mount", "stat", "hostname", "touch", "readlink", "ps", "umount", "mkdir", "head", "cut", "uname", "wc", "sysctl", "kill", "test"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	b.Spec = &specs.Spec{
		Root: &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}, Cwd: "/",
			Capabilities: capabilities("CAP_KILL", "CAP_CHOWN", "CAP_SYS_ADMIN"),
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.UTSNamespace}, {Type: specs.IPCNamespace}, {Type: specs.NetworkNamespace},
		}},
	}
	return b
}

func capabilities(names ...string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
}

func (b *box) write(p, text string, mode os.FileMode) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.Path, "rootfs", p), []byte(text), mode); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) compile() *Compiled {
	b.t.Helper()
	c, err := CompileBundle(b.Bundle)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// captured calls f with our standard output in a file, and returns what is in
// it then: programs of bundles inherit it.
func captured(t *testing.T, f func()) string {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	old, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup3(int(out.Fd()), 1, 0); err != nil {
		t.Fatal(err)
	}
	f()
	unix.Dup3(old, 1, 0)
	unix.Close(old)
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func end(t *testing.T, pid int) int {
	t.Helper()
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil {
		t.Fatal(err)
	}
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// run runs the bundle to its end.
func (b *box) run() (out string, code int, err error) {
	b.t.Helper()
	c := b.compile()
	out = captured(b.t, func() {
		var p *Process
		if p, err = c.Create(nil, Events{Pause: b.mapRoot}); err == nil {
			code = end(b.t, p.Pid)
		}
	})
	return out, code, err
}

// mapRoot writes the maps of the specification.
func (b *box) mapRoot(s Stage, pid int) error {
	if s == StageMap {
		return WriteMaps(pid, b.Spec.Linux.UIDMappings, b.Spec.Linux.GIDMappings)
	}
	return nil
}

// says checks what a bundle's program writes.
func (b *box) says(want string) {
	b.t.Helper()
	out, code, err := b.run()
	if err != nil || code != 0 || strings.TrimSpace(out) != strings.TrimSpace(want) {
		b.t.Errorf("%s\nwrote %q, code %d, error %v; want %q", b.Spec.Process.Args[2], out, code, err, want)
	}
}

func TestBundleRuns(t *testing.T) {
	b := newBox(t, "echo $$; hostname; ls /proc/self/fd; cat /proc/self/oom_score_adj; exit 3")
	b.Spec.Hostname = "box"
	score := 77
	b.Spec.Process.OOMScoreAdj = &score
	out, code, err := b.run()
	if err != nil || code != 3 || out != "1\nbox\n0\n1\n2\n3\n77\n" { // 3 is what ls reads
		t.Errorf("wrote %q, code %d, error %v", out, code, err)
	}
}

func socket(t *testing.T) (listen *os.File, knock func() *os.File) {
	t.Helper()
	at := &unix.SockaddrUnix{Name: filepath.Join(t.TempDir(), "s")}
	open := func() *os.File {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fd), at.Name)
	}
	listen = open()
	if err := errors.Join(unix.Bind(int(listen.Fd()), at), unix.Listen(int(listen.Fd()), 1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listen.Close() })
	return listen, func() *os.File {
		c := open()
		t.Cleanup(func() { c.Close() })
		if err := unix.Connect(int(c.Fd()), at); err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// ways are the two in which a process can execute its program.
func ways(t *testing.T, test func(t *testing.T, jump bool)) {
	t.Run("execve", func(t *testing.T) { test(t, false) })
	t.Run("trampoline", func(t *testing.T) { test(t, true) })
}

func TestCreateStartExec(t *testing.T) { ways(t, createStartExec) }

func createStartExec(t *testing.T, jump bool) {
	b := newBox(t, "echo started; sleep 100")
	b.Wait, b.Hooks, b.Trampoline = true, true, jump
	c := b.compile()
	listen, knock := socket(t)
	var stages []Stage
	ev := Events{Pause: func(s Stage, pid int) error {
		stages = append(stages, s)
		if s == StageRuntime {
			// The hooks find the bundle by its path in the host, and its
			// mounts there.
			if _, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/root" + b.Path + "/rootfs/proc/1/stat"); err != nil {
				return err
			}
		}
		return nil
	}}
	out := captured(t, func() {
		p, err := c.Create(listen, ev)
		if err != nil {
			t.Error(err)
			return
		}
		if err := Start(knock(), c.Rest, ev, p.Pid); err != nil {
			t.Error(err)
		}
		x, err := CompileBundleExec(BundleExec{Trampoline: jump, Pid: p.Pid, Spec: b.Spec, Namespaces: c.Namespaces, Process: &specs.Process{
			Args: []string{"sh", "-c", "echo $$ >/dev/null; grep -E 'CapPrm|CapEff' /proc/self/status; readlink /proc/self/ns/uts >/dev/null; cat /proc/1/cmdline >/dev/null"}, Env: b.Spec.Process.Env, Cwd: "/tmp", Capabilities: capabilities("CAP_CHOWN"),
		}})
		if err != nil {
			t.Error(err)
			return
		}
		q, err := x.Create(nil, Events{})
		if err != nil {
			t.Error(err)
		} else if code := end(t, q.Pid); code != 0 {
			t.Errorf("exec ends with %d", code)
		}
		unix.Kill(p.Pid, unix.SIGKILL)
		end(t, p.Pid)
	})
	if want := "started\nCapPrm:\t0000000000000001\nCapEff:\t0000000000000001\n"; out != want {
		t.Errorf("wrote %q, want %q", out, want)
	}
	if len(stages) != 2 || stages[0] != StageRuntime || stages[1] != StageStart {
		t.Errorf("stages %v", stages)
	}
}

func TestProgramErrors(t *testing.T) { ways(t, programErrors) }

func programErrors(t *testing.T, jump bool) {
	for _, tt := range []struct{ arg, want string }{
		{"nosuch", `exec: "nosuch": executable file not found in $PATH`},
		{"/nosuch", `exec: "/nosuch": stat /nosuch: no such file or directory`},
		{"/etc", `exec: "/etc": is a directory`},
		{"/etc/plain", `exec: "/etc/plain": permission denied`},
		{"/etc/script", `exec /etc/script: exec format error`},
	} {
		b := newBox(t, "")
		b.Trampoline = jump
		b.write("etc/plain", "", 0o644)
		b.write("etc/script", "x", 0o755)
		b.Spec.Process.Args = []string{tt.arg}
		if _, _, err := b.run(); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.arg, err, tt.want)
		}
	}
}
