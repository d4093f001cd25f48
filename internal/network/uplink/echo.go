package uplink

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Echo requests, which ping sends, go out through a kind of socket that needs no
// right where the administrator allows it (net.ipv4.ping_group_range, icmp(7)):
// it sends echo requests only, and sets the identifier itself.

// echoes are the flows of requests there are.
type echoes struct {
	mu    sync.Mutex
	flows map[echoKey]*descriptor
}

// echoKey tells flows apart: ping has an identifier of its own in each run.
type echoKey struct {
	src, dst netip.Addr
	id       [2]byte
}

// maxEchoes is how many flows there may be.
const maxEchoes = 256

// echoIdle is how long a flow waits for answers.
const echoIdle = 30 * time.Second

// The types of the messages, RFC 792 and RFC 4443.
const (
	echoRequestv4 = 8
	echoRequestv6 = 128
	echoReplyv4   = 0
	echoReplyv6   = 129
)

// echoRequest sends a container's echo request on. Other messages mean nothing
// behind the uplink, and neighbours there are none.
func (s *netstack) echoRequest(p ip) {
	request := byte(echoRequestv4)
	if p.src.Is6() {
		request = echoRequestv6
	}
	if p.fragment || len(p.body) < 8 || p.body[0] != request {
		return
	}
	message := append([]byte(nil), p.body...)
	to, err := s.uplink.host.target(p.dst)
	if err != nil {
		s.answerUnreachable(prohibited, makeIP(p.src, p.dst, p.protocol, message))
		return
	}
	key := echoKey{src: p.src, dst: p.dst, id: [2]byte(message[4:6])}
	d, err := s.echo.flow(key, to, s)
	if err == nil {
		err = d.Write([][]byte{message})
	}
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		s.answerUnreachable(prohibited, makeIP(p.src, p.dst, p.protocol, message))
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		s.answerUnreachable(noRoute, makeIP(p.src, p.dst, p.protocol, message))
	}
}

// flow is the socket of a flow, made when there is none yet.
func (e *echoes) flow(key echoKey, to netip.Addr, s *netstack) (*descriptor, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if d := e.flows[key]; d != nil {
		return d, d.file.SetReadDeadline(time.Now().Add(echoIdle))
	}
	if len(e.flows) >= maxEchoes || s.ctx.Err() != nil {
		return nil, os.ErrClosed
	}
	d, err := dialEcho(to)
	if err != nil {
		return nil, err
	}
	if err := d.file.SetReadDeadline(time.Now().Add(echoIdle)); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if e.flows == nil {
		e.flows = map[echoKey]*descriptor{}
	}
	e.flows[key] = d
	s.reader.Go(func() {
		s.echoReplies(key, d)
		e.mu.Lock()
		delete(e.flows, key)
		e.mu.Unlock()
		d.Close()
	})
	return d, nil
}

// close ends all flows.
func (e *echoes) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.flows {
		_ = d.file.SetReadDeadline(time.Now())
	}
}

// echoReplies passes answers on until the flow is idle.
func (s *netstack) echoReplies(key echoKey, d *descriptor) {
	b := make([]byte, readRoom)
	reply := byte(echoReplyv4)
	if key.src.Is6() {
		reply = echoReplyv6
	}
	for {
		n, err := d.file.Read(b)
		switch {
		case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.ECONNREFUSED):
			continue // came back for a request, which stays unanswered
		case err != nil:
			return
		case n < 8 || b[0] != reply:
			continue
		}
		message := append([]byte(nil), b[:n]...)
		copy(message[4:6], key.id[:])
		s.emit(makeICMP(key.dst, key.src, message))
	}
}

// dialEcho opens a socket that sends echo requests to one address.
func dialEcho(to netip.Addr) (*descriptor, error) {
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	var sa unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(to.AsSlice()[:4])}
	if to.Is6() {
		family, protocol, sa = unix.AF_INET6, unix.IPPROTO_ICMPV6, &unix.SockaddrInet6{Addr: to.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, sa); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return newDescriptor(fd, "echo")
}

// pingLimit says why containers cannot ping, if so.
func pingLimit() string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err == nil {
		unix.Close(fd)
		return ""
	}
	allowed, _ := os.ReadFile("/proc/sys/net/ipv4/ping_group_range")
	return fmt.Sprintf("containers cannot ping other hosts: net.ipv4.ping_group_range is %q; an administrator can allow it with: sysctl -w 'net.ipv4.ping_group_range=0 2147483647'",
		strings.Join(strings.Fields(string(allowed)), " "))
}
