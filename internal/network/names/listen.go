package names

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Listen makes the sockets for Serve. It is called on a thread in the network
// namespace of the container.
//
// They are on ports that nobody asks for, and the kernel rewrites port 53 to
// them, so that a program of the container's can serve names on port 53 of all
// addresses. Where the kernel has no nf_tables they are on port 53 itself, where
// such a program fails with "address in use".
func Listen() (net.PacketConn, net.Listener, error) {
	if err := raiseLoopback(); err != nil {
		return nil, nil, err
	}
	udp, tcp, err := listen(0)
	if err != nil {
		return nil, nil, err
	}
	if redirect(portOf(udp.LocalAddr()), portOf(tcp.Addr())) == nil {
		return udp, tcp, nil
	}
	udp.Close()
	tcp.Close()
	return listen(Port)
}

// raiseLoopback sets the loopback interface up if it is not yet. Without it the
// kernel takes 127.0.0.11 for no address and answers from another one.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r)
	}
	if err == nil && r.Uint16()&unix.IFF_UP == 0 {
		r.SetUint16(r.Uint16() | unix.IFF_UP)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
	}
	if err != nil {
		return fmt.Errorf("cannot set the interface lo up: %w", err)
	}
	return nil
}

func listen(port int) (net.PacketConn, net.Listener, error) {
	addr := net.JoinHostPort(Address, strconv.Itoa(port))
	var lc net.ListenConfig
	udp, err := lc.ListenPacket(context.Background(), "udp4", addr)
	if err != nil {
		return nil, nil, err
	}
	tcp, err := lc.Listen(context.Background(), "tcp4", addr)
	if err != nil {
		udp.Close()
		return nil, nil, err
	}
	return udp, tcp, nil
}

func portOf(a net.Addr) uint16 {
	ap, _ := netip.ParseAddrPort(a.String()) // as our own sockets write it
	return ap.Port()
}
