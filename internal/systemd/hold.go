package systemd

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// holder is a process that does nothing: it keeps a scope alive until a
// container has moved in.
type holder struct {
	pid int
	end chan struct{} // closed: end it
	out chan struct{} // closed: it has ended
}

// hold makes one. It is a fork of this program that only waits, so it costs no
// execve; it dies with the calling process.
func hold() (*holder, error) {
	h := &holder{end: make(chan struct{}), out: make(chan struct{})}
	made := make(chan error)
	go func() {
		// The parent-death signal refers to this thread, which must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		pid, errno := forkIdle()
		if errno != 0 {
			made <- os.NewSyscallError("clone", errno)
			return
		}
		h.pid = pid
		made <- nil
		<-h.end
		unix.Kill(pid, unix.SIGKILL)
		for {
			if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
				break
			}
		}
		close(h.out)
	}()
	if err := <-made; err != nil {
		return nil, err
	}
	return h, nil
}

// release ends it.
func (h *holder) release() {
	if h == nil {
		return
	}
	select {
	case <-h.end:
	default:
		close(h.end)
	}
	<-h.out
}

// forkIdle makes a child that waits for ever. Between the two processes there
// is nothing but raw system calls: the child has this one thread, and the Go
// runtime does not know of it. Signals stay blocked in it, or Go's handlers
// would run there.
//
//go:norace
//go:noinline
func forkIdle() (int, syscall.Errno) {
	all, old := ^uint64(0), uint64(0)
	parent := os.Getpid()
	_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
		if now, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); now == uintptr(parent) {
			// No caller's descriptor is kept open by it.
			syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 0, ^uintptr(0), 0)
			for {
				syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
			}
		}
		for {
			syscall.RawSyscall(unix.SYS_EXIT_GROUP, 1, 0, 0)
		}
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	return int(pid), errno
}
