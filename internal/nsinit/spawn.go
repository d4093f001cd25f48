package nsinit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// OpError says which operation of a program failed. Its process is gone.
type OpError struct {
	Op    Op
	Errno syscall.Errno
}

func (e *OpError) Error() string {
	what := e.Op.What
	if what == "" {
		what = "call " + e.Op.Call
	}
	return fmt.Sprintf("cannot %s: %v", what, e.Errno)
}

func (e *OpError) Unwrap() error { return e.Errno }

// Child is the process that a program has become.
type Child struct {
	Pid     int
	FDs     []*os.File // those passed by CallSend, in order
	Waiting bool       // at a CallWait
}

// Spawn runs a program in a new child of the calling process and returns when
// the child has executed its last operation, an execve. Regs presets
// registers. The child is the caller's to reap.
//
// The caller must be locked to a thread that lives as long as the child may,
// because a parent-death signal (prctl(2) PR_SET_PDEATHSIG) refers to the
// thread that made the child.
func Spawn(p *Program, regs map[Reg]int) (*Child, error) {
	return SpawnPausing(p, regs, nil)
}

// SpawnPausing is Spawn for a program with CallPause, at which pause is called
// with the stage and the process; an error ends the process. At a CallWait it
// returns at once, and the rest is for [Resume].
func SpawnPausing(p *Program, regs map[Reg]int, pause func(stage, pid int) error) (*Child, error) {
	m, err := load(p)
	if err != nil {
		return nil, fmt.Errorf("damaged plan: %w", err)
	}
	for r, fd := range regs {
		m.regs[r] = uintptr(fd)
	}
	if err := dropInheritable(); err != nil {
		return nil, err
	}
	if p.jumps() {
		f, err := trampoline()
		if err != nil {
			return nil, err
		}
		defer f.Close()
		m.regs[RegTrampoline] = f.Fd()
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	m.peer = uintptr(pair[0])
	pid, errno := forkChild(m, uintptr(p.Flags), uintptr(pair[1]))
	unix.Close(pair[1])
	defer unix.Close(pair[0])
	runtime.KeepAlive(m)
	if errno != 0 {
		return nil, &OpError{Op: Op{Call: CallClone, What: "make a process in new namespaces"}, Errno: errno}
	}
	t := &talk{program: p, sock: pair[0], pause: pause, pids: []int{pid}}
	if err := t.listen(); err != nil {
		t.end()
		return nil, err
	}
	if len(t.pids) > 1 {
		sys.Wait(pid)
	}
	return &Child{Pid: t.pids[len(t.pids)-1], FDs: t.fds, Waiting: t.ready}, nil
}

// Resume lets a process go on that stands at a CallWait, over a connection to
// its socket, and returns when it has executed. Rest is what its operations
// from there on are for, as Op.What has it.
func Resume(conn int, rest []string, pid int, pause func(stage, pid int) error) error {
	p := &Program{Ops: make([]Op, len(rest))}
	for i, what := range rest {
		p.Ops[i] = Op{Call: "execve", What: what}
	}
	return (&talk{program: p, sock: conn, pause: pause, pids: []int{pid}}).listen()
}

// dropInheritable takes the inheritable capabilities from the calling thread,
// and so from its children. Those that berth's caller happens to have would
// come back at execve(2) to root in a container, past the bounding set
// (CVE-2022-24769).
func dropInheritable() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	if data[0].Inheritable|data[1].Inheritable == 0 {
		return nil
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	return os.NewSyscallError("capset", unix.Capset(&hdr, &data[0]))
}

// talk is the maker's side of a start.
type talk struct {
	program *Program
	sock    int
	pause   func(stage, pid int) error
	pids    []int // the first process, and what CallClone made of it
	fds     []*os.File
	stage   *message // a pause of a process that we have not been told of yet
	ready   bool     // it stands at a CallWait
}

// listen reads the child's messages until it has executed, waits or failed.
//
// After a failure the messages are read to their end all the same: the process
// that CallClone made may fail before its maker has told of it.
func (t *talk) listen() error {
	var failed error
	for {
		msg, fd, err := receive(t.sock)
		if err != nil {
			return err
		}
		switch {
		case msg == nil: // closed by execve, or the child was killed
			return failed
		case msg.kind == msgAlive:
		case msg.kind == msgReady:
			t.ready = true
			return nil
		case msg.kind == msgPid && isChild(int(msg.value)):
			t.pids = append(t.pids, int(msg.value))
			if t.stage != nil {
				err = t.answer(t.stage)
			}
		case msg.kind == msgPause && int(msg.op) < len(t.program.Ops):
			err = t.answer(msg)
		case msg.kind == msgLast && int(msg.op) < len(t.program.Ops):
			return t.last(t.program.Ops[msg.op])
		case msg.kind == msgFD:
			t.fds = append(t.fds, os.NewFile(uintptr(fd), "passed"))
		case msg.kind == msgError && int(msg.op) < len(t.program.Ops):
			failed = &OpError{Op: t.program.Ops[msg.op], Errno: syscall.Errno(msg.value)}
		default:
			return errors.New("unexpected message from a starting process")
		}
		if err != nil {
			return err
		}
	}
}

// last hears whether the trampoline has come through. It is a process of the
// container's already, which might send anything: it can only fail. Its maker may
// tell of it after it has spoken itself.
func (t *talk) last(op Op) error {
	var msg message
	b := unsafe.Slice((*byte)(unsafe.Pointer(&msg)), unsafe.Sizeof(msg))
	for {
		n, err := unix.Read(t.sock, b)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECONNRESET || err == nil && n == 0:
			return nil
		case err != nil:
			return os.NewSyscallError("read", err)
		case n == len(b) && msg.kind == msgPid && isChild(int(msg.value)):
			t.pids = append(t.pids, int(msg.value))
			continue
		case n != 8:
			return errors.New("unexpected message from a starting process")
		}
		return &OpError{Op: op, Errno: syscall.Errno(-int64(binary.NativeEndian.Uint64(b)) & 0xfff)}
	}
}

// answer has the pause's work done and sends the word, when it is known which
// process pauses.
func (t *talk) answer(msg *message) error {
	made := 1
	for _, op := range t.program.Ops[:msg.op] {
		if op.Call == CallClone {
			made++
		}
	}
	if t.stage = nil; len(t.pids) < made {
		t.stage = msg
		return nil
	}
	if t.pause != nil {
		if err := t.pause(int(msg.value), t.pids[len(t.pids)-1]); err != nil {
			return err
		}
	}
	if _, err := unix.Write(t.sock, make([]byte, 4)); err != nil && err != unix.EPIPE {
		return os.NewSyscallError("write", err)
	}
	return nil
}

// end puts away what a failed start leaves.
func (t *talk) end() {
	for _, f := range t.fds {
		f.Close()
	}
	for _, pid := range t.pids {
		unix.Kill(pid, unix.SIGKILL)
		sys.Wait(pid)
	}
}

// isChild keeps a process that was taken over inside a container from having
// us end another.
func isChild(pid int) bool {
	return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil
}

// receive returns the next message and a descriptor that came with it, or nil
// at the end.
func receive(sock int) (*message, int, error) {
	var msg message
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&msg)), unsafe.Sizeof(msg))
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(sock, buf, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECONNRESET || err == nil && n == 0:
			return nil, -1, nil
		case err != nil:
			return nil, -1, os.NewSyscallError("recvmsg", err)
		case n != len(buf):
			return nil, -1, errors.New("short message from a starting process")
		}
		fd := -1
		if oobn > 0 {
			cmsgs, err := unix.ParseSocketControlMessage(oob[:oobn])
			if err == nil && len(cmsgs) == 1 {
				if fds, err := unix.ParseUnixRights(&cmsgs[0]); err == nil && len(fds) == 1 {
					fd = fds[0]
				}
			}
		}
		if (msg.kind == msgFD) != (fd >= 0) {
			return nil, -1, errors.New("descriptor lost from a starting process")
		}
		return &msg, fd, nil
	}
}
