package nsinit

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hearingTime is how long CallHear waits for an answer, in seconds.
const hearingTime = 30

// lend carries out CallLend. The message is not ours, so the structure that
// points to it is put back; as numbers, because no pointer may be written here.
//
//go:nosplit
//go:norace
func lend(m *image, op int, fd, sock uintptr) syscall.Errno {
	in := &m.code[op]
	base, size := (*uintptr)(unsafe.Pointer(&m.iov.Base)), m.iov.Len
	ours := *base
	*base, m.iov.Len = in.args[2], uint64(in.args[3])
	*(*int32)(unsafe.Pointer(&m.ctl[unix.SizeofCmsghdr])) = int32(fd)
	e := syscall.EINTR
	for e == syscall.EINTR {
		_, _, e = syscall.RawSyscall(syscall.SYS_SENDMSG, sock, uintptr(unsafe.Pointer(&m.hdr)), syscall.MSG_NOSIGNAL)
	}
	*base, m.iov.Len = ours, size
	return e
}

// hear carries out CallHear. The socket may be one that does not block, for the
// sake of the others that have it.
//
//go:nosplit
//go:norace
//go:nocheckptr
func hear(m *image, op int, sock uintptr) syscall.Errno {
	in := &m.code[op]
	want, size, buf := in.args[1], in.args[2], in.args[3]
	m.wait = [4]uint64{1: hearingTime}
	*(*int32)(unsafe.Pointer(&m.wait[0])) = int32(sock)
	*(*int16)(unsafe.Pointer(uintptr(unsafe.Pointer(&m.wait[0])) + 4)) = unix.POLLIN
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, sock, buf, size+1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		if e == syscall.EAGAIN {
			// struct pollfd, then struct timespec, which counts down.
			n, _, e = syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&m.wait[0])), 1, uintptr(unsafe.Pointer(&m.wait[1])), 0, 8, 0)
			if e == 0 && n == 0 {
				return syscall.ETIMEDOUT
			}
			if e == 0 {
				continue
			}
		}
		if e == syscall.EINTR {
			continue
		}
		if e != 0 {
			return e
		}
		if n == 0 {
			return syscall.ECONNRESET
		}
		if n != size || !same(want, buf, size) {
			return syscall.EREMOTEIO
		}
		_, _, e = syscall.RawSyscall6(syscall.SYS_RECVFROM, sock, buf, size, syscall.MSG_DONTWAIT, 0, 0)
		return e
	}
}

// same compares memory at two addresses, of which the garbage collector knows
// from image.keep.
//
//go:nosplit
//go:norace
//go:nocheckptr
func same(a, b, n uintptr) bool {
	p, q := *(*unsafe.Pointer)(unsafe.Pointer(&a)), *(*unsafe.Pointer)(unsafe.Pointer(&b))
	for i := uintptr(0); i < n; i++ {
		if *(*byte)(unsafe.Add(p, i)) != *(*byte)(unsafe.Add(q, i)) {
			return false
		}
	}
	return true
}
