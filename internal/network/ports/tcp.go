package ports

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// acceptTCP takes connections until the port is closed.
func (s *socket) acceptTCP() {
	for {
		c, err := s.tcp.AcceptTCP()
		switch {
		case err == nil:
			go s.carry(c)
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, unix.ECONNABORTED): // the client thought better of it
		default:
			// No descriptors or no memory: others have to end first.
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// carried is one connection of a client's, and its other half.
type carried struct {
	client *net.TCPConn
	cancel context.CancelFunc

	mu     sync.Mutex
	server *net.TCPConn
	gone   bool
}

// abort ends both halves with a reset: nobody should take this for the end of the
// data.
func (c *carried) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	c.cancel()
	reset(c.client)
	if c.server != nil {
		reset(c.server)
	}
}

// reset makes close(2) send RST instead of FIN, and closes: SO_LINGER in
// socket(7).
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // fails only where it is closed
	_ = c.Close()
}

// carry connects a client to the container and copies until both are done.
func (s *socket) carry(client *net.TCPConn) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := &carried{client: client, cancel: cancel}
	if !s.begin(c) {
		reset(client)
		return
	}
	defer s.end(c)
	t := s.aim()
	from, _ := netip.ParseAddrPort(client.RemoteAddr().String())
	conn, err := t.dial(ctx, "tcp", from, t.to)
	server, ok := conn.(*net.TCPConn)
	if err != nil || !ok {
		reset(client) // as the container would have answered
		return
	}
	c.mu.Lock()
	c.server = server
	gone := c.gone
	c.mu.Unlock()
	if gone {
		reset(server)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { s.host.pipes.half(server, client) })
	both.Go(func() { s.host.pipes.half(client, server) })
	both.Wait()
	_ = client.Close()
	_ = server.Close()
}

// half copies one way. The end of what comes is passed on alone, because the
// other way may go on for long; a reset is passed on as one. Where the receiver
// has gone, the other half finds out: it may still have something to read.
func (s pipes) half(to, from *net.TCPConn) {
	reading, err := s.move(to, from)
	switch {
	case err == nil:
		_ = to.CloseWrite()
	case reading:
		reset(to)
	}
}
