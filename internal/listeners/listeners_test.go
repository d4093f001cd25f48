package listeners

import (
	"net"
	"net/netip"
	"os"
	"reflect"
	"testing"
)

const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1234 1 0 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1235 1 0 100 0 0 10 0
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 1236 1 0 20 4 30 10 -1
   3: nonsense
`

const table6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0000000000000000FFFF00000100007F:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 1 1 0 100 0 0 10 0
   1: 00000000000000000000000001000000:1F92 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 1 1 0 100 0 0 10 0
`

func TestParse(t *testing.T) {
	got := append(parse(table, "tcp", tcpListen), parse(table6, "tcp", tcpListen)...)
	want := []Listener{
		{"tcp", netip.MustParseAddr("127.0.0.1"), 8080, 1000},
		{"tcp", netip.MustParseAddr("0.0.0.0"), 22, 0},
		{"tcp", netip.MustParseAddr("127.0.0.1"), 8081, 1001},
		{"tcp", netip.MustParseAddr("::1"), 8082, 1001},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	for _, c := range []struct {
		addr, proto string
		port        uint16
		want        bool
	}{
		{"", "tcp", 8080, true}, {"0.0.0.0", "tcp", 8080, true}, {"127.0.0.1", "tcp", 8080, true}, {"127.0.0.2", "tcp", 8080, false},
		{"127.0.0.2", "tcp", 22, true}, {"", "udp", 8080, false}, {"", "tcp", 8083, false}, {"::1", "tcp", 8082, true},
	} {
		var addr netip.Addr
		if c.addr != "" {
			addr = netip.MustParseAddr(c.addr)
		}
		if _, ok := Find(got, c.proto, addr, c.port); ok != c.want {
			t.Errorf("%+v: %v", c, ok)
		}
	}
	if got := Free(got, "tcp", 8080); got != 8083 {
		t.Errorf("free: %d", got)
	}
	if got := Free(nil, "tcp", 65535); got != 0 {
		t.Errorf("none is free: %d", got)
	}
}

func TestList(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	list := List()
	for _, c := range []struct {
		proto string
		addr  net.Addr
	}{{"tcp", tcp.Addr()}, {"udp", udp.LocalAddr()}} {
		at := netip.MustParseAddrPort(c.addr.String())
		l, ok := Find(list, c.proto, at.Addr(), at.Port())
		if !ok || l.UID != os.Getuid() {
			t.Errorf("%s %s: %+v, %v", c.proto, at, l, ok)
		}
	}
}
