package foreign

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
	"berth/internal/runtime"
	"berth/internal/sys"
)

// place is a root file system with busybox and a runtime to run it with.
type place struct {
	*Runtime
	ns   map[nsinit.Reg]*os.File
	regs map[nsinit.Reg]int
}

func newPlace(t *testing.T, program string) *place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts as root")
	}
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil && program == "crun" {
		t.Skip("crun refuses machines with both generations of cgroups")
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "tree")
	for _, d := range []string{"bin", "proc", "dev", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("cp", "/bin/busybox", filepath.Join(root, "bin/sh")).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	encl, err := runtime.CompileEnclosure(runtime.Rootfs{Base: dir, Target: "tree"}, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	visit, err := runtime.CompileVisit(unix.CLONE_NEWNS)
	if err != nil {
		t.Fatal(err)
	}
	state, err := os.MkdirTemp("", "foreign-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	r := &Runtime{Path: path, ID: fmt.Sprintf("t%d", os.Getpid()), Bundle: filepath.Join(dir, "bundle"), State: state,
		Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, Enclose: encl, Visit: visit}
	return &place{Runtime: r}
}

func (p *place) config(t *testing.T, tty bool, args ...string) {
	t.Helper()
	err := p.WriteConfig(&specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: filepath.Join(filepath.Dir(p.Bundle), "tree")},
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}, Terminal: tty},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}, {Destination: "/dev", Type: "tmpfs", Source: "tmpfs"}, {Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666"}}},
		Linux: &specs.Linux{CgroupsPath: "/berth-test/" + p.ID, Namespaces: []specs.LinuxNamespace{
			{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.UTSNamespace}, {Type: specs.IPCNamespace}}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (p *place) create(t *testing.T, s Streams) *Process {
	t.Helper()
	proc, err := p.Create(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(proc.Passed) != 1 {
		t.Fatalf("%d namespaces passed, want the mount namespace alone", len(proc.Passed))
	}
	p.regs = map[nsinit.Reg]int{nsinit.RegMountNS: int(proc.Passed[0].Fd())}
	t.Cleanup(func() {
		p.Delete(p.regs)
		closeAll(proc.Passed)
	})
	return proc
}

func runtimes(t *testing.T, test func(t *testing.T, program string)) {
	for _, name := range []string{"runc", "crun"} {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

// A container's life: output, one more process, a signal, its code, no trace.
func TestLife(t *testing.T) {
	runtimes(t, func(t *testing.T, program string) {
		p := newPlace(t, program)
		p.config(t, false, "sh", "-c", "echo hello; trap 'exit 7' TERM; while :; do sleep 0.05; done")
		r, w, _ := os.Pipe()
		null, _ := os.Open(os.DevNull)
		defer null.Close()
		proc := p.create(t, Streams{Files: [3]*os.File{null, w, w}})
		w.Close()
		if err := p.Start(p.regs); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 6)
		if _, err := io.ReadFull(r, line); err != nil || string(line) != "hello\n" {
			t.Fatalf("said %q (%v)", line, err)
		}
		if mounted(t, "tree") {
			t.Error("the host sees the container's root file system mounted")
		}
		er, ew, _ := os.Pipe()
		argv := p.ExecCommand([]string{"--cwd", "/", "--env", "PATH=/bin", "--env", "A=b"}, []string{"sh", "-c", "echo more $A; exit 3"})
		guest, err := runtime.CompileGuest(unix.CLONE_NEWNS, &specs.Process{}, argv, p.Env)
		if err != nil {
			t.Fatal(err)
		}
		regs := map[nsinit.Reg]int{nsinit.RegMountNS: p.regs[nsinit.RegMountNS],
			nsinit.RegStdin: int(null.Fd()), nsinit.RegStdout: int(ew.Fd()), nsinit.RegStderr: int(ew.Fd())}
		more, err := nsinit.Spawn(guest, regs)
		ew.Close()
		if err != nil {
			t.Fatal(err)
		}
		if out, _ := io.ReadAll(er); string(out) != "more b\n" {
			t.Errorf("the second process said %q", out)
		}
		if ws := sys.Wait(more.Pid); ws.ExitStatus() != 3 {
			t.Errorf("the second process ended with %v", ws)
		}
		if err := p.Kill(p.regs, int(unix.SIGTERM)); err != nil {
			t.Fatal(err)
		}
		if ws := sys.Wait(proc.Pid); ws.ExitStatus() != 7 {
			t.Errorf("ended with code %d, want 7", ws.ExitStatus())
		}
		if err := p.Delete(p.regs); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(p.State); len(left) > 0 {
			t.Errorf("%v left in the runtime's state", left)
		}
	})
}

func TestTerminal(t *testing.T) {
	runtimes(t, func(t *testing.T, program string) {
		p := newPlace(t, program)
		p.config(t, true, "sh", "-c", "test -t 0 && test -t 1 && echo terminal")
		proc := p.create(t, Streams{Tty: true})
		if proc.Console == nil {
			t.Fatal("no terminal")
		}
		defer proc.Console.Close()
		if err := p.Start(p.regs); err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(proc.Console) // its end is EIO
		if !bytes.Contains(out, []byte("terminal")) {
			t.Errorf("said %q", out)
		}
		sys.Wait(proc.Pid)
	})
}

// What a runtime says about a failure reaches the caller, and what it left is
// no obstacle for the next start.
func TestFailure(t *testing.T) {
	runtimes(t, func(t *testing.T, program string) {
		p := newPlace(t, program)
		p.config(t, false, "/bin/none")
		null, _ := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		defer null.Close()
		s := Streams{Files: [3]*os.File{null, null, null}}
		proc, err := p.Create(s, nil)
		if err == nil { // crun notices only later
			p.regs = map[nsinit.Reg]int{nsinit.RegMountNS: int(proc.Passed[0].Fd())}
			err = p.Start(p.regs)
		}
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Text, "none") {
			t.Errorf("error %v", err)
		}
		p.config(t, false, "sh", "-c", "exit 0")
		again := p.create(t, s)
		if err := p.Start(p.regs); err != nil {
			t.Fatal(err)
		}
		if ws := sys.Wait(again.Pid); ws.ExitStatus() != 0 {
			t.Errorf("ended with %v", ws)
		}
	})
}

func mounted(t *testing.T, name string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(b), "/"+name+" ")
}
