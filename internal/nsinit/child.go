package nsinit

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The hooks that the runtime offers to packages that fork by themselves. They
// are on Go's list of names that stay (go.dev/issue/67401).

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// cloneShared is clone(2) for children that share our memory and stack. It is
// written in assembly for each architecture.
func cloneShared(flags uintptr) (pid, errno uintptr)

// forkChild clones the process; the child runs m and never returns.
func forkChild(m *image, flags, status uintptr) (int, syscall.Errno) {
	syscall.ForkLock.Lock()
	m.flags = flags | m.share | uintptr(syscall.SIGCHLD)
	pid, errno := fork(m, status)
	afterFork()
	syscall.ForkLock.Unlock()
	return int(pid), syscall.Errno(errno)
}

// fork is entered by one process and left by one: the child stays in run. Both
// have the same frame, be it shared or copied, so the parent returns at once
// and does the rest in the frame above, which the child does not touch.
//
// In the child the runtime stands still: nothing may allocate, grow the stack
// or take a lock. What it calls is nosplit or a raw system call.
//
//go:noinline
//go:norace
//go:nocheckptr
func fork(m *image, status uintptr) (pid, errno uintptr) {
	beforeFork()
	pid, errno = cloneShared(m.flags)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	afterForkInChild()
	// Our copy of the maker's end would feign its life.
	syscall.RawSyscall(syscall.SYS_CLOSE, m.peer, 0, 0)
	run(m, status)
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 127, 0, 0)
	}
}

// run is the loop. It returns only when an operation failed, after telling so.
//
//go:norace
//go:nocheckptr
//go:nosplit
func run(m *image, status uintptr) {
	defaultSignals(m)
	for i := 0; i < len(m.code); i++ {
		in := &m.code[i]
		a := in.args
		for j := 0; j < len(a); j++ {
			if in.refs&(1<<j) != 0 {
				a[j] = m.regs[a[j]]
			}
		}
		var r uintptr
		var e syscall.Errno
		switch in.kind {
		case kindSyscall:
			for e = syscall.EINTR; e == syscall.EINTR; {
				r, _, e = syscall.RawSyscall6(in.nr, a[0], a[1], a[2], a[3], a[4], a[5])
			}
		case kindClone:
			// Always a copy: the new process can be seen from inside the
			// container, which might stop it for good, and the shim must
			// neither wait for it nor share its memory with it.
			var errno uintptr
			r, errno = cloneShared(a[0] | unix.CLONE_PARENT | uintptr(syscall.SIGCHLD))
			if errno == 0 && r != 0 {
				tell(m, status, msgPid, i, r)
				exit(0)
			}
			e = syscall.Errno(errno)
		case kindInit:
			e = initLoop(m)
		case kindSend:
			e = pass(m, status, a[0])
		case kindClose:
			e = closeAll(m, status, a[0]+3)
			status = a[0] + 3
		case kindFail:
			e = syscall.Errno(a[0])
		case kindAlive:
			e = tell(m, status, msgAlive, i, 0)
		default:
			e = seldom(m, status, i, a[0], a[1])
		}
		if e == 0 {
			if in.out != 0 {
				m.regs[in.out] = r
			}
			i += int(in.then)
			continue
		}
		if !tolerated(in, e) {
			tell(m, status, msgError, i, uintptr(e))
			return
		}
		i += int(in.skip)
	}
}

// seldom carries out the pseudo calls that not every start has.
//
//go:nosplit
//go:norace
func seldom(m *image, status uintptr, op int, a, b uintptr) syscall.Errno {
	switch m.code[op].kind {
	case kindPause:
		return pause(m, status, op, a)
	case kindWait:
		return await(m, status, op)
	case kindInside:
		return inside(a)
	case kindLend:
		return lend(m, op, a, b)
	case kindHear:
		return hear(m, op, a)
	}
	return jump(m, status, op, a, b)
}

// closeAll moves the status socket to a place, the listening one and the
// trampoline to the next, and closes what lies above.
//
//go:nosplit
//go:norace
func closeAll(m *image, status, to uintptr) syscall.Errno {
	var e syscall.Errno
	if status != to {
		_, _, e = syscall.RawSyscall(syscall.SYS_DUP3, status, to, syscall.O_CLOEXEC)
	}
	for r := RegListen; r <= RegTrampoline && e == 0; r++ {
		if m.regs[r] == 0 {
			continue
		}
		if to++; m.regs[r] != to {
			_, _, e = syscall.RawSyscall(syscall.SYS_DUP3, m.regs[r], to, syscall.O_CLOEXEC)
		}
		m.regs[r] = to
	}
	if e == 0 {
		_, _, e = syscall.RawSyscall(unix.SYS_CLOSE_RANGE, to+1, 1<<32-1, 0)
	}
	return e
}

// pause waits for four bytes, all zero. When nobody is there any more to send
// them, the process ends.
//
//go:nosplit
//go:norace
func pause(m *image, status uintptr, op int, stage uintptr) syscall.Errno {
	if e := tell(m, status, msgPause, op, stage); e != 0 {
		return e
	}
	for {
		n, _, e := syscall.RawSyscall(syscall.SYS_READ, status, uintptr(unsafe.Pointer(&m.word)), 4)
		if e == syscall.EINTR {
			continue
		}
		if e == 0 && (n != 4 || m.word != 0) {
			return syscall.ECANCELED
		}
		return e
	}
}

// await stands still until somebody connects, who then hears the rest.
//
//go:nosplit
//go:norace
func await(m *image, status uintptr, op int) syscall.Errno {
	if e := tell(m, status, msgReady, op, 0); e != 0 {
		return e
	}
	for {
		fd, _, e := syscall.RawSyscall6(syscall.SYS_ACCEPT4, m.regs[RegListen], 0, 0, syscall.SOCK_CLOEXEC, 0, 0)
		if e == syscall.EINTR || e == syscall.ECONNABORTED {
			continue
		}
		if e == 0 {
			m.base = op + 1
			_, _, e = syscall.RawSyscall(syscall.SYS_DUP3, fd, status, syscall.O_CLOEXEC)
			syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
			syscall.RawSyscall(syscall.SYS_CLOSE, m.regs[RegListen], 0, 0)
		}
		return e
	}
}

// inside checks the working directory: getcwd(2) puts "(unreachable)" before
// one that is not below the root (CVE-2024-21626).
//
//go:nosplit
//go:norace
//go:nocheckptr
func inside(buf uintptr) syscall.Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_GETCWD, buf, unix.PathMax, 0)
	if e == 0 && *(*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&buf))) != '/' {
		return syscall.EXDEV
	}
	return e
}

// pass sends the shim a descriptor.
//
//go:nosplit
//go:norace
func pass(m *image, status, fd uintptr) syscall.Errno {
	*(*int32)(unsafe.Pointer(&m.ctl[unix.SizeofCmsghdr])) = int32(fd)
	m.msg.kind, m.msg.op, m.msg.value = msgFD, 0, 0
	_, _, e := syscall.RawSyscall(syscall.SYS_SENDMSG, status, uintptr(unsafe.Pointer(&m.hdr)), 0)
	return e
}

//go:nosplit
//go:norace
func tolerated(in *instr, e syscall.Errno) bool {
	if in.any {
		return true
	}
	for j := 0; j < len(in.allow); j++ {
		if in.allow[j] == uintptr(e) {
			return true
		}
	}
	return false
}

//go:nosplit
//go:norace
func tell(m *image, status uintptr, kind uint32, op int, value uintptr) syscall.Errno {
	m.msg.kind, m.msg.op, m.msg.value = kind, uint32(op-m.base), int64(value)
	_, _, e := syscall.RawSyscall(syscall.SYS_WRITE, status, uintptr(unsafe.Pointer(&m.msg)), unsafe.Sizeof(m.msg))
	return e
}

//go:nosplit
//go:norace
func exit(code uintptr) {
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, code, 0, 0)
	}
}

// defaultSignals undoes what the caller of berth ignored (nohup ignores
// SIGHUP) or blocked, since execve(2) keeps both.
//
//go:nosplit
//go:norace
func defaultSignals(m *image) {
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, 2 /* SIG_SETMASK */, uintptr(unsafe.Pointer(&m.wait)), 0, 8, 0, 0)
	// struct sigaction of zeroes is SIG_DFL on every architecture.
	for sig := uintptr(1); sig <= 64; sig++ {
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&m.wait)), 0, 8, 0, 0)
	}
}
