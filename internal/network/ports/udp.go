package ports

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// flowIdle is after how much silence a flow ends. It is what Docker's proxy
	// waits; the kernel's own translation waits 30 s, or 120 s once both sides
	// have spoken (nf_conntrack_udp_timeout).
	flowIdle = 90 * time.Second
	// flowsPerPort bounds what clients with invented addresses can make a port
	// hold. Beyond it the flow that was silent longest ends.
	flowsPerPort = 1024
	// datagram is the most that UDP can carry.
	datagram = 1 << 16
)

// way is who speaks with whom: a socket bound to all addresses has to answer from
// the one that the client wrote to.
type way struct {
	client netip.AddrPort
	local  netip.Addr
}

// flow is what goes on between one client and the container.
type flow struct {
	way    way
	conn   *net.UDPConn // towards the container
	answer []byte       // the control message that makes the answer come from way.local
	place  *list.Element
}

// abort ends the reading from the container, and with it the flow.
func (f *flow) abort() { _ = f.conn.Close() }

// flows is those of one port, the one that was silent longest first.
type flows struct {
	socket *socket

	mu    sync.Mutex
	byWay map[way]*flow
	order *list.List
	spare sync.Pool // of *packet: a flow that waits holds no memory for what may come
}

// packet is one datagram.
type packet struct {
	b [datagram]byte
	n int
}

// receiveUDP hands what clients send to their flows until the port is closed.
func (s *socket) receiveUDP() {
	all := &flows{socket: s, byWay: map[way]*flow{}, order: list.New()}
	all.spare.New = func() any { return new(packet) }
	data, control := make([]byte, datagram), make([]byte, 128)
	for {
		n, nc, _, client, err := s.udp.ReadMsgUDPAddrPort(data, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an answer that a client did not want
		}
		if f := all.find(way{client, destination(control[:nc])}); f != nil {
			_, _ = f.conn.Write(data[:n]) // lost like any datagram that nobody takes
		}
	}
}

// find returns the flow of a client, a new one if need be. Nil: there cannot be
// one.
func (all *flows) find(w way) *flow {
	all.mu.Lock()
	f := all.byWay[w]
	if f != nil {
		all.order.MoveToBack(f.place)
	}
	all.mu.Unlock()
	if f != nil {
		_ = f.conn.SetReadDeadline(time.Now().Add(flowIdle))
		return f
	}
	return all.open(w)
}

func (all *flows) open(w way) *flow {
	t := all.socket.aim()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := t.dial(ctx, "udp", w.client, t.to)
	conn, ok := c.(*net.UDPConn)
	if err != nil || !ok {
		return nil
	}
	f := &flow{way: w, conn: conn, answer: source(w.local)}
	_ = conn.SetReadDeadline(time.Now().Add(flowIdle))
	if !all.socket.begin(f) {
		_ = conn.Close()
		return nil
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.order.Len() >= flowsPerPort {
		all.remove(all.order.Front().Value.(*flow))
	}
	f.place = all.order.PushBack(f)
	all.byWay[w] = f
	go all.answers(f)
	return f
}

// remove takes a flow from the tables and closes it. The caller holds all.mu.
func (all *flows) remove(f *flow) {
	if all.byWay[f.way] == f {
		delete(all.byWay, f.way)
		all.order.Remove(f.place)
	}
	_ = f.conn.Close()
}

// answers brings back what the container sends, until there was silence.
func (all *flows) answers(f *flow) {
	defer all.socket.end(f)
	defer func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		all.remove(f)
	}()
	raw, err := f.conn.SyscallConn()
	if err != nil {
		return
	}
	for {
		p, err := all.receive(raw)
		if errors.Is(err, unix.ECONNREFUSED) {
			continue // nobody listens in the container yet: it may still
		}
		if err != nil {
			return
		}
		_ = f.conn.SetReadDeadline(time.Now().Add(flowIdle))
		_, _, _ = all.socket.udp.WriteMsgUDPAddrPort(p.b[:p.n], f.answer, f.way.client)
		all.spare.Put(p)
	}
}

// receive waits for a datagram from the container.
func (all *flows) receive(raw syscall.RawConn) (p *packet, err error) {
	werr := raw.Read(func(fd uintptr) bool {
		p = all.spare.Get().(*packet)
		for {
			p.n, _, err = unix.Recvfrom(int(fd), p.b[:], 0)
			if err != unix.EINTR {
				break
			}
		}
		if err != nil {
			all.spare.Put(p)
		}
		return err != unix.EAGAIN
	})
	if werr != nil {
		return nil, werr // closed, or silent for long
	}
	return p, err
}

// tellDestination asks for the address that a datagram was sent to: IP_PKTINFO in
// ip(7), IPV6_RECVPKTINFO in RFC 3542, section 6.2.
func tellDestination(u *net.UDPConn, six bool) error {
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) {
		if six {
			serr = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1)
		} else {
			serr = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_PKTINFO, 1)
		}
	})
	return errors.Join(err, os.NewSyscallError("setsockopt", serr))
}

// destination reads what tellDestination asked for.
func destination(control []byte) netip.Addr {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			// struct in_pktinfo: index, the address to answer from, the header's.
			return netip.AddrFrom4([4]byte(m.Data[4:8]))
		case m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(m.Data[:16]))
		}
	}
	return netip.Addr{}
}

// source is the control message that sends from an address; empty for none.
func source(local netip.Addr) []byte {
	switch {
	case local.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: local.As4()})
	case local.Is6():
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: local.As16()})
	}
	return nil
}
