package uplink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// pair is a pair of interfaces that are each other's other end (veth): the first
// is the uplink's, on the second a packet socket sees what arrives. The kernel
// puts what it receives into a ring of frames that is mapped here (PACKET_MMAP,
// Documentation/networking/packet_mmap.rst): the buffer of the socket itself would
// hold three big packets, and only root may make it greater.
type pair struct {
	*descriptor
	in    Space
	ring  []byte
	next  int // the frame that is filled next
	ether [14]byte
}

// Frames hold the greatest packet behind their own header. Two megabytes of
// memory in one piece are seldom to be had on a machine that runs for long, one
// is split up by the kernel if need be.
const (
	frameSize      = 68 << 10
	blockSize      = 1 << 20
	framesPerBlock = blockSize / frameSize
	blocks         = 8
	frames         = blocks * framesPerBlock
)

// peer is the name of the second interface.
const peer = Interface + "p"

// openPair makes the interface as one of a pair, in the namespace that the
// thread is in.
func openPair(in Space, mtu int) (device, error) {
	// Without ARP the kernel addresses packets to the interface that sends them.
	// So they are not the second one's, whose own IP stack drops them at once.
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Flags = Interface, mtu, net.FlagUp
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer, PeerMTU: uint32(mtu)}); err != nil {
		return nil, fmt.Errorf("pair of interfaces %s: %w", Interface, err)
	}
	first, err := netlink.LinkByName(Interface)
	if err != nil {
		return nil, err
	}
	undo := func(err error) error { return errors.Join(err, removeInterface()) }
	second, err := netlink.LinkByName(peer)
	if err != nil {
		return nil, undo(err)
	}
	_ = writeSysctl("ipv6/conf/"+peer+"/disable_ipv6", "1")
	if err := errors.Join(netlink.LinkSetARPOff(first), netlink.LinkSetARPOff(second), netlink.LinkSetUp(second)); err != nil {
		return nil, undo(fmt.Errorf("interface %s: %w", peer, err))
	}
	p, err := listenPackets(second.Attrs().Index)
	if err != nil {
		return nil, undo(fmt.Errorf("packet socket: %w", err))
	}
	p.in = in
	copy(p.ether[0:6], first.Attrs().HardwareAddr)
	copy(p.ether[6:12], second.Attrs().HardwareAddr)
	return p, nil
}

// listenPackets opens a packet socket with a ring on an interface.
func listenPackets(index int) (*pair, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	set := func(option, value int) error { return unix.SetsockoptInt(fd, unix.SOL_PACKET, option, value) }
	err = errors.Join(
		set(unix.PACKET_VNET_HDR, 1),
		set(unix.PACKET_VERSION, unix.TPACKET_V2),
		unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{
			Block_size: blockSize, Block_nr: blocks, Frame_size: frameSize, Frame_nr: frames,
		}))
	// Linux 4.20; before, Read sorts out what was sent from here.
	_ = set(unix.PACKET_IGNORE_OUTGOING, 1)
	var ring []byte
	if err == nil {
		ring, err = unix.Mmap(fd, 0, blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: index})
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	d, err := newDescriptor(fd, "packets")
	if err != nil {
		return nil, err
	}
	return &pair{descriptor: d, ring: ring}, nil
}

func bigEndian(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// Read looks at the ring only while it holds the descriptor, so that Close can
// take the ring away.
func (p *pair) Read(h *[virtioLen]byte, b []byte) (n int, err error) {
	err = p.raw.Read(func(uintptr) bool {
		for n = 0; n == 0; p.next = (p.next + 1) % frames {
			frame := p.frame()
			status := (*uint32)(unsafe.Pointer(&frame[0]))
			if atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
				return false
			}
			n = p.take(frame, h, b)
			atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
		}
		return true
	})
	return n, err
}

func (p *pair) frame() []byte {
	at := p.next/framesPerBlock*blockSize + p.next%framesPerBlock*frameSize
	return p.ring[at : at+frameSize]
}

// take copies a packet out of its frame: struct tpacket2_hdr, struct
// sockaddr_ll, and from where the first says the link's header and the packet,
// before which is the virtio header. It returns 0 for what is no packet to us.
func (p *pair) take(frame []byte, h *[virtioLen]byte, b []byte) int {
	header := (*unix.Tpacket2Hdr)(unsafe.Pointer(&frame[0]))
	address := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&frame[tpacket2Len]))
	const ether = len(p.ether)
	at, n := int(header.Mac), int(header.Snaplen)
	if address.Pkttype == unix.PACKET_OUTGOING || header.Snaplen < header.Len || n <= ether ||
		at < virtioLen || at+n > len(frame) || n-ether > len(b) {
		return 0
	}
	copy(h[:], frame[at-virtioLen:at])
	// Offsets in the virtio header count from the link's header, those of a tun
	// device from the packet; nobody reads them here.
	return copy(b, frame[at+ether:at+n])
}

// tpacket2Len is the length of struct tpacket2_hdr, aligned to TPACKET_ALIGNMENT.
const tpacket2Len = 32

func (p *pair) Write(packet [][]byte) error {
	var ether [14]byte
	copy(ether[:], p.ether[:])
	protocol := uint16(unix.ETH_P_IP)
	if packet[1][0]>>4 == 6 {
		protocol = unix.ETH_P_IPV6
	}
	binary.BigEndian.PutUint16(ether[12:], protocol)
	header := virtio(packet[0])
	header.shift(len(ether))
	whole := make([][]byte, 0, 8)
	whole = append(whole, packet[0], ether[:])
	return p.descriptor.Write(append(whole, packet[1:]...))
}

// Close ends the socket, and removes the interfaces, which would outlive it.
func (p *pair) Close() error {
	err := errors.Join(p.descriptor.Close(), unix.Munmap(p.ring))
	return errors.Join(err, p.in.Do(removeInterface))
}
