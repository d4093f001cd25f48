package names

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/network/networktest"

	"golang.org/x/net/dns/dnsmessage"
)

func loopbackUp(t *testing.T) {
	t.Helper()
	if err := raiseLoopback(); err != nil {
		t.Fatal(err)
	}
}

// upstream is a server on loopback that reply answers for: nil is silence.
func upstream(t *testing.T, reply func(msg []byte, proto string) [][]byte) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			for _, a := range reply(slices.Clone(b[:n]), "udp") {
				u.WriteTo(a, from)
			}
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, err := readMessage(c)
				if err != nil {
					return
				}
				for _, a := range reply(b, "tcp") {
					writeMessage(c, a)
				}
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// answerA answers a question with an address, and a code.
func answerA(msg []byte, code dnsmessage.RCode, addr string) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		return nil
	}
	m.Response, m.RCode, m.Additionals = true, code, nil
	if addr != "" {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 77},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(addr).As4()},
		}}
	}
	b, _ := m.Pack()
	return b
}

func list(servers ...netip.AddrPort) *Upstream {
	var d net.Dialer
	return newUpstream(func() []netip.AddrPort { return servers }, d.DialContext)
}

func ask(t *testing.T, proto, name string) string {
	t.Helper()
	c, err := net.Dial(proto, "127.0.0.11:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	q := query(t, name, dnsmessage.TypeA, 0)
	b := make([]byte, 4096)
	if proto == "tcp" {
		if err := writeMessage(c, q); err != nil {
			t.Fatal(err)
		}
		if b, err = readMessage(c); err != nil {
			t.Fatal(err)
		}
	} else {
		c.Write(q)
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b = b[:n]
	}
	if binary.BigEndian.Uint16(b) != 0x1234 {
		t.Errorf("%s: the answer belongs to another question", name)
	}
	return summary(t, b)
}

// TestServe: the kernel's way from port 53 to the server and back, with a server
// of the container's own beside it, and answers from containers and from outside.
func TestServe(t *testing.T) {
	if !networktest.Alone(t) {
		return
	}
	udp, tcp, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	if portOf(udp.LocalAddr()) == Port {
		t.Skip("this kernel has no nf_tables")
	}
	for _, addr := range []string{"0.0.0.0:53", "127.0.0.1:53"} {
		if l, err := net.Listen("tcp", addr); err != nil {
			t.Error(err)
		} else {
			l.Close()
		}
	}
	if c, err := net.ListenPacket("udp", ":53"); err != nil {
		t.Error(err)
	} else {
		defer c.Close()
	}
	up := upstream(t, func(m []byte, proto string) [][]byte {
		return [][]byte{answerA(m, 0, map[string]string{"udp": "1.1.1.1", "tcp": "2.2.2.2"}[proto])}
	})
	stop := Serve(udp, tcp, sample().Of("web2", nil), list(up))
	defer stop()
	for _, tt := range [][3]string{
		{"udp", "web1.", "Success 172.18.0.2"}, {"tcp", "web1.", "Success 172.18.0.2"},
		{"udp", "example.com.", "Success 1.1.1.1"}, {"tcp", "example.com.", "Success 2.2.2.2"},
	} {
		if got := ask(t, tt[0], tt[1]); got != tt[2] {
			t.Errorf("%s over %s: %s, want %s", tt[1], tt[0], got, tt[2])
		}
	}
	// Another holder takes over.
	stop()
	if udp, tcp, err = Listen(); err != nil {
		t.Fatal(err)
	}
	stop = Serve(udp, tcp, sample().Of("web2", nil), nil)
	if got := ask(t, "udp", "web1.") + ask(t, "tcp", "web1."); got != "Success 172.18.0.2Success 172.18.0.2" {
		t.Error("after the takeover:", got)
	}
}

// TestWithoutRules: where rules are refused, the server is on port 53.
func TestWithoutRules(t *testing.T) {
	if !networktest.Alone(t) {
		return
	}
	loopbackUp(t)
	udp, tcp, err := listen(Port)
	if err != nil {
		t.Fatal(err)
	}
	defer Serve(udp, tcp, sample().Of("db", nil), nil)()
	if got := ask(t, "udp", "web1.") + ask(t, "tcp", "www."); got != "Success 172.19.0.2ServerFailure" {
		t.Error(got)
	}
}

func TestUpstream(t *testing.T) {
	good := upstream(t, func(m []byte, _ string) [][]byte { return [][]byte{answerA(m, 0, "1.1.1.1")} })
	silent := upstream(t, func([]byte, string) [][]byte { return nil })
	failing := upstream(t, func(m []byte, _ string) [][]byte { return [][]byte{answerA(m, rcodeServerFailure, "")} })
	refusing := upstream(t, func(m []byte, _ string) [][]byte { return [][]byte{answerA(m, dnsmessage.RCodeRefused, "")} })
	none := upstream(t, func(m []byte, _ string) [][]byte {
		return [][]byte{answerA(m, dnsmessage.RCodeNameError, "")}
	})
	lying := upstream(t, func(m []byte, _ string) [][]byte { // foreign answers before the right one
		other := slices.Clone(m)
		other[0]++
		wrong := answerA(m, 0, "6.6.6.6")
		wrong[13] ^= 1 // of another name
		return [][]byte{answerA(other, 0, "6.6.6.6"), m, {1, 2, 3}, wrong, answerA(m, 0, "3.3.3.3")}
	})
	gone := netip.MustParseAddrPort("127.0.0.1:1")
	for name, tt := range map[string]struct {
		up   *Upstream
		want string
	}{
		"one":            {list(good), "Success 1.1.1.1"},
		"first silent":   {list(silent, good), "Success 1.1.1.1"},
		"first gone":     {list(gone, good), "Success 1.1.1.1"},
		"first failing":  {list(failing, good), "Success 1.1.1.1"},
		"all refuse":     {list(failing, refusing), "Refused"},
		"no such name":   {list(none, good), "NameError"},
		"forged answers": {list(lying), "Success 3.3.3.3"},
		"gone":           {list(gone), "ServerFailure"},
		"no server":      {list(), "ServerFailure"},
	} {
		t.Run(name, func(t *testing.T) {
			q, _ := parse(query(t, "example.com.", dnsmessage.TypeA, 0), false)
			a := tt.up.ask(t.Context(), q, "udp")
			if got := summary(t, a); got != tt.want || binary.BigEndian.Uint16(a) != 0x1234 {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
	// What did not answer is asked last from then on.
	up := list(silent, good)
	q, _ := parse(query(t, "example.com.", dnsmessage.TypeA, 0), false)
	up.ask(t.Context(), q, "udp")
	if got := up.order(); got[0] != good {
		t.Errorf("asked next: %v", got)
	}
}

// TestBounds: questions without number are refused while those before them wait,
// and the end waits for nobody.
func TestBounds(t *testing.T) {
	if !networktest.Alone(t) {
		return
	}
	loopbackUp(t)
	var asked atomic.Int32
	silent := upstream(t, func([]byte, string) [][]byte { asked.Add(1); return nil })
	udp, tcp, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	stop := Serve(udp, tcp, sample().Of("web2", nil), list(silent))
	c, err := net.Dial("udp", "127.0.0.11:53")
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range 2 * maxForwards {
		c.Write(query(t, fmt.Sprintf("n%d.example.com.", i), dnsmessage.TypeA, 0))
		if i < maxForwards {
			continue
		}
		b := make([]byte, 512)
		c.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := c.Read(b); err == nil && summary(t, b[:n]) == "ServerFailure" {
			refused++
		}
	}
	if refused < maxForwards/2 || asked.Load() > maxForwards {
		t.Errorf("%d questions were refused, %d passed on", refused, asked.Load())
	}
	var conns []net.Conn
	for range maxConns + 4 {
		c, err := net.Dial("tcp", "127.0.0.11:53")
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	start := time.Now()
	stop()
	if d := time.Since(start); d > serverWait {
		t.Errorf("stopping took %v", d)
	}
	for _, c := range conns {
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("a connection outlived the server: %v", err)
		}
	}
	for i := 0; runtime.NumGoroutine() > before && i < 100; i++ {
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines are left of the server", n-before)
	}
}

func TestFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	f := &followed{path: path}
	see := func() string {
		f.looked = time.Time{}
		return fmt.Sprint(f.servers())
	}
	if got := see(); got != "[127.0.0.1:53]" {
		t.Error("no file:", got)
	}
	for _, tt := range [][2]string{
		{"nameserver 10.0.0.1\n", "[10.0.0.1:53]"},
		{"nameserver 127.0.0.53\nnameserver fe80::1%eth0\n", "[127.0.0.53:53 [fe80::1%eth0]:53]"},
		{"search x\n", "[127.0.0.1:53]"},
	} {
		if err := os.WriteFile(path+"~", []byte(tt[0]), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+"~", path); err != nil {
			t.Fatal(err)
		}
		if got := see(); got != tt[1] {
			t.Errorf("%q: %s", tt[0], got)
		}
	}
	os.WriteFile(path, []byte("nameserver 10.0.0.2\n"), 0o644)
	see()
	os.Remove(path)
	if got := see(); got != "[10.0.0.2:53]" {
		t.Error("after the file went:", got)
	}
}

// TestServersFromInside: those that a container names are reached by its own
// way of dialing.
func TestServersFromInside(t *testing.T) {
	var dialed []string
	up := Servers(addrs("10.9.9.9", "fd00::9"), func(_ context.Context, network, address string) (net.Conn, error) {
		dialed = append(dialed, network+" "+address)
		return nil, net.ErrClosed
	})
	q, _ := parse(query(t, "example.com.", dnsmessage.TypeA, 0), false)
	if got := summary(t, up.ask(t.Context(), q, "udp")); got != "ServerFailure" {
		t.Error(got)
	}
	if got := strings.Join(dialed, ", "); got != "udp 10.9.9.9:53, udp [fd00::9]:53" {
		t.Error(got)
	}
}
