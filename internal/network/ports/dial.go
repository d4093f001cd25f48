package ports

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Dial connects to a container for a client at from. What it returns is a
// *net.TCPConn or a *net.UDPConn. It need not make the container see from.
type Dial func(ctx context.Context, proto string, from, to netip.AddrPort) (net.Conn, error)

// patience is how long a container may take to accept a connection. The kernel's
// own limit is two minutes (tcp_syn_retries in tcp(7)).
const patience = 30 * time.Second

// Direct dials from the process's own network namespace. The container sees an
// address of the host's.
func Direct(ctx context.Context, proto string, _, to netip.AddrPort) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, proto, to.String())
}

// Inside dials with sockets made by do, which runs a function on a thread in the
// network namespace where the bridges are. The container sees the bridge's
// address.
func Inside(do func(func() error) error) Dial {
	return func(ctx context.Context, proto string, _, to netip.AddrPort) (net.Conn, error) {
		return connect(ctx, do, proto, netip.AddrPort{}, to)
	}
}

// connect makes a socket in the other namespace and waits here until it is
// connected: the thread there is not kept waiting by a container that does not
// answer.
func connect(ctx context.Context, do func(func() error) error, proto string, from, to netip.AddrPort) (net.Conn, error) {
	fd := -1
	err := do(func() (err error) {
		fd, err = begin(proto, from, to)
		return err
	})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "socket")
	c, err := net.FileConn(f)
	_ = f.Close() // c has a copy
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	if err := finish(ctx, tcp); err != nil {
		_ = tcp.Close()
		return nil, err
	}
	return tcp, nil
}

// begin makes a socket that connects.
func begin(proto string, from, to netip.AddrPort) (int, error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	if proto == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if from.IsValid() {
		err = os.NewSyscallError("bind", bindForeign(fd, family, from))
	}
	if err == nil {
		if err = unix.Connect(fd, sockaddr(to)); err == unix.EINPROGRESS {
			err = nil
		}
		err = os.NewSyscallError("connect", err)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bindForeign gives a socket an address that is not the host's: IP_TRANSPARENT in
// ip(7). It needs CAP_NET_ADMIN or CAP_NET_RAW over the network namespace.
func bindForeign(fd, family int, from netip.AddrPort) error {
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if family == unix.AF_INET6 {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return err
	}
	// A client's port may come again while the last connection is in TIME_WAIT.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return unix.Bind(fd, sockaddr(from))
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// finish waits until a socket is connected.
func finish(ctx context.Context, c *net.TCPConn) error {
	if t, ok := ctx.Deadline(); ok {
		if err := c.SetWriteDeadline(t); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetWriteDeadline(time.Unix(1, 0)) })
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil || n != 0 {
			if err == nil {
				err = unix.Errno(n)
			}
			result = os.NewSyscallError("connect", err)
			return true
		}
		// Only a connected socket knows its peer; else the wake-up was too early.
		_, err = unix.Getpeername(int(fd))
		return err == nil
	})
	stop()
	if err == nil {
		err = result
	}
	if err != nil {
		return fmt.Errorf("cannot connect to the container: %w", err)
	}
	return c.SetWriteDeadline(time.Time{})
}
