package uplink

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// netstack is gVisor's network stack on a device. It takes packets for every
// address as its own, and answers with that address.
type netstack struct {
	uplink  *Uplink
	device  device
	stack   *stack.Stack
	port    *port
	echo    echoes
	flows   atomic.Int64 // of datagrams
	buffers sync.Pool    // of *slot
	from    atomic.Pointer[[]netip.Prefix]
	reader  sync.WaitGroup
	ctx     context.Context // ends with the uplink
	cancel  context.CancelFunc
}

const nic tcpip.NICID = 1

// The window of a connection. It holds some tens of packets of 64 KB: with fewer
// the two sides wait for each other.
const (
	windowDefault = 4 << 20
	windowMax     = 8 << 20
)

// newNetstack starts a stack, which owns the device.
func newNetstack(u *Uplink, d device, mtu int) (*netstack, error) {
	s := &netstack{
		uplink: u,
		device: d,
		port:   &port{device: d, mtu: uint32(mtu)},
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
		}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.buffers.New = func() any { return &slot{} }
	s.allow(u.allowed)
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(false)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: windowDefault, Max: windowMax}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: windowDefault, Max: windowMax}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &receive, &send} {
		if err := s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return nil, fmt.Errorf("network stack: %s", err)
		}
	}
	if err := s.stack.CreateNIC(nic, s.port); err != nil {
		return nil, fmt.Errorf("network stack: %s", err)
	}
	s.stack.SetPromiscuousMode(nic, true)
	s.stack.SetSpoofing(nic, true)
	s.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic}})
	s.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(s.stack, 0, maxDials, s.connection).HandlePacket)
	s.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(s.stack, s.datagram).HandlePacket)
	s.reader.Go(s.read)
	return s, nil
}

// allow says whose packets are taken.
func (s *netstack) allow(subnets []netip.Prefix) {
	c := slices.Clone(subnets)
	s.from.Store(&c)
}

// Close ends all connections.
func (s *netstack) Close() {
	s.cancel()
	s.stack.Close()
	_ = s.device.Close() // the reader ends with it
	s.echo.close()
	s.reader.Wait()
	s.stack.Wait()
}

// smallPacket is up to where a packet is copied: what is kept of greater ones,
// for example until a slow receiver has read them, is the whole of 64 KB.
const smallPacket = 8 << 10

// read hands the packets of the device to the stack until it is closed.
func (s *netstack) read() {
	var h [virtioLen]byte
	view := buffer.NewViewSize(readRoom)
	for {
		n, err := s.device.Read(&h, view.AsSlice())
		if err != nil {
			view.Release()
			return
		}
		if !s.wanted(view.AsSlice()[:n]) {
			continue
		}
		packet := view
		if n <= smallPacket {
			packet = buffer.NewViewWithData(view.AsSlice()[:n])
		} else {
			view = buffer.NewViewSize(readRoom)
		}
		b := buffer.MakeWithView(packet)
		b.Truncate(int64(n))
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: b})
		protocol := ipv4.ProtocolNumber
		if packet.AsSlice()[0]>>4 == 6 {
			protocol = ipv6.ProtocolNumber
		}
		s.port.deliver(protocol, p)
		p.DecRef()
	}
}

// wanted says whether a packet is for the stack. Echo requests are not: it would
// answer them itself, whether the host that they are for lives or not.
func (s *netstack) wanted(packet []byte) bool {
	ip, ok := parseIP(packet)
	if !ok || !s.mayComeFrom(ip.src) {
		return false
	}
	if ip.protocol == uint8(header.ICMPv4ProtocolNumber) || ip.protocol == uint8(header.ICMPv6ProtocolNumber) {
		s.echoRequest(ip)
		return false
	}
	return true
}

func (s *netstack) mayComeFrom(a netip.Addr) bool {
	for _, p := range *s.from.Load() {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// port is what the stack sends packets through.
type port struct {
	device device
	mtu    uint32
	to     atomic.Pointer[stack.NetworkDispatcher]
}

func (p *port) deliver(protocol tcpip.NetworkProtocolNumber, packet *stack.PacketBuffer) {
	if to := p.to.Load(); to != nil {
		(*to).DeliverNetworkPacket(protocol, packet)
	}
}

// Attach, with the methods below, makes it a stack.LinkEndpoint.
func (p *port) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		p.to.Store(nil)
		return
	}
	p.to.Store(&d)
}

func (p *port) IsAttached() bool                      { return p.to.Load() != nil }
func (p *port) MTU() uint32                           { return p.mtu }
func (*port) SetMTU(uint32)                           {}
func (*port) MaxHeaderLength() uint16                 { return 0 }
func (*port) LinkAddress() tcpip.LinkAddress          { return "" }
func (*port) SetLinkAddress(tcpip.LinkAddress)        {}
func (*port) Wait()                                   {}
func (*port) Close()                                  {}
func (*port) SetOnCloseAction(func())                 {}
func (*port) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (*port) AddHeader(*stack.PacketBuffer)           {}
func (*port) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (*port) GSOMaxSize() uint32                      { return readRoom }
func (*port) SupportedGSO() stack.SupportedGSO        { return stack.HostGSOSupported }
func (*port) Capabilities() stack.LinkEndpointCapabilities {
	// Packets come from the kernel of this machine: nothing falsified them.
	return stack.CapabilityRXChecksumOffload
}

// WritePackets sends packets of the stack.
func (p *port) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	n := 0
	for _, packet := range list.AsSlice() {
		var h [virtioLen]byte
		virtio(h[:]).segments(packet)
		slices := append(make([][]byte, 0, 8), h[:])
		// What finds no room is lost, as on any wire, and repeated.
		_ = p.device.Write(append(slices, packet.AsSlices()...))
		n++
	}
	return n, nil
}

// virtio is a virtio header, in the machine's byte order as a device has it that
// nobody told otherwise.
type virtio []byte

const (
	needsChecksum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	segmentTCPv4  = 1 // VIRTIO_NET_HDR_GSO_TCPV4
	segmentTCPv6  = 4 // VIRTIO_NET_HDR_GSO_TCPV6
)

// segments writes what the stack has left to the kernel.
func (v virtio) segments(p *stack.PacketBuffer) {
	o := p.GSOOptions
	if o.Type == stack.GSONone {
		return
	}
	if o.NeedsCsum {
		v[0] = needsChecksum
		binary.NativeEndian.PutUint16(v[6:], o.L3HdrLen)
		binary.NativeEndian.PutUint16(v[8:], o.CsumOffset)
	}
	binary.NativeEndian.PutUint16(v[2:], uint16(p.HeaderSize()))
	if p.Data().Size() <= int(o.MSS) {
		return
	}
	v[1] = segmentTCPv4
	if o.Type == stack.GSOTCPv6 {
		v[1] = segmentTCPv6
	}
	binary.NativeEndian.PutUint16(v[4:], o.MSS)
}

// shift moves what the header points at by n bytes, for a link's header before
// the packet.
func (v virtio) shift(n int) {
	for _, at := range []int{2, 6} {
		if old := binary.NativeEndian.Uint16(v[at:]); old != 0 {
			binary.NativeEndian.PutUint16(v[at:], old+uint16(n))
		}
	}
}
