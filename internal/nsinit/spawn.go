package nsinit

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
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
	Pid int
	FDs []*os.File // those passed by CallSend, in order
}

// Spawn runs a program in a new child of the calling process and returns when
// the child has executed its last operation, an execve. Regs presets
// registers. The child is the caller's to reap.
//
// The caller must be locked to a thread that lives as long as the child may,
// because a parent-death signal (prctl(2) PR_SET_PDEATHSIG) refers to the
// thread that made the child.
func Spawn(p *Program, regs map[Reg]int) (*Child, error) {
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
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	pid, errno := forkChild(m, uintptr(p.Flags), uintptr(pair[1]))
	unix.Close(pair[1])
	defer unix.Close(pair[0])
	runtime.KeepAlive(m)
	if errno != 0 {
		return nil, &OpError{Op: Op{Call: CallClone, What: "make a process in new namespaces"}, Errno: errno}
	}
	return collect(p, pid, pair[0])
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

// collect reads the child's messages until it has executed or failed.
func collect(p *Program, first, sock int) (*Child, error) {
	c := &Child{Pid: first}
	pids := []int{first}
	fail := func(err error) (*Child, error) {
		for _, f := range c.FDs {
			f.Close()
		}
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
			reap(pid)
		}
		return nil, err
	}
	// After a failure the messages are read to their end all the same: the
	// process that CallClone made may fail before its maker has told of it.
	var failed error
	for {
		msg, fd, err := receive(sock)
		if err != nil {
			return fail(err)
		}
		switch {
		case msg == nil && failed != nil:
			return fail(failed)
		case msg == nil: // closed by execve, or the child was killed
			if len(pids) > 1 {
				reap(first)
			}
			return c, nil
		case msg.kind == msgAlive:
		case msg.kind == msgPid:
			c.Pid = int(msg.value)
			pids = append(pids, c.Pid)
		case msg.kind == msgFD:
			c.FDs = append(c.FDs, os.NewFile(uintptr(fd), "passed"))
		case msg.kind == msgError && int(msg.op) < len(p.Ops):
			failed = &OpError{Op: p.Ops[msg.op], Errno: syscall.Errno(msg.value)}
		default:
			return fail(errors.New("unexpected message from a starting process"))
		}
	}
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

func reap(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}
