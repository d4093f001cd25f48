package uplink

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A flow of datagrams ends when nothing was sent on it for so long: at first
// after the time that the kernel's own address translation gives an unanswered
// flow, later after that of an answered one (nf_conntrack_udp_timeout and
// nf_conntrack_udp_timeout_stream, Documentation/networking/nf_conntrack-sysctl.rst).
const (
	flowUnanswered = 30 * time.Second
	flowAnswered   = 120 * time.Second
)

// maxFlows is how many flows there may be: each has a descriptor of the process.
const maxFlows = 4096

// greatestDatagram is what fits into an IPv4 packet.
const greatestDatagram = 65507

// datagramRoom is how many bytes of a flow wait for being sent on.
const datagramRoom = 4 << 20

// datagram begins a flow of datagrams of a container's with some address.
func (s *netstack) datagram(r *udp.ForwarderRequest) {
	src, dst := endpoints(r.ID())
	to, err := s.uplink.host.target(dst.Addr())
	if err != nil {
		s.unreachable(prohibited, src, dst, uint8(udp.ProtocolNumber))
		return
	}
	if s.flows.Add(1) > maxFlows {
		s.flows.Add(-1)
		return
	}
	var q waiter.Queue
	// Here and not later: the next datagram must find the flow.
	e, why := r.CreateEndpoint(&q)
	if why != nil {
		s.flows.Add(-1)
		return
	}
	e.SocketOptions().SetReceiveBufferSize(datagramRoom, false)
	go func() {
		defer s.flows.Add(-1)
		defer e.Close()
		outside, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, dst.Port())))
		if err != nil {
			s.unreachable(noRoute, src, dst, uint8(udp.ProtocolNumber))
			return
		}
		f := &flow{inside: e, queue: &q, outside: outside, buffers: &s.buffers}
		f.refused = func() { s.unreachable(refused, src, dst, uint8(udp.ProtocolNumber)) }
		f.run(s.ctx)
	}()
}

// flow copies datagrams between a container and a socket that is connected, so
// that refusals are heard of and nobody else can send into the flow.
type flow struct {
	inside  tcpip.Endpoint
	queue   *waiter.Queue
	outside *net.UDPConn
	refused func()
	buffers *sync.Pool // of *slot

	last     atomic.Int64 // when something was sent last
	answered atomic.Bool
}

// run copies until the flow is idle or ctx ends.
func (f *flow) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	f.touch()
	var idle *time.Timer
	idle = time.AfterFunc(flowUnanswered, func() {
		if left := f.left(); left > 0 {
			idle.Reset(left)
			return
		}
		cancel()
	})
	// A closed socket ends the answers.
	context.AfterFunc(ctx, func() { f.outside.Close() })
	var answers sync.WaitGroup
	answers.Go(f.answers)
	f.requests(ctx)
	idle.Stop()
	cancel()
	answers.Wait()
}

func (f *flow) touch() { f.last.Store(time.Now().UnixNano()) }

// left is how long the flow may still be idle.
func (f *flow) left() time.Duration {
	limit := flowUnanswered
	if f.answered.Load() {
		limit = flowAnswered
	}
	return time.Until(time.Unix(0, f.last.Load()).Add(limit))
}

// requests copies what the container sends.
func (f *flow) requests(ctx context.Context) {
	ready := waiterOf(f.queue, waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr)
	defer f.queue.EventUnregister(&ready.entry)
	for {
		b := f.buffers.Get().(*slot)
		b.n = 0
		_, why := f.inside.Read(b, tcpip.ReadOptions{})
		if why == nil {
			f.touch()
			// What cannot be sent is lost, as datagrams are.
			_, _ = f.outside.Write(b.b[:b.n])
		}
		f.buffers.Put(b)
		if why == nil {
			continue
		}
		if _, empty := why.(*tcpip.ErrWouldBlock); !empty {
			return
		}
		select {
		case <-ready.c:
		case <-ctx.Done():
			return
		}
	}
}

// answers copies what comes back, and refusals.
func (f *flow) answers() {
	raw, err := f.outside.SyscallConn()
	for err == nil {
		var n int
		var result error
		b := (*slot)(nil)
		err = raw.Read(func(fd uintptr) bool {
			if b == nil {
				b = f.buffers.Get().(*slot)
			}
			for {
				n, result = unix.Read(int(fd), b.b[:])
				switch result {
				case unix.EINTR:
				case unix.EAGAIN:
					f.buffers.Put(b)
					b = nil
					return false
				default:
					return true
				}
			}
		})
		switch {
		case err != nil:
		case result == unix.ECONNREFUSED:
			f.refused()
		case result == nil:
			f.answered.Store(true)
			f.touch()
			_, _ = f.inside.Write(&payload{b.b[:n]}, tcpip.WriteOptions{})
		}
		if b != nil {
			f.buffers.Put(b)
		}
	}
}

// slot holds one datagram.
type slot struct {
	b [greatestDatagram]byte
	n int
}

func (s *slot) Write(b []byte) (int, error) {
	n := copy(s.b[s.n:], b)
	s.n += n
	return n, nil
}
