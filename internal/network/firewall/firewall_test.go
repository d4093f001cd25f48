package firewall

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"berth/internal/network/link"
)

// lab is a host with networks, and another host on the same cable. Everything
// answers on port 80 of TCP and UDP with the address of who asks.
type lab struct {
	host, other *link.Space
	containers  map[string]*link.Space
	spaces      map[string]*os.File
}

const (
	hostAddr   = "192.0.2.1"
	otherAddr  = "192.0.2.2"
	hostAddr6  = "2001:db8::1"
	otherAddr6 = "2001:db8::2"
)

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	l := &lab{containers: map[string]*link.Space{}, spaces: map[string]*os.File{}}
	cable := l.space(t, "cable")
	must(t, cable.EnsureBridge(link.Bridge{Name: "cable"}))
	l.host, l.other = l.space(t, "host"), l.space(t, "other")
	for name, addrs := range map[string][]string{"host": {hostAddr + "/24", hostAddr6 + "/64"}, "other": {otherAddr + "/24", otherAddr6 + "/64"}} {
		must(t, cable.Attach(link.Pair{Bridge: "cable", Name: "to-" + name, Inner: link.Inner{Namespace: l.spaces[name], Name: "lan0", Addresses: prefixes(addrs...)}}))
	}
	serve(t, l.other)
	serve(t, l.host)
	return l
}

func (l *lab) space(t *testing.T, name string) *link.Space {
	t.Helper()
	s, ns, err := link.New()
	must(t, err)
	t.Cleanup(func() { s.Close(); ns.Close() })
	l.spaces[name] = ns
	return s
}

// network makes the bridge 10.N.0.0/16 and fd00:N::/64 with containers that have
// the addresses from 2 on.
func (l *lab) network(t *testing.T, bridge string, n int, isolated bool, containers ...string) []netip.Prefix {
	t.Helper()
	must(t, l.host.EnsureBridge(link.Bridge{Name: bridge, Addresses: prefixes(fmt.Sprintf("10.%d.0.1/16", n), fmt.Sprintf("fd00:%d::1/64", n))}))
	for i, name := range containers {
		c := l.space(t, name)
		l.containers[name] = c
		must(t, l.host.Attach(link.Pair{Bridge: bridge, Name: "veth-" + name, Isolated: isolated, Inner: link.Inner{
			Namespace: l.spaces[name], Name: "eth0",
			Addresses: prefixes(fmt.Sprintf("10.%d.0.%d/16", n, i+2), fmt.Sprintf("fd00:%d::%d/64", n, i+2)),
			Gateways:  []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.%d.0.1", n)), netip.MustParseAddr(fmt.Sprintf("fd00:%d::1", n))},
		}}))
		serve(t, c)
	}
	return prefixes(fmt.Sprintf("10.%d.0.0/16", n), fmt.Sprintf("fd00:%d::/64", n))
}

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// serve answers in a namespace on port 80.
func serve(t *testing.T, s *link.Space) {
	t.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	must(t, s.Do(func() (err error) {
		if tcp, err = net.Listen("tcp", ":80"); err == nil {
			udp, err = net.ListenPacket("udp", ":80")
		}
		return err
	}))
	t.Cleanup(func() { tcp.Close(); udp.Close() })
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
			c.Close()
		}
	}()
	go func() {
		b := make([]byte, 1)
		for {
			_, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			udp.WriteTo([]byte(from.(*net.UDPAddr).AddrPort().Addr().Unmap().String()), from)
		}
	}()
}

// call asks from a namespace. Nothing: nobody answered.
func call(s *link.Space, proto, addr string) string {
	var c net.Conn
	if err := s.Do(func() (err error) { c, err = net.DialTimeout(proto, addr, 300*time.Millisecond); return err }); err != nil {
		return ""
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if proto == "udp" {
		c.Write([]byte("?"))
		b := make([]byte, 64)
		n, _ := c.Read(b)
		return string(b[:n])
	}
	b, _ := io.ReadAll(c)
	return string(b)
}

// check calls by both protocols; want "" means that nobody may answer.
func (l *lab) check(t *testing.T, what string, from *link.Space, addr, want string) {
	t.Helper()
	for _, proto := range []string{"tcp", "udp"} {
		got := call(from, proto, addr)
		for i := 0; want != "" && got == "" && i < 10; i++ { // a slow machine
			got = call(from, proto, addr)
		}
		if got != want {
			t.Errorf("%s, %s %s: the caller was seen as %q, want %q", what, proto, addr, got, want)
		}
	}
}

func open(t *testing.T, s *link.Space) *Table {
	t.Helper()
	table, err := Open(s, "berth-test")
	must(t, err)
	t.Cleanup(func() { table.Close() })
	return table
}

func TestReach(t *testing.T) {
	l := newLab(t)
	must(t, l.host.SetSysctl("ipv4/ip_forward", "1"))
	must(t, l.host.SetSysctl("ipv6/conf/all/forwarding", "1"))
	table := open(t, l.host)
	red := l.network(t, "br-red", 1, false, "r1", "r2")
	blue := l.network(t, "br-blue", 2, false, "b1")
	dark := l.network(t, "br-dark", 3, false, "d1", "d2")
	apart := l.network(t, "br-apart", 4, true, "a1", "a2")
	must(t, table.AddNetwork(Network{Interface: "br-red", Subnets: red, Masquerade: true, ICC: true}))
	must(t, table.AddNetwork(Network{Interface: "br-blue", Subnets: blue, Masquerade: true, ICC: true}))
	must(t, table.AddNetwork(Network{Interface: "br-dark", Subnets: dark, Internal: true, Masquerade: true, ICC: true}))
	must(t, table.AddNetwork(Network{Interface: "br-apart", Subnets: apart, Masquerade: true}))
	// The other host believes that the host is a router.
	for _, gw := range []string{hostAddr, hostAddr6} {
		must(t, link.SetGateways(l.spaces["other"], "lan0", []netip.Addr{netip.MustParseAddr(gw)}))
	}
	for _, r := range []Rule{
		{HostIP: netip.IPv4Unspecified(), HostPort: 8080, To: netip.MustParseAddrPort("10.1.0.2:80")},
		{HostIP: netip.IPv6Unspecified(), HostPort: 8080, To: netip.MustParseAddrPort("[fd00:1::2]:80")},
		{HostIP: netip.MustParseAddr(hostAddr), HostPort: 8081, To: netip.MustParseAddrPort("10.2.0.2:80")},
		{HostIP: netip.MustParseAddr(hostAddr6), HostPort: 8081, To: netip.MustParseAddrPort("[fd00:2::2]:80")},
		{HostIP: netip.MustParseAddr("192.0.2.77"), HostPort: 8082, To: netip.MustParseAddrPort("10.2.0.2:80")},
	} {
		for _, r.Proto = range []string{"tcp", "udp"} {
			must(t, table.Publish(r))
		}
	}
	c := l.containers
	for _, x := range []struct {
		what       string
		from       *link.Space
		addr, want string
	}{
		{"same network", c["r1"], "10.1.0.3:80", "10.1.0.2"},
		{"same network", c["r1"], "[fd00:1::3]:80", "fd00:1::2"},
		{"other network", c["r1"], "10.2.0.2:80", ""},
		{"other network", c["r1"], "[fd00:2::2]:80", ""},
		{"the host's address in the network", c["r1"], "10.1.0.1:80", "10.1.0.2"},
		{"other host", c["r1"], otherAddr + ":80", hostAddr},
		{"other host", c["r1"], "[" + otherAddr6 + "]:80", hostAddr6},
		{"internal, same network", c["d1"], "10.3.0.3:80", "10.3.0.2"},
		{"internal, other host", c["d1"], otherAddr + ":80", ""},
		{"internal, other host", c["d1"], "[" + otherAddr6 + "]:80", ""},
		{"internal, other network", c["d1"], "10.1.0.2:80", ""},
		{"internal, published port", c["d1"], hostAddr + ":8080", ""},
		{"to internal", c["r1"], "10.3.0.2:80", ""},
		{"kept apart", c["a1"], "10.4.0.3:80", ""},
		{"kept apart, other host", c["a1"], otherAddr + ":80", hostAddr},
		{"host to container", l.host, "10.1.0.2:80", "10.1.0.1"},
		{"other host to container", l.other, "10.1.0.2:80", ""},
		{"other host to container", l.other, "[fd00:1::2]:80", ""},
		{"other host to internal", l.other, "10.3.0.2:80", ""},
		{"published", l.other, hostAddr + ":8080", otherAddr},
		{"published", l.other, "[" + hostAddr6 + "]:8080", otherAddr6},
		{"published on one address", l.other, hostAddr + ":8081", otherAddr},
		{"published on one address", l.other, "[" + hostAddr6 + "]:8081", otherAddr6},
		{"published on another address", l.other, hostAddr + ":8082", ""},
		{"published, from the host", l.host, hostAddr + ":8080", hostAddr},
		{"published, from the host", l.host, "[" + hostAddr6 + "]:8080", hostAddr6},
		{"published, from a neighbour", c["r2"], hostAddr + ":8080", "10.1.0.1"},
		{"published, from itself", c["r1"], hostAddr + ":8080", "10.1.0.1"},
		{"published, from itself", c["r1"], "[" + hostAddr6 + "]:8080", "fd00:1::1"},
		{"published, from another network", c["b1"], hostAddr + ":8080", "10.1.0.1"},
		{"published, from another network", c["b1"], "[" + hostAddr6 + "]:8080", "fd00:1::1"},
		{"published, at the gateway's address", c["b1"], "10.2.0.1:8080", "10.1.0.1"},
		{"published, kept apart", c["a1"], hostAddr + ":8080", "10.1.0.1"},
		{"not published", l.other, hostAddr + ":8079", ""},
		{"the container's port at the host", l.other, hostAddr + ":80", otherAddr},
	} {
		l.check(t, x.what, x.from, x.addr, x.want)
	}
	// A server of datagrams would answer from another address of the host's.
	if got := call(c["r1"], "tcp", hostAddr+":80"); got != "10.1.0.2" {
		t.Errorf("the host saw the caller as %q", got)
	}
}

// A port that is taken back is the host's again, and leads elsewhere when it is
// published anew, also for those who go on sending datagrams.
func TestUnpublish(t *testing.T) {
	l := newLab(t)
	must(t, l.host.SetSysctl("ipv4/ip_forward", "1"))
	table := open(t, l.host)
	nets := l.network(t, "br-red", 1, false, "r1", "r2")
	must(t, table.AddNetwork(Network{Interface: "br-red", Subnets: nets, ICC: true}))
	rule := Rule{Proto: "udp", HostIP: netip.IPv4Unspecified(), HostPort: 8080, To: netip.MustParseAddrPort("10.1.0.2:80")}
	must(t, table.Publish(rule))
	var flow net.Conn
	must(t, l.other.Do(func() (err error) { flow, err = net.Dial("udp", hostAddr+":8080"); return err }))
	defer flow.Close()
	ask := func() (string, error) {
		b := make([]byte, 64)
		flow.SetDeadline(time.Now().Add(3 * time.Second))
		flow.Write([]byte("?"))
		n, err := flow.Read(b)
		return string(b[:n]), err
	}
	if got, err := ask(); got != otherAddr {
		t.Fatalf("published: %q, %v", got, err)
	}
	must(t, table.Unpublish(rule))
	must(t, table.Unpublish(rule))
	must(t, l.host.Remove("veth-r1")) // the first container has gone
	rule.To = netip.MustParseAddrPort("10.1.0.3:80")
	must(t, table.Publish(rule))
	if got, err := ask(); got != otherAddr {
		t.Errorf("published again: %q, %v", got, err)
	}
	must(t, table.RemoveNetwork("br-red"))
	must(t, table.RemoveNetwork("br-red"))
	if err := table.Publish(Rule{Proto: "icmp", HostIP: netip.IPv4Unspecified(), To: rule.To}); err == nil {
		t.Error("a protocol without ports was published")
	}
	if err := table.Publish(Rule{Proto: "tcp", HostIP: netip.IPv6Unspecified(), HostPort: 1, To: rule.To}); err == nil {
		t.Error("IPv6 was published to IPv4")
	}
	must(t, table.Publish(Rule{Proto: "tcp", HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 1, To: rule.To}))
}

// The table is the holder's alone and goes with it.
func TestOwner(t *testing.T) {
	l := newLab(t)
	table := open(t, l.host)
	must(t, table.AddNetwork(Network{Interface: "br-red", Subnets: prefixes("10.1.0.0/16", "fd00:1::/64"), Masquerade: true, ICC: true}))
	if _, err := Open(l.host, "berth-test"); err == nil || !strings.Contains(err.Error(), "another process has the table berth-test") {
		t.Errorf("a table was had twice: %v", err)
	}
	second, err := Open(l.host, "berth-second")
	must(t, err)
	if rules := ruleset(t, l.host); !strings.Contains(rules, "table inet berth-test") || !strings.Contains(rules, "table inet berth-second") {
		t.Errorf("the rules are\n%s", rules)
	}
	nft(t, l.host, "flush", "ruleset")
	if rules := ruleset(t, l.host); !strings.Contains(rules, "masquerade") {
		t.Errorf("somebody flushed our rules:\n%s", rules)
	}
	second.conn.CloseLasting() // as if the holder were killed
	if rules := ruleset(t, l.host); strings.Contains(rules, "berth-second") {
		t.Errorf("left by a holder that died:\n%s", rules)
	}
	must(t, table.Close())
	if rules := ruleset(t, l.host); rules != "" {
		t.Errorf("left:\n%s", rules)
	}
}

// A host that is no router becomes one for containers only, and none when they
// have gone.
func TestForward(t *testing.T) {
	l := newLab(t)
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		must(t, l.host.SetSysctl(name, "0"))
	}
	must(t, l.host.SetSysctl("ipv6/conf/lan0/accept_ra", "1"))
	// A second cable of the host's, and somebody on it who takes it for a router.
	l.network(t, "br-far", 9, false, "far")
	for _, gw := range []string{hostAddr, hostAddr6} {
		must(t, link.SetGateways(l.spaces["other"], "lan0", []netip.Addr{netip.MustParseAddr(gw)}))
	}
	nets := l.network(t, "br-red", 1, false, "r1")
	killed, err := Open(l.host, "berth-test")
	must(t, err)
	must(t, killed.AddNetwork(Network{Interface: "br-red", Subnets: nets, Masquerade: true, ICC: true}))
	must(t, killed.Forward(true))
	if said := killed.Warnings(); len(said) != 2 || !strings.Contains(said[0], "forwarding of ipv4 packets was off on this host") {
		t.Errorf("said: %q", said)
	}
	reach := func(far string) {
		t.Helper()
		l.check(t, "container", l.containers["r1"], otherAddr+":80", hostAddr)
		l.check(t, "container", l.containers["r1"], "["+otherAddr6+"]:80", hostAddr6)
		l.check(t, "stranger", l.other, "10.9.0.2:80", far)
		l.check(t, "stranger", l.other, "[fd00:9::2]:80", far)
	}
	reach("")
	killed.conn.CloseLasting()
	l.check(t, "stranger, after a kill", l.other, "10.9.0.2:80", "")
	table := open(t, l.host)
	must(t, table.AddNetwork(Network{Interface: "br-red", Subnets: nets, Masquerade: true, ICC: true}))
	must(t, table.Forward(true))
	if said := table.Warnings(); said != nil {
		t.Errorf("said again: %q", said)
	}
	reach("")
	must(t, table.Close())
	for name, want := range map[string]string{"ipv4/ip_forward": "0", "ipv6/conf/all/forwarding": "0", "ipv6/conf/lan0/accept_ra": "1"} {
		if got, err := l.host.Sysctl(name); err != nil || got != want {
			t.Errorf("%s is left at %s, %v", name, got, err)
		}
	}
	if rules := ruleset(t, l.host); rules != "" {
		t.Errorf("left:\n%s", rules)
	}
}

// What came after forwarding was switched on may rely on it.
func TestForwardStays(t *testing.T) {
	l := newLab(t)
	must(t, l.host.SetSysctl("ipv4/ip_forward", "0"))
	table := open(t, l.host)
	must(t, l.host.EnsureBridge(link.Bridge{Name: "br-red"}))
	must(t, table.AddNetwork(Network{Interface: "br-red", Subnets: prefixes("10.1.0.0/16")}))
	must(t, table.Forward(false))
	must(t, l.host.EnsureBridge(link.Bridge{Name: "docker0"}))
	must(t, table.Close())
	if got, err := l.host.Sysctl("ipv4/ip_forward"); err != nil || got != "1" {
		t.Errorf("ip_forward is %s, %v: somebody else's bridge needs it", got, err)
	}
	must(t, l.host.Remove("docker0"))
	must(t, l.host.Remove("br-red"))
	last := open(t, l.host)
	must(t, last.Close())
	if got, err := l.host.Sysctl("ipv4/ip_forward"); err != nil || got != "0" {
		t.Errorf("ip_forward is %s, %v: whoever ends last switches it off", got, err)
	}
	if rules := ruleset(t, l.host); rules != "" {
		t.Errorf("left:\n%s", rules)
	}
}

// Docker and host firewalls drop what is forwarded: containers get through, and
// nothing of ours stays.
func TestOthers(t *testing.T) {
	l := newLab(t)
	must(t, l.host.SetSysctl("ipv4/ip_forward", "1"))
	iptables := func(args ...string) string {
		t.Helper()
		var out []byte
		err := l.host.Do(func() (err error) {
			out, err = exec.Command("iptables-nft", args...).CombinedOutput()
			return err
		})
		if err != nil {
			t.Fatalf("iptables-nft %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	iptables("-P", "FORWARD", "DROP")
	iptables("-N", "DOCKER-USER")
	iptables("-A", "FORWARD", "-j", "DOCKER-USER")
	before := iptables("-S")
	nets := l.network(t, "br-red", 1, false, "r1")
	killed, err := Open(l.host, "berth-test")
	must(t, err)
	must(t, killed.AddNetwork(Network{Interface: "br-red", Subnets: nets, Masquerade: true}))
	killed.conn.CloseLasting()
	table := open(t, l.host)
	for range 2 {
		must(t, table.AddNetwork(Network{Interface: "br-red", Subnets: nets, Masquerade: true}))
	}
	must(t, table.AddNetwork(Network{Interface: "br-blue", Subnets: prefixes("10.2.0.0/16")}))
	l.check(t, "container", l.containers["r1"], otherAddr+":80", hostAddr)
	rules := iptables("-S")
	for _, want := range []string{"-A FORWARD -i br-red", "-A FORWARD -o br-red", "-A FORWARD -i br-blue"} {
		if strings.Count(rules, want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, rules)
		}
	}
	must(t, table.RemoveNetwork("br-blue"))
	if rules := iptables("-S"); strings.Contains(rules, "br-blue") || !strings.Contains(rules, "br-red") {
		t.Errorf("without br-blue:\n%s", rules)
	}
	if said := table.Warnings(); said != nil {
		t.Errorf("said: %q", said)
	}
	nft(t, l.host, "add table inet mine; add chain inet mine strict { type filter hook forward priority 0; policy drop; }")
	must(t, table.AddNetwork(Network{Interface: "br-red", Subnets: nets, Masquerade: true}))
	must(t, table.AddNetwork(Network{Interface: "br-red", Subnets: nets, Masquerade: true}))
	said := table.Warnings()
	if len(said) != 1 || !strings.Contains(said[0], "nft insert rule inet mine strict iifname br-red accept") {
		t.Fatalf("said: %q", said)
	}
	l.check(t, "container, before the advice", l.containers["r1"], otherAddr+":80", "")
	_, advice, _ := strings.Cut(said[0], "get out, nft ")
	nft(t, l.host, strings.ReplaceAll(advice, "; nft ", "; "))
	l.check(t, "container, after the advice", l.containers["r1"], otherAddr+":80", hostAddr)
	must(t, table.Close())
	if after := iptables("-S"); after != before {
		t.Errorf("the rules of iptables were\n%s\nand are\n%s", before, after)
	}
}

// The old iptables are read, not written: the user gets the command.
func TestLegacy(t *testing.T) {
	l := newLab(t)
	must(t, l.host.SetSysctl("ipv4/ip_forward", "1"))
	must(t, l.host.SetSysctl("ipv6/conf/all/forwarding", "1"))
	table := open(t, l.host)
	nets := l.network(t, "br-red", 1, false, "r1")
	add := func() []string {
		t.Helper()
		must(t, table.AddNetwork(Network{Interface: "br-red", Subnets: nets, Masquerade: true}))
		return table.Warnings()
	}
	sh := func(script string) {
		t.Helper()
		err := l.host.Do(func() error {
			out, err := exec.Command("sh", "-c", script).CombinedOutput()
			if err != nil {
				t.Logf("%s", out)
			}
			return err
		})
		if err != nil {
			t.Skipf("no old iptables here: %v", err)
		}
	}
	if said := add(); said != nil {
		t.Errorf("without any: %q", said)
	}
	sh("iptables-legacy -N MINE; iptables-legacy -A FORWARD -s 192.0.2.77 -j MINE; ip6tables-legacy -L")
	if said := add(); said != nil {
		t.Errorf("with the policy accept: %q", said)
	}
	sh("iptables-legacy -P FORWARD DROP; ip6tables-legacy -P FORWARD DROP")
	said := add()
	if len(said) != 2 || !strings.Contains(said[0], "iptables-legacy -I FORWARD -i br-red -j ACCEPT") || !strings.Contains(said[1], "ip6tables-legacy -I FORWARD -o br-red -j ACCEPT") {
		t.Fatalf("with the policy drop: %q", said)
	}
	l.check(t, "before the advice", l.containers["r1"], otherAddr+":80", "")
	for _, line := range said {
		_, advice, _ := strings.Cut(line, "get out, ")
		sh(advice)
	}
	l.check(t, "after the advice", l.containers["r1"], otherAddr+":80", hostAddr)
	l.check(t, "after the advice", l.containers["r1"], "["+otherAddr6+"]:80", hostAddr6)
}

func ruleset(t *testing.T, s *link.Space) string { return nft(t, s, "list", "ruleset") }

func nft(t *testing.T, s *link.Space, args ...string) string {
	t.Helper()
	var out []byte
	err := s.Do(func() (err error) {
		out, err = exec.Command("nft", args...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("nft %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
