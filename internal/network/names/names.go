// Package names is the server of names that every container on a bridge asks,
// at 127.0.0.11 port 53 in its own network namespace.
//
// A container's sockets are made inside of its namespace (Listen), so the server
// knows who asks without looking at addresses, and nobody else can ask there. It
// answers names of containers itself, from a Directory, which is what the holder
// of networks knows at that moment. Everything else it passes on, unread but for
// the question, to the host's servers or those of --dns (Upstream), and what
// comes back it hands over as it is.
//
// Whoever asks may be hostile. So a question is checked before anything is done
// for it, and what one container can have under way at a time is bounded, in
// questions passed on and in connections.
package names

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Where a container asks, Docker's address for it.
const (
	Address = "127.0.0.11"
	Port    = 53
)

const (
	maxForwards = 256              // a container's questions that are passed on at a time
	maxConns    = 16               // a container's connections
	connIdle    = 10 * time.Second // how long a connection may say nothing
	maxUDP      = 4096             // what a datagram of ours has at most
)

// View is what one container sees of the others, as it is when it is asked.
type View interface {
	// Addresses returns those of a name, in lower case and without a dot at the
	// end. It is false where no container is called so.
	Addresses(name string) ([]netip.Addr, bool)
	// Name returns what an address is called. It is true and empty for an
	// address of the container's networks that nobody has.
	Name(netip.Addr) (string, bool)
}

// Serve answers on the sockets that Listen made until it is stopped, which
// closes them. Names that no container has go to up; nil has them fail, as
// becomes a container with no way out.
func Serve(udp net.PacketConn, tcp net.Listener, v View, up *Upstream) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{view: v, up: up, forwards: make(chan struct{}, maxForwards)}
	s.group.Go(func() { s.datagrams(ctx, udp) })
	s.group.Go(func() { s.connections(ctx, tcp) })
	return func() {
		cancel()
		udp.Close()
		tcp.Close()
		s.group.Wait()
	}
}

// server is the server of one container.
type server struct {
	view     View
	up       *Upstream
	forwards chan struct{} // has an element for each question that is passed on
	group    sync.WaitGroup
}

func (s *server) datagrams(ctx context.Context, udp net.PacketConn) {
	buf := make([]byte, maxUDP)
	for {
		n, from, err := udp.ReadFrom(buf)
		if ctx.Err() != nil {
			return
		}
		if err != nil { // ICMP says that an answer of ours did not arrive
			if pause(ctx, time.Millisecond) != nil {
				return
			}
			continue
		}
		q, answer := s.local(buf[:n], false)
		if answer != nil {
			udp.WriteTo(answer, from)
		}
		if q == nil {
			continue
		}
		select {
		case s.forwards <- struct{}{}:
		default:
			udp.WriteTo(q.fail(rcodeServerFailure), from)
			continue
		}
		s.group.Go(func() {
			defer func() { <-s.forwards }()
			if answer := s.up.ask(ctx, q, "udp"); answer != nil {
				udp.WriteTo(answer, from)
			}
		})
	}
}

func (s *server) connections(ctx context.Context, tcp net.Listener) {
	room := make(chan struct{}, maxConns)
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		c, err := tcp.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return
		}
		if err != nil { // no descriptors are left, perhaps
			<-room
			if pause(ctx, 10*time.Millisecond) != nil {
				return
			}
			continue
		}
		s.group.Go(func() {
			defer func() { <-room }()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			defer c.Close()
			s.connection(ctx, c)
		})
	}
}

// connection answers one question after the other.
func (s *server) connection(ctx context.Context, c net.Conn) {
	for {
		c.SetDeadline(time.Now().Add(connIdle))
		b, err := readMessage(c)
		if err != nil {
			return
		}
		q, answer := s.local(b, true)
		if q != nil {
			answer = s.passOn(ctx, q)
		}
		if answer == nil {
			return // nothing that deserves an answer
		}
		c.SetDeadline(time.Now().Add(connIdle))
		if writeMessage(c, answer) != nil {
			return
		}
	}
}

func (s *server) passOn(ctx context.Context, q *question) []byte {
	select {
	case s.forwards <- struct{}{}:
	default:
		return q.fail(rcodeServerFailure)
	}
	defer func() { <-s.forwards }()
	return s.up.ask(ctx, q, "tcp")
}

// local answers what can be answered here, or returns the question to pass on.
// Both are nil where nothing is to be said.
func (s *server) local(msg []byte, stream bool) (*question, []byte) {
	q, refusal := parse(msg, stream)
	if q == nil {
		return nil, refusal
	}
	if answer := q.answer(s.view); answer != nil {
		return nil, answer
	}
	if s.up == nil {
		return nil, q.fail(rcodeServerFailure)
	}
	return q, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
