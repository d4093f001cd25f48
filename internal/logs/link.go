package logs

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// link is a connection to a daemon that takes lines, made again when it breaks.
// It does without package net, which would double what the shim links.
type link struct {
	network, address string
	f                *os.File
	after            time.Time // no new try before
}

const (
	reach = 5 * time.Second // for a server to answer
	again = time.Second     // between tries
)

// send writes one message and drops it if that is not possible for a while.
func (l *link) send(b []byte) {
	for range 2 { // a server that was started anew is noticed when it is written to
		if l.f == nil {
			if time.Now().Before(l.after) {
				return
			}
			var err error
			if l.f, err = dial(l.network, l.address); err != nil {
				l.after = time.Now().Add(again)
				return
			}
		}
		l.f.SetWriteDeadline(time.Now().Add(reach))
		_, err := l.f.Write(b)
		if err == nil {
			return
		}
		if errors.Is(err, unix.EMSGSIZE) {
			return // never fits
		}
		l.close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			l.after = time.Now().Add(again)
			return
		}
	}
}

func (l *link) close() {
	if l.f != nil {
		l.f.Close()
		l.f = nil
	}
}

// dial connects a socket. Networks and the words of errors are those of package
// net.
func dial(network, address string) (*os.File, error) {
	fd, sa, err := socket(network, address)
	if err != nil {
		return nil, err
	}
	if err := connect(fd, sa); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("dial %s %s: connect: %w", network, address, err)
	}
	return os.NewFile(uintptr(fd), address), nil
}

func socket(network, address string) (fd int, sa unix.Sockaddr, err error) {
	kind := unix.SOCK_STREAM
	if network == "udp" || network == "unixgram" {
		kind = unix.SOCK_DGRAM
	}
	family := unix.AF_UNIX
	switch network {
	case "unix", "unixgram":
		sa = &unix.SockaddrUnix{Name: address}
	default:
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return -1, nil, fmt.Errorf("dial %s: %w", network, err)
		}
		if a := ap.Addr().Unmap(); a.Is4() {
			family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: a.As4()}
		} else {
			family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(ap.Port()), Addr: a.As16()}
		}
	}
	fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return fd, sa, os.NewSyscallError("socket", err)
}

// connect waits for a server for a while.
func connect(fd int, sa unix.Sockaddr) error {
	err := unix.Connect(fd, sa)
	if err != unix.EINPROGRESS {
		return err
	}
	for end := time.Now().Add(reach); ; {
		left := time.Until(end)
		if left <= 0 {
			return unix.ETIMEDOUT
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return err
		}
		if n == 1 {
			break
		}
	}
	e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && e != 0 {
		err = unix.Errno(e)
	}
	return err
}
