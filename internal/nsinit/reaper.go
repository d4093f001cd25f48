package nsinit

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// siKernel is SI_KERNEL, the si_code of signals that no process has sent.
const siKernel = 0x80

// sigInfo is the beginning of siginfo_t (sigaction(2)), in its full size.
type sigInfo struct {
	signo, errno, code int32
	_                  [116]byte
}

// initLoop forks. The child returns 0 and goes on with the program. The parent
// stays as process 1 of the pid namespace until the child has ended: it reaps
// what is orphaned to it and passes every signal on, as `docker run --init`
// promises. It is this copy of the shim's memory without any of its
// descriptors, so no helper program has to exist inside the image.
//
//go:nosplit
//go:norace
func initLoop(m *image) syscall.Errno {
	m.mask = ^uint64(0)
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, 0 /* SIG_BLOCK */, uintptr(unsafe.Pointer(&m.mask)), uintptr(unsafe.Pointer(&m.wait[0])), 8, 0, 0)
	child, _, e := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if e != 0 {
		return e
	}
	if child == 0 {
		syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, 2 /* SIG_SETMASK */, uintptr(unsafe.Pointer(&m.wait[0])), 0, 8, 0, 0)
		return 0
	}
	syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 0, 1<<32-1, 0)
	for {
		sig, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&m.mask)), uintptr(unsafe.Pointer(&m.info)), 0, 8, 0, 0)
		if e != 0 {
			continue
		}
		if sig != uintptr(syscall.SIGCHLD) {
			// A Ctrl-C of the terminal has reached the child as well,
			// which is in our process group.
			if m.info.code != siKernel {
				syscall.RawSyscall(syscall.SYS_KILL, child, sig, 0)
			}
			continue
		}
		reapAll(m, child)
	}
}

// reapAll collects every ended child, and ends with the status of the main
// one. Exit codes above 128 stand for signals, as in a shell.
//
//go:nosplit
//go:norace
func reapAll(m *image, child uintptr) {
	for {
		pid, _, e := syscall.RawSyscall6(syscall.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&m.wait[1])), syscall.WNOHANG, 0, 0, 0)
		if e != 0 || pid == 0 {
			return
		}
		if pid != child {
			continue
		}
		status := uint32(m.wait[1])
		if status&0x7f == 0 {
			exit(uintptr(status >> 8 & 0xff))
		}
		exit(uintptr(128 + status&0x7f))
	}
}
