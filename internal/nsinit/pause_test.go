package nsinit

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

var stop = errors.New("stop")

func TestPauseTellsStageAndProcess(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pause := func(n int) Op { return Op{Call: CallPause, Args: []Arg{Int(n)}} }
	ops := append([]Op{pause(3), {Call: CallClone, Args: []Arg{Int(0)}}, pause(4)}, sh("exit 0")[1:]...)
	for range 50 { // the second process may be faster than the news of it
		var stages, pids []int
		c, err := SpawnPausing(&Program{Ops: ops}, nil, func(stage, pid int) error {
			stages, pids = append(stages, stage), append(pids, pid)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		sys.Wait(c.Pid)
		if len(stages) != 2 || stages[0] != 3 || stages[1] != 4 || pids[0] == c.Pid || pids[1] != c.Pid {
			t.Fatalf("stages %v of processes %v, made %d", stages, pids, c.Pid)
		}
	}
	if _, err := SpawnPausing(&Program{Ops: ops}, nil, func(stage, _ int) error {
		if stage == 4 {
			return stop
		}
		return nil
	}); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("child %d is left (%v)", pid, err)
	}
}

// waiting makes a process that waits, and connects to it.
func waiting(t *testing.T, after []Op) (*Child, int) {
	t.Helper()
	at := &unix.SockaddrUnix{Name: filepath.Join(t.TempDir(), "s")}
	socket := func() int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	listen := socket()
	defer unix.Close(listen)
	if err := errors.Join(unix.Bind(listen, at), unix.Listen(listen, 1)); err != nil {
		t.Fatal(err)
	}
	c, err := SpawnPausing(&Program{Ops: append([]Op{{Call: CallClose}, {Call: CallWait}}, after...)}, map[Reg]int{RegListen: listen}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Waiting {
		t.Error("the process does not wait")
	}
	conn := socket()
	if err := unix.Connect(conn, at); err != nil {
		t.Fatal(err)
	}
	return c, conn
}

func TestWaitAndResume(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	after := []Op{
		{Call: CallPause, Args: []Arg{Int(9)}},
		{Call: "execve", Args: []Arg{Str("/bin/sh"), Vec([]string{"sh", "-c", "exit 6"}), Vec(nil)}},
	}
	c, conn := waiting(t, after)
	stages := 0
	err := Resume(conn, []string{"", ""}, c.Pid, func(stage, pid int) error {
		if stage != 9 || pid != c.Pid {
			t.Errorf("stage %d of %d", stage, pid)
		}
		stages++
		return nil
	})
	unix.Close(conn)
	var ws unix.WaitStatus
	unix.Wait4(c.Pid, &ws, 0, nil)
	if err != nil || stages != 1 || ws.ExitStatus() != 6 {
		t.Errorf("error %v, %d stages, status %d", err, stages, ws.ExitStatus())
	}

	c, conn = waiting(t, []Op{{Call: "chdir", Args: []Arg{Str("/")}}, {Call: CallFail, Args: []Arg{Int(int(unix.EIO))}}})
	err = Resume(conn, []string{"", "go on"}, c.Pid, nil)
	unix.Close(conn)
	sys.Wait(c.Pid)
	if !errors.Is(err, syscall.EIO) || !strings.HasSuffix(err.Error(), "cannot go on: input/output error") {
		t.Errorf("got %v", err)
	}
}

// A maker that is gone leaves nobody behind.
func TestPausedEndsWithItsMaker(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := load(&Program{Ops: []Op{{Call: CallPause, Args: []Arg{Int(1)}}, {Call: CallFail, Args: []Arg{Int(0)}}}})
	if err != nil {
		t.Fatal(err)
	}
	m.peer = uintptr(pair[0])
	pid, errno := forkChild(m, 0, uintptr(pair[1]))
	unix.Close(pair[1])
	unix.Close(pair[0])
	if errno != 0 {
		t.Fatal(errno)
	}
	sys.Wait(pid) // or the test hangs
}

func TestInsideTheRoot(t *testing.T) {
	inside := Op{Call: CallInside, Args: []Arg{Bytes(make([]byte, unix.PathMax))}, What: "stay"}
	dir := t.TempDir()
	ops := func(then ...Op) *Program {
		return &Program{Ops: append(append([]Op{
			{Call: "openat", Args: []Arg{Int(unix.AT_FDCWD), Str("/"), Int(unix.O_PATH | unix.O_CLOEXEC), Int(0)}, Out: RegFree},
		}, then...), Op{Call: CallFail, Args: []Arg{Int(int(unix.EIO))}})}
	}
	if _, _, err := spawn(t, ops(inside)); !errors.Is(err, unix.EIO) {
		t.Errorf("inside: %v", err)
	}
	if os.Getuid() != 0 {
		t.Skip("only root can change its root")
	}
	if _, _, err := spawn(t, ops(Op{Call: "chroot", Args: []Arg{Str(dir)}}, inside)); !errors.Is(err, unix.EXDEV) {
		t.Errorf("outside: %v", err)
	}
}

// A process that a container has taken over could name any other.
func TestForeignPidIsRefused(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	m := &image{}
	tell(m, uintptr(pair[1]), msgPid, 0, 1)
	unix.Close(pair[1])
	talk := &talk{program: &Program{}, sock: pair[0]}
	if err := talk.listen(); err == nil || len(talk.pids) != 0 {
		t.Errorf("error %v, processes %v", err, talk.pids)
	}
}
