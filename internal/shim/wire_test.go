package shim

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

func pair(t *testing.T) (*Conn, *Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := NewConn(fds[0]), NewConn(fds[1])
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestPumpUntilExit(t *testing.T) {
	client, shim := pair(t)
	go func() {
		shim.send(frameStdout, []byte("out"))
		shim.send(frameStderr, []byte("err"))
		shim.send('?', []byte("of a newer version"))
		shim.sendJSON(frameExit, Exit{Code: 7})
	}()
	var out, errs bytes.Buffer
	x, err := client.Pump(&out, &errs)
	if err != nil || x.Code != 7 || out.String() != "out" || errs.String() != "err" {
		t.Errorf("%+v %v %q %q", x, err, &out, &errs)
	}
}

func TestPumpOfDeadShim(t *testing.T) {
	client, shim := pair(t)
	shim.Close()
	if _, err := client.Pump(nil, nil); !errors.Is(err, ErrGone) {
		t.Errorf("got %v", err)
	}
}

func TestLaunchRefused(t *testing.T) {
	client, shim := pair(t)
	go func() {
		plan, err := readPlan(shim)
		if err != nil || plan.ID != "x" || len(plan.Program.Ops) != 1 {
			t.Errorf("%+v %v", plan, err)
		}
		shim.sendJSON(frameError, failureOf(&nsinit.OpError{Op: nsinit.Op{Call: "execve", What: "run x"}, Errno: unix.ENOENT}))
	}()
	_, err := client.Launch(&Plan{ID: "x", Program: &nsinit.Program{Ops: []nsinit.Op{{Call: "execve"}}}})
	var f *Failure
	if !errors.As(err, &f) || f.Call != "execve" || !errors.Is(err, unix.ENOENT) || f.Error() != "cannot run x: no such file or directory" {
		t.Errorf("got %#v", err)
	}
}

func TestWriteSplitsInput(t *testing.T) {
	client, shim := pair(t)
	data := []byte(strings.Repeat("abcdefg", 20000))
	go func() {
		client.Write(data)
		client.CloseWrite()
	}()
	var got, buf []byte
	for {
		kind, p, err := shim.receive(&buf)
		if err != nil {
			t.Fatal(err)
		}
		if kind == frameEOF {
			break
		}
		got = append(got, p...)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("%d bytes came, want %d", len(got), len(data))
	}
}

func TestReceiveBoundsFrames(t *testing.T) {
	client, shim := pair(t)
	client.f.Write([]byte{'i', 0xff, 0xff, 0xff, 0xff})
	var buf []byte
	if _, _, err := shim.receive(&buf); err == nil {
		t.Error("a frame of 4 GiB was accepted")
	}
}
