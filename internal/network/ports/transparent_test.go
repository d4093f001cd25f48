package ports

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"berth/internal/network"
	"berth/internal/network/link"
	"berth/internal/network/networktest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestContainersSeeTheirClients has the host in the process's namespace, bridges
// in one, a container in a third.
func TestContainersSeeTheirClients(t *testing.T) {
	if !networktest.Alone(t) {
		return
	}
	// The host has an address that the network would have to go out for.
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	hosts := []string{"192.0.2.10", "2001:db8::10"}
	for i, bits := range []string{"/32", "/128"} {
		a, err := netlink.ParseAddr(hosts[i] + bits)
		must(t, err)
		must(t, netlink.AddrAdd(lo, a))
	}
	n, _, err := link.New()
	must(t, err)
	defer n.Close()
	addrs := []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("fd00:9::1/64")}
	must(t, n.EnsureBridge(link.Bridge{Name: "br0", Addresses: addrs}))
	inside, ns, err := link.New()
	must(t, err)
	defer inside.Close()
	v4, v6 := netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("fd00:9::2")
	must(t, n.Attach(link.Pair{Bridge: "br0", Name: "veth0", Inner: link.Inner{
		Namespace: ns, Name: "eth0", Addresses: []netip.Prefix{netip.PrefixFrom(v4, 24), netip.PrefixFrom(v6, 64)},
		Gateways: []netip.Addr{addrs[0].Addr(), addrs[1].Addr()},
	}}))
	var l net.Listener
	must(t, inside.Do(func() (err error) { l, err = net.Listen("tcp", ":80"); return err }))
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				fmt.Fprint(c, netip.MustParseAddrPort(c.RemoteAddr().String()).Addr().Unmap(), " ")
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()

	dialer := NewTransparent(n.Do)
	p, got := reserve(t, newTestHost(), "web", network.Port{Proto: "tcp", Inside: 80})
	p.Serve(dialer.Dial, v4, v6)
	seen := func(host string) string {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(host, fmt.Sprint(got[0].HostPort)), 5*time.Second)
		must(t, err)
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(c, "hello")
		c.(*net.TCPConn).CloseWrite()
		b, err := io.ReadAll(c)
		must(t, err)
		return string(b)
	}
	rules := func() (all int) {
		for _, family := range []int{syscall.AF_INET, syscall.AF_INET6} {
			must(t, n.Do(func() error {
				list, err := netlink.RuleListFiltered(family, &netlink.Rule{Table: backTable}, netlink.RT_FILTER_TABLE)
				all += len(list)
				return err
			}))
		}
		return all
	}
	check := func(host, want string) {
		t.Helper()
		if got := seen(host); got != want+" hello" {
			t.Errorf("%s: the container sees %q, not %s", host, got, want)
		}
	}
	// Loopback means something else in the container.
	check("127.0.0.1", "10.9.0.1")
	check("::1", "fd00:9::1")
	if n := rules(); n != 0 {
		t.Errorf("%d rules where none are needed", n)
	}
	for range 3 {
		check(hosts[0], hosts[0])
		check(hosts[1], hosts[1])
	}
	if n := rules(); n != 2 {
		t.Errorf("%d rules", n)
	}

	// A holder that was killed has left its rules.
	again := NewTransparent(n.Do)
	if !again.back(netip.AddrPortFrom(v4, 81)) || rules() != 2 {
		t.Errorf("%d rules: that of another family, and a new one", rules())
	}
	again.Forget(v4)
	dialer.Forget(v6)
	if n := rules(); n != 0 {
		t.Errorf("%d rules are left", n)
	}
	dialer.Forget(v4)
	check(hosts[0], hosts[0])
	dialer.Forget(v4)

	// What the container asks for itself is not held back.
	must(t, n.Do(func() error { l, err := net.Listen("tcp", "10.9.0.1:99"); go acceptAll(l); return err }))
	must(t, inside.Do(func() error {
		c, err := net.DialTimeout("tcp", "10.9.0.1:99", 5*time.Second)
		if err == nil {
			c.Close()
		}
		return err
	}))
	// A kernel that knows no such rules.
	old := NewTransparent(func(f func() error) error { return n.Do(f) })
	old.ready[syscall.AF_INET] = syscall.EOPNOTSUPP
	p.Serve(old.Dial, v4, v6)
	check(hosts[0], "10.9.0.1")
}

func acceptAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Close()
	}
}
