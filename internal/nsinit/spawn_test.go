package nsinit

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// spawn runs a program with its standard output in a pipe and returns what it
// wrote and how it ended.
func spawn(t *testing.T, p *Program) (string, unix.WaitStatus, error) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := Spawn(p, map[Reg]int{RegStdout: int(w.Fd())})
	w.Close()
	if err != nil {
		return "", 0, err
	}
	var out bytes.Buffer
	out.ReadFrom(r)
	var ws unix.WaitStatus
	if _, err := unix.Wait4(c.Pid, &ws, 0, nil); err != nil {
		t.Fatal(err)
	}
	return out.String(), ws, nil
}

func sh(script string) []Op {
	return []Op{
		{Call: "dup3", Args: []Arg{Ref(RegStdout), Int(1), Int(0)}},
		{Call: CallClose},
		{Call: "execve", Args: []Arg{Str("/bin/sh"), Vec([]string{"sh", "-c", script}), Vec([]string{"A=b"})}, What: "run sh"},
	}
}

func TestSpawnRunsProgram(t *testing.T) {
	out, ws, err := spawn(t, &Program{Ops: sh("echo $A; ls /proc/self/fd | tr '\\n' ' '; exit 7")})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out, "b\n0 1 2 3 ") || ws.ExitStatus() != 7 {
		t.Errorf("output %q, status %d", out, ws.ExitStatus())
	}
}

func TestSpawnSecondClone(t *testing.T) {
	ops := append([]Op{{Call: CallClone, Args: []Arg{Flags(unix.CLONE_NEWPID)}}}, sh("echo $$")...)
	out, ws, err := spawn(t, &Program{Ops: ops})
	if err != nil {
		t.Fatal(err)
	}
	if out != "1\n" || ws != 0 {
		t.Errorf("output %q, status %v; want process 1", out, ws)
	}
}

func TestSpawnReportsFailedOperation(t *testing.T) {
	p := &Program{Ops: []Op{
		{Call: "chdir", Args: []Arg{Str("/nonexistent")}, Allow: []int{int(unix.ENOENT)}, Skip: 1},
		{Call: CallFail, Args: []Arg{Int(int(unix.EIO))}}, // left out
		{Call: "mkdirat", Args: []Arg{Int(unix.AT_FDCWD), Str("/proc/x"), Int(0)}, What: "make /proc/x"},
	}}
	_, _, err := spawn(t, p)
	var oe *OpError
	if !errors.As(err, &oe) || !errors.Is(err, syscall.ENOENT) || oe.Error() != "cannot make /proc/x: no such file or directory" {
		t.Errorf("got %v", err)
	}
}

func TestInitReapsAndPassesStatus(t *testing.T) {
	for _, tt := range []struct {
		script string
		want   int
	}{
		// Eight orphans end while the main program still runs.
		{"for i in 1 2 3 4 5 6 7 8; do (sh -c 'sleep 0.01 &' ); done; sleep 0.1; n=$(ls -d /proc/[0-9]* | wc -l); exit 9", 9},
		{"kill -TERM 1; sleep 5; exit 1", 128 + 15},
	} {
		ops := append([]Op{
			{Call: "mount", Args: []Arg{Str(""), Str("/"), Int(0), Int(unix.MS_REC | unix.MS_PRIVATE), Int(0)}},
			{Call: "mount", Args: []Arg{Str("proc"), Str("/proc"), Str("proc"), Int(0), Int(0)}},
			{Call: CallInit},
		}, sh(tt.script)...)
		_, ws, err := spawn(t, &Program{Flags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Ops: ops})
		if err != nil {
			t.Fatal(err)
		}
		if ws.ExitStatus() != tt.want {
			t.Errorf("%s: status %v, want %d", tt.script, ws, tt.want)
		}
	}
}

func TestSpawnPassesDescriptor(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ops := append([]Op{
		{Call: "openat", Args: []Arg{Int(unix.AT_FDCWD), Str("/proc/self/comm"), Int(unix.O_RDONLY | unix.O_CLOEXEC), Int(0)}, Out: RegFree},
		{Call: CallSend, Args: []Arg{Ref(RegFree)}},
		{Call: "dup3", Args: []Arg{Ref(RegFree), Int(1), Int(0)}},
	}, sh("exit 0")[1:]...)
	c, err := Spawn(&Program{Ops: ops}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sys.Wait(c.Pid)
	if len(c.FDs) != 1 {
		t.Fatalf("%d descriptors, want 1", len(c.FDs))
	}
	c.FDs[0].Close()
}

func sampleProgram() *Program {
	return &Program{Flags: 1 << 40, Ops: []Op{{
		Call: "execve", Out: 7, Allow: []int{2, AnyError}, Skip: 1, Then: 1, What: "x",
		Args: []Arg{Int(-100), Str("a\"b"), Ref(9), Bytes([]byte{0, 255}), Vec([]string{"x", ""}), Filter(make([]byte, 16))},
	}, {Call: "write", Args: []Arg{Vec([]string{}), Bytes(nil), Str("")}}}}
}

func TestProgramSurvivesEncoding(t *testing.T) {
	p := sampleProgram()
	b, err := p.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	var q Program
	if err := q.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(p, &q) {
		t.Errorf("got  %+v\nwant %+v", &q, p)
	}
	for n := range b {
		if err := new(Program).UnmarshalBinary(b[:n]); err == nil {
			t.Errorf("%d of %d bytes were taken for a program", n, len(b))
		}
	}
}

func FuzzProgram(f *testing.F) {
	b, _ := sampleProgram().AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Program
		if p.UnmarshalBinary(b) != nil {
			return
		}
		load(&p) // must not panic, whatever it says
		c, _ := p.AppendBinary(nil)
		var q Program
		if err := q.UnmarshalBinary(c); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

func TestLoadRefusesDamage(t *testing.T) {
	for _, op := range []Op{
		{Call: "no_such_call"},
		{Call: "read", Args: []Arg{Ref(MaxRegs)}},
		{Call: "read", Args: []Arg{{kind: 'r'}}},
		{Call: "read", Out: MaxRegs},
		{Call: "read", Skip: 1},
		{Call: "read", Args: []Arg{Str("a\x00b")}},
		{Call: "read", Args: make([]Arg, 7)},
		{Call: "seccomp", Args: []Arg{Filter(make([]byte, 7))}},
	} {
		if _, err := load(&Program{Ops: []Op{op}}); err == nil {
			t.Errorf("%+v was accepted", op)
		}
	}
}

// A process made by CallClone can fail before its maker has reported it; both
// must be reaped.
func TestSpawnReapsBothAfterFailure(t *testing.T) {
	p := &Program{Ops: []Op{
		{Call: CallClone, Args: []Arg{Int(0)}},
		{Call: CallFail, Args: []Arg{Int(int(unix.EIO))}, What: "go on"},
	}}
	for range 200 {
		if _, _, err := spawn(t, p); !errors.Is(err, syscall.EIO) {
			t.Fatalf("got %v", err)
		}
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("child %d is left (%v)", pid, err)
	}
}

// What berth's caller has blocked or may hand on is not the container's.
func TestSpawnLeavesNothingOfTheCaller(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old, block unix.Sigset_t
	block.Val[0] = 1 << (unix.SIGUSR1 - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &block, &old); err != nil {
		t.Fatal(err)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Inheritable |= data[0].Permitted
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
	out, _, err := spawn(t, &Program{Ops: sh("grep -E 'SigBlk|CapInh' /proc/self/status")})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if f := strings.Fields(line); strings.Trim(f[1], "0") != "" {
			t.Errorf("the program has inherited %s", line)
		}
	}
}
