package ports

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/listeners"
	"berth/internal/network"
)

var loopback = netip.MustParseAddr("127.0.0.1")

func newTestHost() *Host {
	return NewHost(func(l listeners.Listener) string { return fmt.Sprintf("account %d", l.UID) }, false)
}

// reserve publishes on 127.0.0.1 unless the port says else.
func reserve(t *testing.T, h *Host, owner string, asked ...network.Port) (*Published, []network.Port) {
	t.Helper()
	p, err := h.Reserve(owner, asked)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, p.Settled()
}

// container stands for a container's port: a server on an address of its own.
func container(t *testing.T, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func dialTCP(t *testing.T, p network.Port) *net.TCPConn {
	t.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.HostIP, p.HostPort)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// readOne connects and reads; a reset may come while it still connects.
func readOne(p network.Port) error {
	c, err := net.Dial("tcp", netip.AddrPortFrom(p.HostIP, p.HostPort).String())
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Read(make([]byte, 1))
	return err
}

// here is what link.Space.Do is, for this process's own namespace.
func here(f func() error) error { return f() }

func TestTCPCarriesBothWaysAndHalfCloses(t *testing.T) {
	for name, dial := range map[string]Dial{"direct": Direct, "inside": Inside(here), "transparent": NewTransparent(here).Dial} {
		t.Run(name, func(t *testing.T) {
			// The server answers only when it has read everything.
			to := container(t, func(c *net.TCPConn) {
				sum := sha256.New()
				n, err := io.Copy(sum, c)
				if err == nil {
					fmt.Fprintf(c, "%d %x", n, sum.Sum(nil))
				}
				c.Close()
			})
			p, got := reserve(t, newTestHost(), "web", network.Port{Proto: "tcp", Inside: to.Port(), HostIP: loopback})
			p.Serve(dial, to.Addr(), netip.Addr{})
			data := make([]byte, 5<<20)
			rand.Read(data)
			var all sync.WaitGroup
			for range 2 * pipesAtOnce { // more than there are pipes
				all.Go(func() {
					c := dialTCP(t, got[0])
					if _, err := c.Write(data); err != nil {
						t.Error(err)
					}
					c.CloseWrite()
					answer, err := io.ReadAll(c)
					if want := fmt.Sprintf("%d %x", len(data), sha256.Sum256(data)); err != nil || string(answer) != want {
						t.Errorf("%q %v", answer, err)
					}
				})
			}
			all.Wait()
		})
	}
}

// TestSlowReadersKeepNoPipe: connections whose receivers do not read hold what
// pipes there are; others go on through memory.
func TestSlowReadersKeepNoPipe(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	to := container(t, func(c *net.TCPConn) {
		one := make([]byte, 1)
		if _, err := c.Read(one); err == nil && one[0] == 'e' {
			io.Copy(c, c)
			c.Close()
			return
		}
		<-stop
		c.Close()
	})
	h := newTestHost()
	h.pipes = make(pipes, 1)
	h.pipes <- &pipe{-1, -1}
	p, got := reserve(t, h, "web", network.Port{Proto: "tcp", Inside: to.Port(), HostIP: loopback})
	p.Serve(Direct, to.Addr(), netip.Addr{})
	slow := dialTCP(t, got[0])
	go slow.Write(make([]byte, 64<<20)) // ends with the test
	for deadline := time.Now().Add(10 * time.Second); len(h.pipes) != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the slow connection holds no pipe: it reads everything?")
		}
	}
	time.Sleep(50 * time.Millisecond)
	c := dialTCP(t, got[0])
	fmt.Fprint(c, "echo")
	c.CloseWrite()
	if answer, err := io.ReadAll(c); err != nil || string(answer) != "cho" {
		t.Errorf("%q %v", answer, err)
	}
}

func TestResetsArePassedOn(t *testing.T) {
	type end struct{ err error }
	seen := make(chan end, 1)
	to := container(t, func(c *net.TCPConn) {
		first := make([]byte, 1)
		if _, err := io.ReadFull(c, first); err != nil {
			seen <- end{err}
			return
		}
		if first[0] == 's' { // the server is who resets
			reset(c)
			return
		}
		_, err := c.Read(first)
		seen <- end{err}
	})
	p, got := reserve(t, newTestHost(), "web", network.Port{Proto: "tcp", Inside: to.Port(), HostIP: loopback})
	p.Serve(Direct, to.Addr(), netip.Addr{})

	c := dialTCP(t, got[0])
	fmt.Fprint(c, "s")
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the server's reset: %v", err)
	}
	c = dialTCP(t, got[0])
	fmt.Fprint(c, "c")
	time.Sleep(20 * time.Millisecond)
	reset(c)
	if e := <-seen; !errors.Is(e.err, unix.ECONNRESET) {
		t.Errorf("the client's reset: %v", e.err)
	}
	// Nobody listens there.
	p, got = reserve(t, newTestHost(), "web", network.Port{Proto: "tcp", Inside: 1, HostIP: loopback})
	p.Serve(Inside(here), netip.MustParseAddr("127.0.0.3"), netip.Addr{})
	if err := readOne(got[0]); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestCloseEndsWhatIsCarried(t *testing.T) {
	ready := make(chan struct{}, 1)
	to := container(t, func(c *net.TCPConn) { ready <- struct{}{}; io.Copy(io.Discard, c) })
	h := newTestHost()
	p, got := reserve(t, h, "web", network.Port{Proto: "tcp", Inside: to.Port(), HostIP: loopback})
	early := dialTCP(t, got[0]) // before anybody serves
	p.Serve(Direct, to.Addr(), netip.Addr{})
	<-ready
	p.Close()
	p.Close()
	if _, err := early.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("%v", err)
	}
	if _, again := reserve(t, h, "other", got[0]); again[0] != got[0] {
		t.Errorf("%+v, not %+v", again, got)
	}
	for deadline := time.Now().Add(5 * time.Second); len(h.room) != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are counted that have ended", len(h.room))
		}
	}
}

// TestDialThatHangs: a container that does not answer holds nobody but its
// client, and ends with its port.
func TestDialThatHangs(t *testing.T) {
	dialing := make(chan struct{})
	p, got := reserve(t, newTestHost(), "web", network.Port{Proto: "tcp", Inside: 80, HostIP: loopback})
	p.Serve(func(ctx context.Context, _ string, _, _ netip.AddrPort) (net.Conn, error) {
		close(dialing)
		<-ctx.Done()
		return nil, ctx.Err()
	}, loopback, netip.Addr{})
	c := dialTCP(t, got[0])
	<-dialing
	p.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("%v", err)
	}
}

func TestTooManyConnections(t *testing.T) {
	to := container(t, func(c *net.TCPConn) { io.Copy(c, c); c.Close() })
	h := newTestHost()
	h.room = make(chan struct{}, 1)
	p, got := reserve(t, h, "web", network.Port{Proto: "tcp", Inside: to.Port(), HostIP: loopback})
	p.Serve(Direct, to.Addr(), netip.Addr{})
	first := dialTCP(t, got[0])
	fmt.Fprint(first, "x")
	if _, err := first.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := readOne(got[0]); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the second: %v", err)
	}
	fmt.Fprint(first, "y")
	if _, err := first.Read(make([]byte, 1)); err != nil {
		t.Errorf("the first: %v", err)
	}
}

func TestBothFamilies(t *testing.T) {
	_, got := reserve(t, newTestHost(), "web", network.Port{Proto: "tcp", Inside: 80}, network.Port{Proto: "udp", Inside: 53})
	want := []netip.Addr{netip.IPv4Unspecified()}
	if l, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		l.Close()
		want = append(want, netip.IPv6Unspecified())
	}
	if len(got) != 2*len(want) {
		t.Fatalf("%+v", got)
	}
	for i, p := range got {
		if p.HostIP != want[i%len(want)] || p.HostPort == 0 || p.HostPort != got[i/len(want)*len(want)].HostPort {
			t.Errorf("%+v", got)
		}
	}
}

func TestRangesAndOrder(t *testing.T) {
	h := newTestHost()
	_, base := reserve(t, h, "base", network.Port{Proto: "tcp", Inside: 1, HostIP: loopback})
	n := base[0].HostPort
	if n > 65000 {
		t.Skip("the random port is too near the end")
	}
	// The range begins at the taken port; what names a port gets it, although it
	// is said later.
	ports := []network.Port{
		{Proto: "tcp", Inside: 80, HostIP: loopback, HostPort: n, HostEnd: n + 5},
		{Proto: "tcp", Inside: 81, HostIP: loopback, HostPort: n + 1},
		{Proto: "tcp", Inside: 81, HostIP: loopback, HostPort: n + 1},
	}
	_, got := reserve(t, h, "web", ports...)
	if len(got) != 2 || got[0].HostPort <= n+1 || got[0].HostPort > n+5 || got[0].HostEnd != 0 || got[1].HostPort != n+1 {
		t.Errorf("%+v", got)
	}
	_, err := h.Reserve("late", []network.Port{{Proto: "tcp", Inside: 80, HostIP: loopback, HostPort: n, HostEnd: n + 1}})
	var r *RangeError
	if !errors.As(err, &r) || !strings.Contains(err.Error(), "all ports are allocated") {
		t.Errorf("%v", err)
	}
}

func TestTaken(t *testing.T) {
	other, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	at := other.Addr().(*net.TCPAddr).AddrPort()
	h := newTestHost()
	_, mine := reserve(t, h, "web", network.Port{Proto: "udp", Inside: 53, HostIP: loopback})
	for _, c := range []struct {
		name, owner string
		ask         []network.Port
		want        []string
	}{
		{"somebody's", "x", []network.Port{{Proto: "tcp", Inside: 80, HostIP: loopback, HostPort: at.Port()}},
			[]string{fmt.Sprintf("Bind for 127.0.0.1:%d failed: port is already allocated: account %d listens there; ", at.Port(), os.Getuid()), " is free: use -p ", ":80"}},
		{"everywhere", "x", []network.Port{{Proto: "tcp", Inside: 80, HostPort: at.Port()}},
			[]string{fmt.Sprintf("Bind for 0.0.0.0:%d failed: port is already allocated: account %d", at.Port(), os.Getuid())}},
		{"a container's", "x", []network.Port{{Proto: "udp", Inside: 54, HostIP: loopback, HostPort: mine[0].HostPort}},
			[]string{"port is already allocated: container web listens there", ":54/udp"}},
		{"its own", "web", []network.Port{{Proto: "udp", Inside: 54, HostIP: loopback, HostPort: mine[0].HostPort}},
			[]string{"the same container's port 53 listens there"}},
		{"no such address", "x", []network.Port{{Proto: "tcp", Inside: 80, HostIP: netip.MustParseAddr("192.0.2.7")}},
			[]string{"no interface of this host has the address 192.0.2.7"}},
		{"SCTP", "x", []network.Port{{Proto: "sctp", Inside: 80, HostPort: 80}}, []string{"SCTP needs"}},
	} {
		p, err := h.Reserve(c.owner, c.ask)
		if err == nil {
			p.Close()
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v: no %q", c.name, err, w)
			}
		}
	}
	// What failed has let go of what it had.
	free := network.Port{Proto: "tcp", Inside: 80, HostIP: loopback, HostPort: freePort(t)}
	if _, err := h.Reserve("x", []network.Port{free, {Proto: "tcp", Inside: 81, HostIP: loopback, HostPort: at.Port()}}); err == nil {
		t.Error("no error")
	}
	reserve(t, h, "y", free)
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func TestKernelCarriesSCTP(t *testing.T) {
	h := NewHost(nil, true)
	_, got := reserve(t, h, "a", network.Port{Proto: "sctp", Inside: 36412, HostPort: 36412})
	if len(got) != 2 || got[0].HostPort != 36412 {
		t.Errorf("%+v", got)
	}
	if _, err := h.Reserve("b", []network.Port{{Proto: "sctp", Inside: 1, HostIP: loopback, HostPort: 36412}}); err == nil || !strings.Contains(err.Error(), "container a listens there") {
		t.Errorf("%v", err)
	}
}

func TestPrivileged(t *testing.T) {
	err := privileged(network.Port{Inside: 80}, netip.MustParseAddrPort("0.0.0.0:80"), 1024)
	want := "cannot publish port 80: an ordinary account may listen on ports from 1024 on: use -p 8080:80, or have the administrator run: sysctl -w net.ipv4.ip_unprivileged_port_start=80: permission denied"
	if err.Error() != want || !errors.Is(err, unix.EACCES) {
		t.Errorf("%v", err)
	}
	if os.Geteuid() != 0 && unprivilegedStart() > 1 {
		_, err := newTestHost().Reserve("x", []network.Port{{Proto: "tcp", Inside: 80, HostPort: unprivilegedStart() - 1}})
		if !errors.Is(err, unix.EACCES) {
			t.Errorf("%v", err)
		}
	}
}

// udpEcho answers every datagram with itself, and tells from where it came.
func udpEcho(t *testing.T) (netip.AddrPort, *sync.Map) {
	t.Helper()
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	seen := &sync.Map{}
	go func() {
		b := make([]byte, datagram)
		for {
			n, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			seen.Store(from, true)
			u.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return u.LocalAddr().(*net.UDPAddr).AddrPort(), seen
}

func TestUDP(t *testing.T) {
	for name, dial := range map[string]Dial{"direct": Direct, "inside": Inside(here)} {
		t.Run(name, func(t *testing.T) {
			to, seen := udpEcho(t)
			p, got := reserve(t, newTestHost(), "dns", network.Port{Proto: "udp", Inside: to.Port()})
			p.Serve(dial, to.Addr(), netip.Addr{})
			// Every address of the host's answers from itself.
			for _, local := range []string{"127.0.0.1", "127.0.0.5", "127.0.0.1"} {
				c, err := net.Dial("udp4", net.JoinHostPort(local, fmt.Sprint(got[0].HostPort)))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				for _, size := range []int{1, 0, 1400, 65507} {
					data := make([]byte, size)
					rand.Read(data)
					if _, err := c.Write(data); err != nil {
						t.Fatal(err)
					}
					answer := make([]byte, datagram)
					n, err := c.Read(answer)
					if err != nil || !bytes.Equal(answer[:n], data) {
						t.Errorf("%s, %d bytes: %d, %v", local, size, n, err)
					}
				}
			}
			flows := 0
			seen.Range(func(any, any) bool { flows++; return true })
			if flows != 3 {
				t.Errorf("%d flows, three clients", flows)
			}
		})
	}
}

// TestFlowsAreBounded: many clients push out the one that was silent longest, and
// nothing is held when the port has closed.
func TestFlowsAreBounded(t *testing.T) {
	to, seen := udpEcho(t)
	h := newTestHost()
	p, got := reserve(t, h, "dns", network.Port{Proto: "udp", Inside: to.Port(), HostIP: loopback})
	p.Serve(Direct, to.Addr(), netip.Addr{})
	ask := func(c net.Conn) error {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 1))
		return err
	}
	var first net.Conn
	for i := range flowsPerPort + 10 {
		c, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", got[0].HostPort))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = c
			defer c.Close()
		}
		if err := ask(c); err != nil {
			t.Fatal(i, err)
		}
		if i%100 == 50 {
			if err := ask(first); err != nil { // it speaks, so it stays
				t.Fatal(err)
			}
		}
		if i > 0 {
			c.Close()
		}
	}
	for deadline := time.Now().Add(5 * time.Second); len(h.room) > flowsPerPort; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d flows", len(h.room))
		}
	}
	before := 0
	seen.Range(func(any, any) bool { before++; return true })
	if err := ask(first); err != nil {
		t.Fatal(err)
	}
	after := 0
	seen.Range(func(any, any) bool { after++; return true })
	if after != before {
		t.Errorf("the client that spoke had lost its flow")
	}
	p.Close()
	for deadline := time.Now().Add(5 * time.Second); len(h.room) != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d flows are left", len(h.room))
		}
	}
}
