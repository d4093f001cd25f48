package names

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"berth/internal/network"
)

const (
	// serverWait is how long one server has. Resolver libraries wait 5 s for us,
	// so that the second one is heard, too.
	serverWait = 2 * time.Second
	// askWait bounds the search for an answer.
	askWait = 8 * time.Second
	// shun is how long a server that did not answer is asked after the others.
	shun = 30 * time.Second
	// lookAgain is how often the host's file is looked at.
	lookAgain = time.Second
	// maxOutside is how many questions an Upstream has under way for all who
	// share it; each needs a socket.
	maxOutside = 1024
)

// Dial makes a connection; network is udp or tcp.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Upstream passes questions on.
type Upstream struct {
	dial    Dial
	servers func() []netip.AddrPort
	slots   chan struct{} // has an element for each question under way

	mu     sync.Mutex
	silent map[netip.AddrPort]time.Time // servers that did not answer, and when
}

// Host passes questions on to the servers in the host's resolv.conf, as it is at
// that moment, from the host's network namespace; so servers on loopback will do.
// One is shared by all containers.
func Host(resolvConf string) *Upstream {
	f := &followed{path: resolvConf}
	var d net.Dialer
	return newUpstream(f.servers, d.DialContext)
}

// Servers passes questions on to servers that a container named. They are
// reached from its network namespace, by dial: a server may be a container, and
// its loopback is the container's.
func Servers(addrs []netip.Addr, dial Dial) *Upstream {
	list := withPort(addrs)
	return newUpstream(func() []netip.AddrPort { return list }, dial)
}

func newUpstream(servers func() []netip.AddrPort, dial Dial) *Upstream {
	return &Upstream{dial: dial, servers: servers, slots: make(chan struct{}, maxOutside), silent: map[netip.AddrPort]time.Time{}}
}

func withPort(addrs []netip.Addr) []netip.AddrPort {
	list := make([]netip.AddrPort, 0, len(addrs))
	for _, a := range addrs {
		list = append(list, netip.AddrPortFrom(a, Port))
	}
	return list
}

// ask returns the answer of the first server that has one, in its own words, or
// an error of ours.
func (u *Upstream) ask(ctx context.Context, q *question, proto string) []byte {
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	default:
		return q.fail(rcodeServerFailure)
	}
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	answer := q.fail(rcodeServerFailure)
	for _, s := range u.order() {
		a, err := u.exchange(ctx, q, proto, s)
		if ctx.Err() != nil {
			break
		}
		u.note(s, err)
		if err != nil {
			continue
		}
		answer = a
		switch dnsmessage.RCode(a[3] & 0xf) {
		case dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused, dnsmessage.RCodeNotImplemented:
			continue // the next one may know
		}
		break
	}
	return answer
}

// order returns the servers, those last that did not answer lately.
func (u *Upstream) order() []netip.AddrPort {
	list := slices.Clone(u.servers())
	u.mu.Lock()
	defer u.mu.Unlock()
	bad := func(s netip.AddrPort) int {
		if t, ok := u.silent[s]; ok && time.Since(t) < shun {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b netip.AddrPort) int { return bad(a) - bad(b) })
	return list
}

func (u *Upstream) note(s netip.AddrPort, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err == nil {
		delete(u.silent, s)
		return
	}
	if len(u.silent) > 64 { // of files that were
		clear(u.silent)
	}
	u.silent[s] = time.Now()
}

// exchange asks one server. A number of our own and the port that the kernel
// chooses for the socket keep others from answering in its place.
func (u *Upstream) exchange(ctx context.Context, q *question, proto string, s netip.AddrPort) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, serverWait)
	defer cancel()
	c, err := u.dial(ctx, proto, s.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	msg := slices.Clone(q.msg)
	rand.Read(msg[:2]) // never fails, says crypto/rand
	id := binary.BigEndian.Uint16(msg)
	if proto == "tcp" {
		err = writeMessage(c, msg)
	} else {
		_, err = c.Write(msg)
	}
	if err != nil {
		return nil, err
	}
	buf := make([]byte, q.size)
	for {
		answer := buf
		if proto == "tcp" {
			answer, err = readMessage(c)
		} else {
			var n int
			n, err = c.Read(buf)
			answer = buf[:n]
		}
		if err != nil {
			return nil, err
		}
		if q.answeredBy(answer, id) {
			binary.BigEndian.PutUint16(answer, q.id)
			return slices.Clone(answer), nil
		}
		if proto == "tcp" {
			return nil, errors.New("the answer belongs to another question")
		}
	}
}

// answeredBy tells whether an answer is one to q, asked with the number id.
func (q *question) answeredBy(msg []byte, id uint16) bool {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || !h.Response || h.ID != id || h.OpCode != 0 {
		return false
	}
	got, err := p.Question()
	if errors.Is(err, dnsmessage.ErrSectionDone) { // errors may come without
		return h.RCode != dnsmessage.RCodeSuccess
	}
	return err == nil && got.Type == q.q.Type && got.Class == q.q.Class && strings.EqualFold(got.Name.String(), q.q.Name.String())
}

// followed is the host's file, read again when it has changed.
type followed struct {
	path string

	mu     sync.Mutex
	looked time.Time
	as     os.FileInfo // what was read
	list   []netip.AddrPort
}

func (f *followed) servers() []netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < lookAgain {
		return f.list
	}
	f.looked = time.Now()
	fi, err := os.Stat(f.path)
	if err == nil && f.as != nil && os.SameFile(fi, f.as) && fi.ModTime().Equal(f.as.ModTime()) && fi.Size() == f.as.Size() {
		return f.list
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		fi = nil // and what was known may still be right
		if f.list != nil {
			return f.list
		}
	}
	f.as = fi
	servers := network.ParseResolver(text).Servers
	if len(servers) == 0 {
		servers = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})} // resolv.conf(5): the default
	}
	f.list = withPort(servers)
	return f.list
}
