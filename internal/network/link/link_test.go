package link

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// space makes a namespace for a test, which must be root, in its own user
// namespace or in the first one.
func space(t *testing.T) (*Space, *os.File) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, if only in a user namespace")
	}
	s, ns, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); ns.Close() })
	return s, ns
}

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// echo answers in the namespace with the address of who calls.
func echo(t *testing.T, s *Space, addr string) {
	t.Helper()
	var l net.Listener
	if err := s.Do(func() (err error) { l, err = net.Listen("tcp", addr); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	}()
}

// call asks an echo from the namespace.
func call(s *Space, addr string) (string, error) {
	var c net.Conn
	if err := s.Do(func() (err error) { c, err = net.DialTimeout("tcp", addr, 2*time.Second); return err }); err != nil {
		return "", err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}

func TestBridge(t *testing.T) {
	s, _ := space(t)
	must(t, s.EnsureBridge(Bridge{Name: "br-one", Addresses: prefixes("10.1.0.1/24", "fd00:1::1/64"), MTU: 9000}))
	a, nsA := space(t)
	b, nsB := space(t)
	for i, ns := range []*os.File{nsA, nsB} {
		must(t, s.Attach(Pair{Bridge: "br-one", Name: fmt.Sprintf("veth%d", i), Inner: Inner{
			Namespace: ns, Name: "eth0", MAC: fmt.Sprintf("02:42:0a:01:00:0%d", i+2),
			Addresses: prefixes(fmt.Sprintf("10.1.0.%d/24", i+2), fmt.Sprintf("fd00:1::%d/64", i+2)),
			Gateways:  []netip.Addr{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("fd00:1::1")},
		}}))
	}
	echo(t, b, ":80")
	echo(t, s, ":81")
	for _, c := range []struct {
		from       *Space
		addr, want string
	}{
		{a, "10.1.0.3:80", "10.1.0.2"},
		{a, "[fd00:1::3]:80", "fd00:1::2"},
		{a, "10.1.0.1:81", "10.1.0.2"},
		{s, "10.1.0.3:80", "10.1.0.1"},
		{s, "[fd00:1::3]:80", "fd00:1::1"},
	} {
		if got, err := call(c.from, c.addr); err != nil || got != c.want {
			t.Errorf("%s answered %q, %v; want %s", c.addr, got, err, c.want)
		}
	}
	if m, err := a.MTU(); err != nil || m != 9000 {
		t.Errorf("the container's MTU is %d, %v", m, err)
	}
	links, err := a.Links()
	must(t, err)
	i := slices.IndexFunc(links, func(l Link) bool { return l.Name == "eth0" })
	if i < 0 || !slices.Contains(links[i].Addresses, netip.MustParsePrefix("10.1.0.2/24")) {
		t.Errorf("the container's interfaces are %+v", links)
	}
	p, err := a.Prefixes()
	must(t, err)
	if !slices.Contains(p, netip.MustParsePrefix("10.1.0.0/24")) || !slices.Contains(p, netip.MustParsePrefix("fd00:1::/64")) {
		t.Errorf("the container's routes are %v", p)
	}
}

// A bridge that is there is mended, and what is no bridge is left alone.
func TestBridgeAgain(t *testing.T) {
	s, _ := space(t)
	must(t, s.EnsureBridge(Bridge{Name: "br-one", Addresses: prefixes("10.1.0.1/24", "fd00:1::1/64")}))
	must(t, s.EnsureBridge(Bridge{Name: "br-one", Addresses: prefixes("10.2.0.1/16"), MTU: 1400}))
	links, err := s.Links()
	must(t, err)
	for _, l := range links {
		if l.Name == "br-one" && (l.MTU != 1400 || !slices.Equal(l.Addresses, prefixes("10.2.0.1/16"))) {
			t.Errorf("the bridge is %+v", l)
		}
	}
	_, ns := space(t)
	must(t, s.Attach(Pair{Bridge: "br-one", Name: "veth0", Inner: Inner{Namespace: ns, Name: "eth0"}}))
	err = s.EnsureBridge(Bridge{Name: "veth0", Addresses: prefixes("10.3.0.1/16")})
	if err == nil || !strings.Contains(err.Error(), "of type veth") {
		t.Errorf("a virtual interface was taken for a bridge: %v", err)
	}
	must(t, s.Remove("br-one"))
	must(t, s.Remove("br-one"))
}

// A container that starts again meets its own old interface, whose namespace has
// not quite gone.
func TestAttachAgain(t *testing.T) {
	s, _ := space(t)
	must(t, s.EnsureBridge(Bridge{Name: "br-one", Addresses: prefixes("10.1.0.1/24")}))
	_, old := space(t)
	n, ns := space(t)
	pair := Pair{Bridge: "br-one", Name: "veth0", Inner: Inner{Namespace: old, Name: "eth0", Addresses: prefixes("10.1.0.2/24")}}
	must(t, s.Attach(pair))
	err := s.Attach(pair)
	must(t, err) // the same place twice: the old interface goes first
	pair.Name = "veth1"
	if err := s.Attach(pair); err == nil || !strings.Contains(err.Error(), "has an interface eth0 already") {
		t.Errorf("a second eth0: %v", err)
	}
	pair.Name, pair.Namespace = "veth0", ns
	must(t, s.Attach(pair))
	echo(t, s, "10.1.0.1:80")
	if got, err := call(n, "10.1.0.1:80"); err != nil || got != "10.1.0.2" {
		t.Errorf("the new container's call: %q, %v", got, err)
	}
	must(t, Detach(pair.Inner))
	links, err := s.Links()
	must(t, err)
	for _, l := range links {
		if l.Type == "veth" {
			t.Errorf("left: %+v", l)
		}
	}
}

// Without --icc the ports of a bridge reach the bridge, not each other.
func TestIsolated(t *testing.T) {
	s, _ := space(t)
	must(t, s.EnsureBridge(Bridge{Name: "br-one", Addresses: prefixes("10.1.0.1/24")}))
	a, nsA := space(t)
	b, nsB := space(t)
	must(t, s.Attach(Pair{Bridge: "br-one", Name: "veth0", Isolated: true, Inner: Inner{Namespace: nsA, Name: "eth0", Addresses: prefixes("10.1.0.2/24")}}))
	must(t, s.Attach(Pair{Bridge: "br-one", Name: "veth1", Isolated: true, Inner: Inner{Namespace: nsB, Name: "eth0", Addresses: prefixes("10.1.0.3/24")}}))
	echo(t, b, ":80")
	echo(t, s, ":80")
	if got, err := call(a, "10.1.0.3:80"); err == nil {
		t.Errorf("a port that is kept apart answered %q", got)
	}
	if got, err := call(a, "10.1.0.1:80"); err != nil || got != "10.1.0.2" {
		t.Errorf("the bridge answered %q, %v", got, err)
	}
}

func TestMacvlan(t *testing.T) {
	lan, _ := space(t)
	s, host := space(t)
	must(t, lan.EnsureBridge(Bridge{Name: "br-lan"}))
	must(t, lan.Attach(Pair{Bridge: "br-lan", Name: "veth0", Inner: Inner{Namespace: host, Name: "lan0"}}))
	a, nsA := space(t)
	b, nsB := space(t)
	must(t, s.Macvlan(Macvlan{Parent: "lan0", Inner: Inner{Namespace: nsA, Name: "eth0", MAC: "02:00:00:00:00:0a", Addresses: prefixes("10.1.0.2/24")}}))
	must(t, s.Macvlan(Macvlan{Parent: "lan0", Mode: "bridge", Inner: Inner{Namespace: nsB, Name: "eth0", Addresses: prefixes("10.1.0.3/24")}}))
	echo(t, b, ":80")
	if got, err := call(a, "10.1.0.3:80"); err != nil || got != "10.1.0.2" {
		t.Errorf("the neighbour answered %q, %v", got, err)
	}
	if err := s.Macvlan(Macvlan{Parent: "lan0", Mode: "no", Inner: Inner{Namespace: nsB, Name: "eth1"}}); err == nil || !strings.Contains(err.Error(), `unknown macvlan mode "no"`) {
		t.Errorf("a mode that is none: %v", err)
	}
	if err := s.Macvlan(Macvlan{Parent: "lan9", Inner: Inner{Namespace: nsB, Name: "eth1"}}); err == nil || !strings.Contains(err.Error(), "lan9") {
		t.Errorf("a parent that is not there: %v", err)
	}
}

// The way out moves to another network when the one it went over is left.
func TestSetGateways(t *testing.T) {
	s, _ := space(t)
	c, ns := space(t)
	for i := range 2 {
		must(t, s.EnsureBridge(Bridge{Name: fmt.Sprintf("br%d", i), Addresses: prefixes(fmt.Sprintf("10.%d.0.1/24", i))}))
		must(t, s.Attach(Pair{Bridge: fmt.Sprintf("br%d", i), Name: fmt.Sprintf("veth%d", i), Inner: Inner{
			Namespace: ns, Name: fmt.Sprintf("eth%d", i), Addresses: prefixes(fmt.Sprintf("10.%d.0.2/24", i))}}))
	}
	must(t, s.EnsureBridge(Bridge{Name: "far-br", Addresses: prefixes("192.168.7.7/32")}))
	echo(t, s, "192.168.7.7:80")
	for i := range 2 {
		must(t, SetGateways(ns, fmt.Sprintf("eth%d", i), []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.%d.0.1", i))}))
		if got, err := call(c, "192.168.7.7:80"); err != nil || got != fmt.Sprintf("10.%d.0.2", i) {
			t.Errorf("over eth%d: %q, %v", i, got, err)
		}
	}
}

// Kernels for virtual machines often lack dummy interfaces.
func TestDummy(t *testing.T) {
	s, _ := space(t)
	err := s.EnsureDummy("dm-one")
	if err != nil {
		if !strings.Contains(err.Error(), "CONFIG_DUMMY") {
			t.Error(err)
		}
		return
	}
	must(t, s.EnsureDummy("dm-one"))
	must(t, s.Remove("dm-one"))
}

func TestManyAtOnce(t *testing.T) {
	s, _ := space(t)
	must(t, s.EnsureBridge(Bridge{Name: "br-one", Addresses: prefixes("10.1.0.1/16")}))
	var wait sync.WaitGroup
	for i := range 20 {
		c, ns := space(t)
		wait.Add(1)
		go func() {
			defer wait.Done()
			if err := s.Attach(Pair{Bridge: "br-one", Name: fmt.Sprintf("veth%d", i), Inner: Inner{Namespace: ns, Name: "eth0", Addresses: prefixes(fmt.Sprintf("10.1.1.%d/16", i))}}); err != nil {
				t.Error(err)
			}
			_ = c
		}()
	}
	wait.Wait()
	links, err := s.Links()
	must(t, err)
	n := 0
	for _, l := range links {
		if l.Type == "veth" && l.Bridge == "br-one" {
			n++
		}
	}
	if n != 20 {
		t.Errorf("%d ports of 20", n)
	}
}

func TestClosed(t *testing.T) {
	s, _ := space(t)
	s.Close()
	s.Close()
	if err := s.Do(func() error { return nil }); err == nil {
		t.Error("a thread that has ended worked")
	}
	if err := s.EnsureBridge(Bridge{Name: "br-one"}); err == nil {
		t.Error("a closed space made a bridge")
	}
}

// What an ordinary account's holder does: root of a user namespace only, while
// the process is in the host's network namespace.
func TestAsAccount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become an ordinary account")
	}
	exe := t.TempDir() + "/link.test"
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(exe, self, 0o755))
	for dir := exe; dir != "/tmp"; dir = dir[:strings.LastIndexByte(dir, '/')] {
		os.Chmod(dir, 0o755)
	}
	c := exec.Command(exe, "-test.run", "^Test(Bridge|BridgeAgain|AttachAgain|Isolated|SetGateways|ManyAtOnce)$", "-test.v")
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		Credential:  &syscall.Credential{},
		UidMappings: []syscall.SysProcIDMap{{HostID: 54321, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: 54321, Size: 1}},

		GidMappingsEnableSetgroups: true,
	}
	out, err := c.CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("SKIP")) || bytes.Count(out, []byte("--- PASS")) != 6 {
		t.Errorf("%v\n%s", err, out)
	}
}

// BenchmarkAttach is a part of every start of a container on a bridge.
func BenchmarkAttach(b *testing.B) {
	s, sns, err := New()
	if err != nil {
		b.Skip(err)
	}
	defer sns.Close()
	defer s.Close()
	if err := s.EnsureBridge(Bridge{Name: "br-one", Addresses: prefixes("10.1.0.1/16")}); err != nil {
		b.Fatal(err)
	}
	least := time.Hour
	for b.Loop() {
		b.StopTimer()
		c, ns, err := New()
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		from := time.Now()
		err = s.Attach(Pair{Bridge: "br-one", Name: "veth0", Inner: Inner{Namespace: ns, Name: "eth0", Addresses: prefixes("10.1.0.2/16"), Gateways: []netip.Addr{netip.MustParseAddr("10.1.0.1")}}})
		least = min(least, time.Since(from))
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		s.Remove("veth0")
		c.Close()
		ns.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(least.Microseconds()), "µs-least")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
