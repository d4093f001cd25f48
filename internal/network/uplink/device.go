package uplink

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// device is the uplink's interface seen from this process: what is sent to the
// interface in the namespace is read here, and what is written here arrives from
// it. There are two kinds, a tun device, and a pair of interfaces with a packet
// socket on the second, where /dev/net/tun cannot be opened: some machines keep
// it to root.
//
// A packet is an IP packet without a link's header behind a virtio header, whose
// first bytes say what is left to do: checksum and segmentation.
type device interface {
	// Read waits for a packet and reads it: the virtio header into h, the rest
	// into b, which has room for every packet.
	Read(h *[virtioLen]byte, b []byte) (int, error)
	// Write sends a packet of several slices, the first of which is the virtio
	// header. It may be called from several goroutines.
	Write(packet [][]byte) error
	Close() error
}

// virtioLen is the length of struct virtio_net_hdr of include/uapi/linux/virtio_net.h:
// flags, kind of segmentation, and in the machine's byte order the length of the
// headers, the size of a segment, where to start the checksum and where to put it.
const virtioLen = 10

// readRoom is what the greatest packet needs: the length field of IPv4 has 16 bits.
const readRoom = 1 << 16

// openDevice makes the interface in the namespace and gives it addresses and
// routes.
func openDevice(in Space, mtu int) (device, error) {
	var d device
	err := in.Do(func() error {
		// One that a process left that was killed.
		if err := removeInterface(); err != nil {
			return err
		}
		var why error
		if d, why = openTun(); why != nil {
			var err error
			if d, err = openPair(in, mtu); err != nil {
				return fmt.Errorf("this kernel has no way to connect the account's networks with the host: %w; %w (--network host works)", why, err)
			}
		}
		return configure(mtu)
	})
	if err != nil && d != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, err
}

// removeInterface removes the interface if there is one, in the namespace that
// the thread is in.
func removeInterface() error {
	l, err := netlink.LinkByName(Interface)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil {
		return fmt.Errorf("interface %s: %w", Interface, err)
	}
	return nil
}

// configure gives the interface what the namespace needs to send everything to
// it that no bridge is for. It runs in the namespace.
func configure(mtu int) error {
	l, err := netlink.LinkByName(Interface)
	if err != nil {
		return fmt.Errorf("interface %s: %w", Interface, err)
	}
	// The kernel must not ask for or announce anything on it: nobody answers.
	for name, value := range map[string]string{
		"ipv6/conf/" + Interface + "/accept_dad":    "0",
		"ipv6/conf/" + Interface + "/accept_ra":     "0",
		"ipv6/conf/" + Interface + "/addr_gen_mode": "1",
		"ipv6/conf/all/forwarding":                  "1",
		"ipv4/ip_forward":                           "1",
	} {
		// Where a file is missing there is no IPv6; where forwarding cannot be
		// switched on it may be so already.
		_ = writeSysctl(name, value)
	}
	if err := netlink.LinkSetMTU(l, mtu); err != nil {
		return fmt.Errorf("MTU of %s: %w", Interface, err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("interface %s: %w", Interface, err)
	}
	for _, a := range []netip.Prefix{netip.PrefixFrom(ownIPv4(), 24), netip.PrefixFrom(ownIPv6(), 64)} {
		err := netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD})
		if err == nil {
			err = netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(netip.PrefixFrom(unspecified(a.Addr()), 0)), Scope: netlink.SCOPE_LINK})
		}
		if err != nil && a.Addr().Is4() {
			return fmt.Errorf("address %s on %s: %w", a, Interface, err)
		}
		// A machine without IPv6 is an ordinary one.
	}
	return nil
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// writeSysctl writes below /proc/sys/net, which shows every thread the files of
// the namespace that it is in.
func writeSysctl(name, value string) error {
	f, err := os.OpenFile("/proc/sys/net/"+name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// descriptor is a descriptor that goroutines wait at without holding a thread.
type descriptor struct {
	file *os.File
	raw  interface {
		Control(func(uintptr)) error
		Read(func(uintptr) bool) error
		Write(func(uintptr) bool) error
	}
}

// newDescriptor takes a non-blocking descriptor over.
func newDescriptor(fd int, name string) (*descriptor, error) {
	f := os.NewFile(uintptr(fd), name)
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &descriptor{file: f, raw: raw}, nil
}

func (d *descriptor) Close() error { return d.file.Close() }

// Write sends a packet with one call.
func (d *descriptor) Write(packet [][]byte) error {
	var result error
	err := d.raw.Control(func(fd uintptr) {
		for {
			_, result = unix.Writev(int(fd), packet)
			if result != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return result
}
