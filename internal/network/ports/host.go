package ports

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/internal/listeners"
	"berth/internal/network"
)

// Host is the host's side of all published ports of a holder. Its sockets are in
// the network namespace of the process.
type Host struct {
	// Account names the account or the container that has a listener which is
	// not ours, for people. Nil: nobody is named.
	Account func(listeners.Listener) string
	// Kernel says that the kernel itself carries what this package cannot, which
	// is SCTP.
	Kernel bool

	room  chan struct{} // one for every connection and flow there may be
	pipes pipes

	mu    sync.Mutex
	taken map[place]claim
}

// place is where a port is.
type place struct {
	proto string
	at    netip.AddrPort
}

// claim is who has a place of ours.
type claim struct {
	owner  string
	inside uint16
}

// descriptors is what one connection needs: two sockets.
const descriptors = 2

// NewHost returns a host on which nothing is published. It leaves a quarter of the
// process's descriptors to others, so that clients cannot keep a holder from its
// work.
func NewHost(account func(listeners.Listener) string, kernel bool) *Host {
	files := unix.Rlimit{Cur: 1024}
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &files) // 1024 is what there is at least
	room := min(files.Cur, 1<<17) / descriptors * 3 / 4
	return &Host{Account: account, Kernel: kernel, room: make(chan struct{}, room), pipes: newPipes(), taken: map[place]claim{}}
}

// enter takes the room of one connection, if there is some.
func (h *Host) enter() bool {
	select {
	case h.room <- struct{}{}:
		return true
	default:
		return false
	}
}

func (h *Host) leave() { <-h.room }

// Reserve listens on all ports that a container publishes, or on none. Owner is
// the container's name. Ports that name one host port come first, so that no
// other of the same container is given it.
func (h *Host) Reserve(owner string, asked []network.Port) (*Published, error) {
	p := &Published{host: h}
	for _, i := range order(asked) {
		if err := h.reserve(p, owner, asked[i]); err != nil {
			p.Close()
			return nil, err
		}
	}
	slices.SortStableFunc(p.settled, func(a, b network.Port) int {
		if a.Inside != b.Inside {
			return int(a.Inside) - int(b.Inside)
		}
		return 0
	})
	return p, nil
}

// order is the ports that say a number, those that have a choice, those that
// take any: the last could otherwise be given what another one names.
func order(asked []network.Port) []int {
	kind := func(p network.Port) int {
		switch {
		case p.HostPort == 0:
			return 2
		case p.HostEnd > p.HostPort:
			return 1
		}
		return 0
	}
	out := make([]int, 0, len(asked))
	for i, p := range asked {
		if !slices.Contains(asked[:i], p) { // said twice is said once
			out = append(out, i)
		}
	}
	slices.SortStableFunc(out, func(a, b int) int { return kind(asked[a]) - kind(asked[b]) })
	return out
}

// reserve listens for one port, on one address or on all of both families.
func (h *Host) reserve(p *Published, owner string, asked network.Port) error {
	if asked.Proto == "sctp" && !h.Kernel {
		return fmt.Errorf("cannot publish %d/sctp: SCTP needs the kernel's address translation, which only root has: use --network host", asked.Inside)
	}
	addrs := []netip.Addr{asked.HostIP}
	if !asked.HostIP.IsValid() {
		addrs = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	if asked.HostPort == 0 {
		return h.any(p, owner, asked, addrs)
	}
	var first error
	for port := int(asked.HostPort); port <= int(max(asked.HostPort, asked.HostEnd)); port++ {
		err := h.listen(p, owner, asked, addrs, uint16(port))
		var t *network.TakenError
		if err == nil || !errors.As(err, &t) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	if asked.HostEnd > asked.HostPort {
		return &RangeError{Proto: asked.Proto, First: asked.HostPort, Last: asked.HostEnd}
	}
	return first
}

// tries is how often a random port of the first family is tried on the second.
const tries = 50

// any lets the kernel choose a free port, of net.ipv4.ip_local_port_range, and
// takes the same one on the other addresses.
func (h *Host) any(p *Published, owner string, asked network.Port, addrs []netip.Addr) (err error) {
	for range tries {
		if err = h.listen(p, owner, asked, addrs, 0); err == nil {
			return nil
		}
		var t *network.TakenError
		if !errors.As(err, &t) {
			return err
		}
	}
	return fmt.Errorf("cannot publish %d/%s on a random port: no port is free on all addresses: %w", asked.Inside, asked.Proto, err)
}

// listen takes one port on all the addresses, or on none. The first address
// chooses when port is 0. A host without IPv6 is no error where all addresses
// were meant.
func (h *Host) listen(p *Published, owner string, asked network.Port, addrs []netip.Addr, port uint16) error {
	var made []*socket
	for i, a := range addrs {
		s, err := h.open(owner, asked, netip.AddrPortFrom(a, port))
		if err != nil && i > 0 && noFamily(err) {
			continue
		}
		if err != nil {
			for _, s := range made {
				s.close()
			}
			return err
		}
		made = append(made, s)
		port = s.at.Port()
	}
	for _, s := range made {
		p.sockets = append(p.sockets, s)
		p.settled = append(p.settled, network.Port{Proto: asked.Proto, Inside: asked.Inside, HostIP: s.at.Addr(), HostPort: port, Automatic: asked.Automatic})
	}
	return nil
}

// open makes one listening socket and writes down whose it is.
func (h *Host) open(owner string, asked network.Port, at netip.AddrPort) (*socket, error) {
	s := &socket{host: h, proto: asked.Proto, at: at, inside: asked.Inside, live: map[aborter]struct{}{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	err := s.listen()
	if err == nil && asked.Proto == "sctp" {
		err = h.clash(place{"sctp", at})
	}
	if err != nil {
		return nil, h.explain(err, owner, asked, at)
	}
	h.taken[place{s.proto, s.at}] = claim{owner, asked.Inside}
	return s, nil
}

// clash finds a place that one of ours has where no socket says so.
func (h *Host) clash(want place) error {
	for have := range h.taken {
		if overlaps(have, want) {
			return unix.EADDRINUSE
		}
	}
	return nil
}

func overlaps(a, b place) bool {
	x, y := a.at.Addr(), b.at.Addr()
	return a.proto == b.proto && a.at.Port() == b.at.Port() && x.Is4() == y.Is4() && (x == y || x.IsUnspecified() || y.IsUnspecified())
}

// noFamily reports whether the host has no such addresses at all.
func noFamily(err error) bool {
	var e syscall.Errno
	return errors.As(err, &e) && (e == unix.EAFNOSUPPORT || e == unix.EADDRNOTAVAIL)
}

// Published is the ports of one container.
type Published struct {
	host    *Host
	sockets []*socket
	settled []network.Port
}

// Settled is the ports with the host's addresses and numbers.
func (p *Published) Settled() []network.Port { return slices.Clone(p.settled) }

// Serve begins to carry what comes to the container's addresses; clients that
// came before have waited. Called again it carries what comes from now on to
// other addresses, after a restart. An IPv6 client of a container without IPv6
// comes from IPv4 there, and the other way about.
func (p *Published) Serve(dial Dial, v4, v6 netip.Addr) {
	for _, s := range p.sockets {
		to := v4
		if v6.IsValid() && (s.at.Addr().Is6() || !v4.IsValid()) {
			to = v6
		}
		s.serve(&target{dial: dial, to: netip.AddrPortFrom(to, s.inside)})
	}
}

// Close gives the ports back and ends what is carried.
func (p *Published) Close() {
	for _, s := range p.sockets {
		s.close()
	}
}

// socket is one address and port that is listened on.
type socket struct {
	host   *Host
	proto  string
	at     netip.AddrPort
	inside uint16
	tcp    *net.TCPListener
	udp    *net.UDPConn

	mu     sync.Mutex
	target *target
	live   map[aborter]struct{} // what is carried now
	closed bool
}

// target is where a socket carries to.
type target struct {
	dial Dial
	to   netip.AddrPort
}

// aborter is something that ends when its port is closed.
type aborter interface{ abort() }

// listen binds; a host port of 0 is settled in s.at.
func (s *socket) listen() error {
	family := "4"
	if s.at.Addr().Is6() {
		family = "6" // and only that: IPV6_V6ONLY
	}
	switch s.proto {
	case "tcp":
		l, err := net.ListenTCP("tcp"+family, net.TCPAddrFromAddrPort(s.at))
		if err != nil {
			return err
		}
		s.tcp = l
		s.at = withPort(s.at, l.Addr().(*net.TCPAddr).Port)
	case "udp":
		u, err := net.ListenUDP("udp"+family, net.UDPAddrFromAddrPort(s.at))
		if err != nil {
			return err
		}
		s.udp = u
		s.at = withPort(s.at, u.LocalAddr().(*net.UDPAddr).Port)
		if err := tellDestination(u, family == "6"); err != nil {
			_ = u.Close()
			return err
		}
	case "sctp":
		if s.at.Port() == 0 {
			return errors.New("cannot publish an SCTP port on a random one: name the host's port")
		}
	default:
		return fmt.Errorf("invalid proto: %s", s.proto)
	}
	return nil
}

func withPort(at netip.AddrPort, port int) netip.AddrPort {
	return netip.AddrPortFrom(at.Addr(), uint16(port))
}

// serve sets where to, and begins with the first call.
func (s *socket) serve(t *target) {
	s.mu.Lock()
	begins := s.target == nil && !s.closed
	if !begins && s.target != nil && s.target.to != t.to {
		s.abortAll() // it goes to an address that may be somebody else's now
	}
	s.target = t
	s.mu.Unlock()
	switch {
	case !begins:
	case s.tcp != nil:
		go s.acceptTCP()
	case s.udp != nil:
		go s.receiveUDP()
	}
}

// aim is where to carry now.
func (s *socket) aim() *target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.target
}

// begin notes something that is carried, unless the port was closed or there is no
// room for more.
func (s *socket) begin(a aborter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.host.enter() {
		return false
	}
	s.live[a] = struct{}{}
	return true
}

func (s *socket) end(a aborter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, a)
	s.host.leave()
}

// abortAll ends what is carried. The caller holds s.mu.
func (s *socket) abortAll() {
	for a := range s.live {
		a.abort()
	}
}

// close may be called twice.
func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.tcp != nil {
		_ = s.tcp.Close() // nothing was written that could be lost
	}
	if s.udp != nil {
		_ = s.udp.Close()
	}
	s.abortAll()
	s.host.mu.Lock()
	delete(s.host.taken, place{s.proto, s.at})
	s.host.mu.Unlock()
}
