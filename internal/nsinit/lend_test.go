package nsinit

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// TestLendAndHear: the process shows a descriptor to somebody, and goes on only
// after the answer that it expects. Another answer is left for its maker to read.
func TestLendAndHear(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const ask, yes, no = "please", "done", "no such network"
	for _, c := range []struct {
		name, answer string
		want         error
	}{
		{"the answer", yes, nil},
		{"another", no, unix.EREMOTEIO},
		{"the beginning of another", yes + " not", unix.EREMOTEIO},
		{"none", "", unix.ECONNRESET},
	} {
		t.Run(c.name, func(t *testing.T) {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(pair[0])
			null, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer null.Close()
			heard := make(chan string, 1)
			go func() { heard <- answer(pair[1], c.answer) }()
			ops := append([]Op{
				{Call: "close", Args: []Arg{Int(pair[1])}},
				{Call: CallLend, Args: []Arg{Ref(RegFree), Ref(RegLease), Bytes([]byte(ask)), Int(len(ask))}},
				{Call: CallHear, Args: []Arg{Ref(RegLease), Bytes([]byte(yes)), Int(len(yes)), Bytes(make([]byte, len(yes)+1))}},
			}, sh("exit 0")[1:]...)
			child, err := Spawn(&Program{Ops: ops}, map[Reg]int{RegFree: int(null.Fd()), RegLease: pair[0]})
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("%v, want %v", err, c.want)
			}
			if err == nil {
				sys.Wait(child.Pid)
			}
			if got := <-heard; got != ask {
				t.Errorf("the other end heard %q", got)
			}
			if c.want == unix.EREMOTEIO {
				b := make([]byte, 64)
				n, err := unix.Read(pair[0], b)
				if err != nil || string(b[:n]) != c.answer {
					t.Errorf("left to be read: %q, %v", b[:max(n, 0)], err)
				}
			}
		})
	}
}

// answer waits for a message with a descriptor, answers, and closes its end.
func answer(fd int, text string) string {
	defer unix.Close(fd)
	unix.SetNonblock(fd, false)
	b, oob := make([]byte, 64), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(fd, b, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || oobn == 0 {
		return "no descriptor"
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err == nil && len(msgs) == 1 {
		if fds, err := unix.ParseUnixRights(&msgs[0]); err == nil && len(fds) == 1 {
			unix.Close(fds[0])
		}
	}
	if text != "" {
		unix.Write(fd, []byte(text))
	}
	return string(b[:n])
}
