package uplink

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The tests run in network namespaces of their own, in a process that has a
// user namespace as an ordinary account's has: the process's namespace is the
// host, a second one is what the uplink is for, a third one a container.

const labVariable = "BERTH_TEST_UPLINK"

// inLab runs the test once more inside such a process and says whether this is
// that process. A name says which uplink it is to have.
func inLab(t *testing.T, name string) bool {
	t.Helper()
	switch os.Getenv(labVariable) {
	case "":
	case name:
		setUpHost(t, name)
		return true
	default:
		t.Skip("not this one's process")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), labVariable+"="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:   syscall.SIGKILL,
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skip(string(out))
	}
	return false
}

var (
	hostv4 = netip.MustParseAddr("192.168.77.1")
	hostv6 = netip.MustParseAddr("fd77::1")
	// What others than the host have, for want of others.
	otherv4 = netip.MustParseAddr("198.51.100.7")
	otherv6 = netip.MustParseAddr("fd78::7")
	// The container and its gateway.
	boxv4, gatewayv4 = netip.MustParsePrefix("172.17.0.2/16"), netip.MustParseAddr("172.17.0.1")
	boxv6, gatewayv6 = netip.MustParsePrefix("fd79::2/64"), netip.MustParseAddr("fd79::1")
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func setUpHost(t *testing.T, name string) {
	if name == "pair" { // a machine that keeps the device to root
		must(t, unix.Mount("none", "/dev/net", "tmpfs", 0, ""))
	}
	must(t, writeSysctl("ipv4/ping_group_range", "0 0"))
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "eth0"
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "nobody"}))
	for _, name := range []string{"nobody", "eth0"} {
		l, err := netlink.LinkByName(name)
		must(t, err)
		must(t, netlink.LinkSetUp(l))
	}
	l, err := netlink.LinkByName("eth0")
	must(t, err)
	for _, a := range []netip.Prefix{netip.PrefixFrom(hostv4, 24), netip.PrefixFrom(otherv4, 32), netip.PrefixFrom(hostv6, 64), netip.PrefixFrom(otherv6, 128)} {
		must(t, netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}))
	}
	for _, gw := range []string{"192.168.77.254", "fd77::fe"} {
		must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(gw)}))
	}
}

// space is a Space of the test's own: a thread that never leaves its namespace.
type space struct {
	work chan func()
	file *os.File
}

func newSpace(t *testing.T) *space {
	s := &space{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			s.file, err = os.Open("/proc/thread-self/ns/net")
		}
		ready <- err
		for f := range s.work {
			f()
		}
	}()
	must(t, <-ready)
	must(t, s.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		return errors.Join(err, netlink.LinkSetUp(lo))
	}))
	return s
}

func (s *space) Do(f func() error) error {
	result := make(chan error)
	s.work <- func() { result <- f() }
	return <-result
}

// newBox makes a container's namespace behind n.
func newBox(t *testing.T, n *space) *space {
	box := newSpace(t)
	must(t, n.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "box", MTU
		err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerMTU: MTU, PeerNamespace: netlink.NsFd(box.file.Fd())})
		if err != nil {
			return err
		}
		return bring("box", netip.PrefixFrom(gatewayv4, 16), netip.PrefixFrom(gatewayv6, 64))
	}))
	must(t, box.Do(func() error {
		if err := bring("eth0", boxv4, boxv6); err != nil {
			return err
		}
		return errors.Join(
			netlink.RouteAdd(&netlink.Route{Gw: gatewayv4.AsSlice()}),
			netlink.RouteAdd(&netlink.Route{Gw: gatewayv6.AsSlice()}),
			writeSysctl("ipv4/ping_group_range", "0 0"))
	}))
	return box
}

func bring(name string, addresses ...netip.Prefix) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

// dial connects from a namespace.
func (s *space) dial(network string, to netip.AddrPort) (c net.Conn, err error) {
	// The sockets of net.Dialer are made on this thread: an address needs no
	// resolver, and one address no second attempt.
	err = s.Do(func() error {
		d := net.Dialer{Timeout: 3 * time.Second}
		c, err = d.Dial(network, to.String())
		return err
	})
	return c, err
}

// echo answers each connection with what it reads, until the client sends no
// more; then it says goodbye.
func echo(t *testing.T, at netip.Addr) netip.AddrPort {
	l, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
				fmt.Fprint(c, "goodbye")
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// echoDatagrams answers each datagram with itself.
func echoDatagrams(t *testing.T, at netip.Addr) netip.AddrPort {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, readRoom)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestStackOnTun(t *testing.T)  { testUplink(t, "tun", Builtin) }
func TestStackOnPair(t *testing.T) { testUplink(t, "pair", Builtin) }

func testUplink(t *testing.T, name, driver string) {
	if !inLab(t, name) {
		return
	}
	n := newSpace(t)
	u, err := Start(Config{Space: n, Namespace: n.file, Driver: driver, Subnets: []netip.Prefix{boxv4.Masked(), boxv6.Masked()}})
	must(t, err)
	box := newBox(t, n)
	if _, isTun := u.stack.device.(tun); isTun != (name == "tun") {
		t.Fatalf("the device is a %T", u.stack.device)
	}
	for _, family := range []struct {
		name              string
		host, other, self netip.Addr
		loopback          netip.Addr
	}{
		{"IPv4", hostv4, otherv4, hostIPv4(), netip.MustParseAddr("127.0.0.1")},
		{"IPv6", hostv6, otherv6, hostIPv6(), netip.IPv6Loopback()},
	} {
		t.Run(family.name, func(t *testing.T) {
			t.Run("connection", func(t *testing.T) { testConnection(t, box, echo(t, family.other)) })
			t.Run("the host by its address", func(t *testing.T) {
				testConnection(t, box, netip.AddrPortFrom(family.self, echo(t, unspecified(family.host)).Port()))
			})
			t.Run("the host's loopback", func(t *testing.T) {
				port := echo(t, family.loopback).Port()
				if c, err := box.dial("tcp", netip.AddrPortFrom(family.self, port)); !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("connected to a service on loopback: %v %v", c, err)
				}
			})
			t.Run("nobody listens", func(t *testing.T) {
				if _, err := box.dial("tcp", netip.AddrPortFrom(family.other, 1)); !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("got %v", err)
				}
			})
			t.Run("reset", func(t *testing.T) { testReset(t, box, family.other) })
			t.Run("datagrams", func(t *testing.T) { testDatagrams(t, box, echoDatagrams(t, family.other)) })
			t.Run("datagrams refused", func(t *testing.T) { testRefusedDatagrams(t, box, family.other) })
			t.Run("ping", func(t *testing.T) { testPing(t, box, family.other) })
			t.Run("ping the host", func(t *testing.T) { testPing(t, box, family.self) })
		})
	}
	t.Run("other sources", func(t *testing.T) {
		u.Allow(nil)
		defer u.Allow([]netip.Prefix{boxv4.Masked(), boxv6.Masked()})
		if c, err := box.dial("tcp", echo(t, otherv4)); err == nil {
			c.Close()
			t.Error("an address that is not allowed got out")
		}
	})
	testConnection(t, n, echo(t, otherv4))
	must(t, u.Close())
	must(t, n.Do(func() error {
		if l, err := netlink.LinkByName(Interface); err == nil {
			return fmt.Errorf("%s is left: %v", Interface, l)
		}
		return nil
	}))
}

// testConnection sends more than fits into any buffer, so that each side must
// wait for the other, and ends one direction before the other.
func testConnection(t *testing.T, from *space, to netip.AddrPort) {
	t.Helper()
	const size = 16 << 20
	c, err := from.dial("tcp", to)
	must(t, err)
	defer c.Close()
	go func() {
		b := make([]byte, 1<<20)
		for at := 0; at < size; at += len(b) {
			for i := range b {
				b[i] = byte((at + i) >> 8)
			}
			if _, err := c.Write(b); err != nil {
				t.Error(err)
				return
			}
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Error(err)
		}
	}()
	must(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	b := make([]byte, 1<<20)
	for at := 0; at < size; {
		n, err := c.Read(b[:min(len(b), size-at)])
		must(t, err)
		for i := range n {
			if b[i] != byte((at+i)>>8) {
				t.Fatalf("byte %d is %#x", at+i, b[i])
			}
		}
		at += n
	}
	rest, err := io.ReadAll(c)
	must(t, err)
	if string(rest) != "goodbye" {
		t.Errorf("the end was %q", rest)
	}
}

// testReset: a reset on either side is one on the other.
func testReset(t *testing.T, from *space, at netip.Addr) {
	l, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	must(t, err)
	defer l.Close()
	for _, outside := range []bool{true, false} {
		c, err := from.dial("tcp", l.Addr().(*net.TCPAddr).AddrPort())
		must(t, err)
		s, err := l.Accept()
		must(t, err)
		resets, sees := c, s
		if outside {
			resets, sees = s, c
		}
		must(t, resets.(*net.TCPConn).SetLinger(0))
		must(t, resets.Close())
		must(t, sees.SetDeadline(time.Now().Add(5*time.Second)))
		if _, err := sees.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("reset outside %v: the other side got %v", outside, err)
		}
		sees.Close()
	}
}

func testDatagrams(t *testing.T, from *space, to netip.AddrPort) {
	c, err := from.dial("udp", to)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
	b := make([]byte, readRoom)
	// The last is greater than a packet on the way and travels in parts.
	for _, size := range []int{1, 1400, 30000, 65480, greatestDatagram} {
		for i := range size {
			b[i] = byte(size + i)
		}
		if _, err := c.Write(b[:size]); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		clear(b)
		n, err := c.Read(b)
		if err != nil || n != size {
			t.Fatalf("%d bytes came back as %d: %v", size, n, err)
		}
		for i := range n {
			if b[i] != byte(size+i) {
				t.Fatalf("%d bytes: byte %d is wrong", size, i)
			}
		}
	}
}

func testRefusedDatagrams(t *testing.T, from *space, at netip.Addr) {
	c, err := from.dial("udp", netip.AddrPortFrom(at, 1))
	must(t, err)
	defer c.Close()
	_, err = c.Write([]byte("x"))
	must(t, err)
	must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}

// testPing sends echo requests as an account's ping does.
func testPing(t *testing.T, from *space, to netip.Addr) {
	t.Helper()
	var d *descriptor
	must(t, from.Do(func() (err error) {
		d, err = dialEcho(to)
		return err
	}))
	defer d.Close()
	kind, answer := byte(echoRequestv4), byte(echoReplyv4)
	if to.Is6() {
		kind, answer = echoRequestv6, echoReplyv6
	}
	for _, size := range []int{64, 40000} {
		request := make([]byte, size)
		request[0], request[7], request[size-1] = kind, 7, 42
		must(t, d.Write([][]byte{request}))
		b := make([]byte, readRoom)
		must(t, d.file.SetReadDeadline(time.Now().Add(5*time.Second)))
		n, err := d.file.Read(b)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if n != size || b[0] != answer || b[7] != 7 || b[size-1] != 42 {
			t.Fatalf("%d bytes: the answer is %d bytes of type %d", size, n, b[0])
		}
	}
}

func TestTarget(t *testing.T) {
	var h hostAddresses
	for _, forbidden := range []string{
		"127.0.0.1", "127.8.9.10", "0.0.0.0", "0.1.2.3", "255.255.255.255", "224.0.0.251",
		"::1", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "ff02::1", "fe80::1",
	} {
		if got, err := h.target(netip.MustParseAddr(forbidden)); err == nil {
			t.Errorf("%s goes to %s", forbidden, got)
		}
	}
	for _, open := range []string{"192.0.2.1", "10.0.0.1", "169.254.169.254", "2001:db8::1", "fd00::1"} {
		if got, err := h.target(netip.MustParseAddr(open)); err != nil || got != netip.MustParseAddr(open) {
			t.Errorf("%s goes to %s: %v", open, got, err)
		}
	}
	if got, err := h.target(netip.MustParseAddr("::ffff:192.0.2.1")); err != nil || got != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("a mapped address goes to %s: %v", got, err)
	}
}

func TestParseIP(t *testing.T) {
	whole := makeIP(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), 17, []byte("abcdefgh"))
	six := makeIP(netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2"), 17, []byte("abcdefgh"))
	for _, packet := range [][]byte{whole, six} {
		p, ok := parseIP(packet)
		if !ok || string(p.body) != "abcdefgh" || p.protocol != 17 || p.fragment {
			t.Errorf("%x is %+v, %v", packet, p, ok)
		}
		for n := range packet {
			if p, ok := parseIP(packet[:n]); ok {
				t.Errorf("%d bytes of %d are %+v", n, len(packet), p)
			}
		}
	}
	for _, broken := range []func([]byte){
		func(b []byte) { b[0] = 0x44 },           // a header shorter than the least
		func(b []byte) { b[0] = 0x4f },           // longer than the packet
		func(b []byte) { b[2], b[3] = 0, 19 },    // a packet shorter than its header
		func(b []byte) { b[2], b[3] = 1, 0 },     // longer than what came
		func(b []byte) { b[0] = 5<<4 | b[0]&15 }, // no version of IP
	} {
		b := append([]byte(nil), whole...)
		broken(b)
		if p, ok := parseIP(b); ok {
			t.Errorf("%x is %+v", b, p)
		}
	}
	b := append([]byte(nil), whole...)
	b[6] = 0x20 // more parts follow
	if p, ok := parseIP(b); !ok || !p.fragment {
		t.Errorf("a fragment is %+v, %v", p, ok)
	}
}

func TestPastaVersion(t *testing.T) {
	for out, want := range map[string]string{
		"pasta 2024_09_06.1ee2eca\nCopyright Red Hat\n":           "2024_09_06",
		"pasta 0.0~git20230309.7c7625d-1\nCopyright Red Hat 2025": "2023_03_09",
		"pasta unknown version\nCopyright Red Hat\n":              "",
		"": "",
	} {
		if got := pastaVersion(out); got != want {
			t.Errorf("%q is %q, not %q", out, got, want)
		}
	}
}
