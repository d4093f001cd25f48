package uplink

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// maxDials is how many connections may be on their way at once: more must wait,
// for the kernels of containers repeat what gets no answer.
const maxDials = 1024

// dialTimeout is as long as Linux tries (tcp_syn_retries 6, tcp(7)).
const dialTimeout = 127 * time.Second

// connection makes a connection of a container's with some address on the host,
// and only then answers the container: it sees refusals as what they are.
func (s *netstack) connection(r *tcp.ForwarderRequest) {
	src, dst := endpoints(r.ID())
	to, err := s.uplink.host.target(dst.Addr())
	var host net.Conn
	if err == nil {
		// What asks whether the other side still lives are the two halves, each
		// for its own side: the container's own probes end here.
		d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepInterval, Count: keepCount}}
		ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
		host, err = d.DialContext(ctx, "tcp", netip.AddrPortFrom(to, dst.Port()).String())
		cancel()
	}
	if err != nil {
		s.refuse(r, src, dst, err)
		return
	}
	var q waiter.Queue
	e, why := r.CreateEndpoint(&q)
	r.Complete(why != nil)
	if why != nil { // the container has given up meanwhile
		_ = host.(*net.TCPConn).SetLinger(0)
		host.Close()
		return
	}
	keepAlive(e)
	newSplice(e, &q, host.(*net.TCPConn)).run(s.ctx)
}

// refuse tells a container why there is no connection: nobody listens, or there
// is no way there. To silence it is silence.
func (s *netstack) refuse(r *tcp.ForwarderRequest, src, dst netip.AddrPort, err error) {
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, unix.ETIMEDOUT) || errors.Is(err, context.Canceled):
		r.Complete(false)
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		s.unreachable(noRoute, src, dst, uint8(tcp.ProtocolNumber))
		r.Complete(false)
	case errors.Is(err, errForbidden), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		s.unreachable(prohibited, src, dst, uint8(tcp.ProtocolNumber))
		r.Complete(false)
	default:
		r.Complete(true)
	}
}

// endpoints are the two ends of what a container sends.
func endpoints(id stack.TransportEndpointID) (src, dst netip.AddrPort) {
	return netip.AddrPortFrom(address(id.RemoteAddress), id.RemotePort), netip.AddrPortFrom(address(id.LocalAddress), id.LocalPort)
}

func address(a tcpip.Address) netip.Addr {
	r, _ := netip.AddrFromSlice(a.AsSlice())
	return r
}

// A connection on which nothing is said is asked after two minutes, and ends
// when it does not answer for two more.
const (
	keepIdle     = 120 * time.Second
	keepInterval = 30 * time.Second
	keepCount    = 4
)

func keepAlive(e tcpip.Endpoint) {
	e.SocketOptions().SetKeepAlive(true)
	e.SocketOptions().SetDelayOption(false) // send at once: who wrote it has decided
	idle, interval := tcpip.KeepaliveIdleOption(keepIdle), tcpip.KeepaliveIntervalOption(keepInterval)
	_ = e.SetSockOpt(&idle)
	_ = e.SetSockOpt(&interval)
	_ = e.SetSockOptInt(tcpip.KeepaliveCountOption, keepCount)
}

// splice copies between the stack's end of a connection and a socket of the
// host, each direction by itself, and passes on how each of them ends: orderly
// by half, or by a reset.
type splice struct {
	stack tcpip.Endpoint
	queue *waiter.Queue
	host  *net.TCPConn
	raw   syscall.RawConn
}

func newSplice(e tcpip.Endpoint, q *waiter.Queue, host *net.TCPConn) *splice {
	raw, _ := host.SyscallConn() // has no error for a connection that is open
	return &splice{stack: e, queue: q, host: host, raw: raw}
}

// run returns when both directions have ended, or the uplink has.
func (c *splice) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, c.reset)
	defer stop()
	var both sync.WaitGroup
	both.Go(func() {
		if !c.up() {
			c.reset()
		}
	})
	both.Go(func() {
		if !c.down() {
			c.reset()
		}
	})
	both.Wait()
	c.stack.Close()
	c.host.Close()
}

// reset ends both sides at once, as the side did that this is told of.
func (c *splice) reset() {
	c.stack.Abort()
	_ = c.host.SetLinger(0)
	c.host.Close()
}

// up copies from the container to the host until the container has said that it
// sends no more. It writes out of the stack's own buffers.
func (c *splice) up() (orderly bool) {
	ready := waiterOf(c.queue, waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr)
	defer c.queue.EventUnregister(&ready.entry)
	w := &nowait{}
	for {
		var why tcpip.Error
		err := c.raw.Write(func(fd uintptr) bool {
			for w.fd = int(fd); ; {
				w.err = nil
				_, why = c.stack.Read(w, tcpip.ReadOptions{})
				if w.err == unix.EAGAIN {
					return false
				}
				if w.err != nil || why != nil {
					return true
				}
			}
		})
		if err != nil || w.err != nil {
			return false
		}
		switch why.(type) {
		case *tcpip.ErrWouldBlock:
			<-ready.c
		case *tcpip.ErrClosedForReceive:
			// So is one whose reset the other direction has heard of.
			return tcp.EndpointState(c.stack.State()) != tcp.StateError && c.host.CloseWrite() == nil
		default:
			return false
		}
	}
}

// nowait writes what a socket takes at once.
type nowait struct {
	fd  int
	err error
}

func (w *nowait) Write(b []byte) (int, error) {
	for done := 0; ; {
		n, err := unix.Write(w.fd, b[done:])
		if err == unix.EINTR {
			continue
		}
		if done += max(n, 0); err != nil || done == len(b) {
			w.err = err
			return done, err
		}
	}
}

// chunk is how much is read from the host at once.
const chunk = 128 << 10

// down copies from the host to the container until the host's side has ended.
func (c *splice) down() (orderly bool) {
	ready := waiterOf(c.queue, waiter.WritableEvents|waiter.EventHUp|waiter.EventErr)
	defer c.queue.EventUnregister(&ready.entry)
	var b []byte
	for {
		n, result := 0, error(nil)
		err := c.raw.Read(func(fd uintptr) bool {
			if b == nil {
				b = make([]byte, chunk)
			}
			for {
				n, result = unix.Read(int(fd), b)
				if result != unix.EINTR {
					return result != unix.EAGAIN
				}
			}
		})
		if err != nil || result != nil {
			return false
		}
		if n == 0 {
			return c.stack.Shutdown(tcpip.ShutdownWrite) == nil
		}
		if !c.send(b[:n], ready.c) {
			return false
		}
	}
}

// send gives the stack all of b.
func (c *splice) send(b []byte, ready <-chan struct{}) bool {
	r := &payload{b}
	for len(r.b) > 0 {
		_, why := c.stack.Write(r, tcpip.WriteOptions{})
		if _, full := why.(*tcpip.ErrWouldBlock); full {
			<-ready
		} else if why != nil {
			return false
		}
	}
	return true
}

// payload is a tcpip.Payloader.
type payload struct{ b []byte }

func (p *payload) Len() int { return len(p.b) }

func (p *payload) Read(b []byte) (int, error) {
	n := copy(b, p.b)
	p.b = p.b[n:]
	return n, nil
}

// waiting is a place in the queue of those that an endpoint tells of events.
type waiting struct {
	entry waiter.Entry
	c     chan struct{}
}

func waiterOf(q *waiter.Queue, events waiter.EventMask) *waiting {
	w := &waiting{}
	w.entry, w.c = waiter.NewChannelEntry(events)
	q.EventRegister(&w.entry)
	return w
}
