package uplink

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// ip is a packet taken apart.
type ip struct {
	src, dst netip.Addr
	protocol uint8
	fragment bool // one of several parts
	body     []byte
}

const (
	icmpv4 = 1
	icmpv6 = 58
)

// parseIP reads the header of a packet that the kernel has seen: whoever sent it,
// its lengths are right, but nothing here relies on that. A header of IPv6 that
// is not the last leaves protocol what it is.
func parseIP(b []byte) (ip, bool) {
	if len(b) >= 20 && b[0]>>4 == 4 {
		from, to := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if from < 20 || to < from || to > len(b) {
			return ip{}, false
		}
		return ip{
			src: netip.AddrFrom4([4]byte(b[12:16])), dst: netip.AddrFrom4([4]byte(b[16:20])),
			protocol: b[9], fragment: binary.BigEndian.Uint16(b[6:])&0x3fff != 0, body: b[from:to],
		}, true
	}
	if len(b) >= 40 && b[0]>>4 == 6 {
		to := 40 + int(binary.BigEndian.Uint16(b[4:]))
		if to > len(b) {
			return ip{}, false
		}
		return ip{
			src: netip.AddrFrom16([16]byte(b[8:24])), dst: netip.AddrFrom16([16]byte(b[24:40])),
			protocol: b[6], body: b[40:to],
		}, true
	}
	return ip{}, false
}

// makeIP makes a packet around body. It has neither
// options nor fragments.
func makeIP(src, dst netip.Addr, protocol uint8, body []byte) []byte {
	if src.Is4() {
		b := make([]byte, 20, 20+len(body))
		b[0] = 4<<4 | 5
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(body)))
		b[6] = 0x40 // not to be fragmented, so that no identification is needed (RFC 6864)
		b[8], b[9] = 64, protocol
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(b[10:], ^checksum.Checksum(b, 0))
		return append(b, body...)
	}
	b := make([]byte, 40, 40+len(body))
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(len(body)))
	b[6], b[7] = protocol, 64
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, body...)
}

// makeICMP makes a message with its checksum, in IPv6 of the addresses too (RFC
// 4443, section 2.3), and a packet around it.
func makeICMP(src, dst netip.Addr, message []byte) []byte {
	binary.BigEndian.PutUint16(message[2:], 0)
	protocol, sum := uint8(icmpv4), uint16(0)
	if src.Is6() {
		protocol = icmpv6
		pseudo := append(append(src.AsSlice(), dst.AsSlice()...), make([]byte, 8)...)
		binary.BigEndian.PutUint32(pseudo[32:], uint32(len(message)))
		pseudo[39] = icmpv6
		sum = checksum.Checksum(pseudo, 0)
	}
	binary.BigEndian.PutUint16(message[2:], ^checksum.Checksum(message, sum))
	return makeIP(src, dst, protocol, message)
}

// reason is why a destination cannot be reached.
type reason int

const (
	noRoute reason = iota
	prohibited
	refused
)

// codes are type and code of the message (RFC 792, RFC 1812 section 5.2.7.1; RFC
// 4443 section 3.1).
func (r reason) codes(four bool) (kind, code byte) {
	if four {
		return 3, []byte{noRoute: 1, prohibited: 13, refused: 3}[r]
	}
	return 1, []byte{noRoute: 0, prohibited: 1, refused: 4}[r]
}

// unreachable tells a container that what it sent from src to dst came to nothing.
func (s *netstack) unreachable(why reason, src, dst netip.AddrPort, protocol uint8) {
	// The message quotes the packet: its IP header and the first eight bytes, of
	// which the receiver needs the ports. The sequence number of a TCP segment is
	// not known here; a kernel takes that of a connection in the making as it is.
	begin := make([]byte, 8)
	binary.BigEndian.PutUint16(begin, src.Port())
	binary.BigEndian.PutUint16(begin[2:], dst.Port())
	s.answerUnreachable(why, makeIP(src.Addr(), dst.Addr(), protocol, begin))
}

// answerUnreachable does so with the packet itself.
func (s *netstack) answerUnreachable(why reason, packet []byte) {
	p, ok := parseIP(packet)
	if !ok {
		return
	}
	message := make([]byte, 8, 576)
	message[0], message[1] = why.codes(p.src.Is4())
	s.emit(makeICMP(p.dst, p.src, append(message, packet[:min(len(packet), 500)]...)))
}

// emit sends a packet to the containers, past the stack.
func (s *netstack) emit(packet []byte) {
	var h [virtioLen]byte
	_ = s.device.Write([][]byte{h[:], packet})
}
