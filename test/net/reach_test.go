package nettest

import (
	"fmt"
	"strings"
	"testing"

	"berth/internal/network/link"
)

// somebody stands for an address that is not promised.
const somebody = "somebody"

// expectation is who is called and which address he must see; none: nobody may
// answer.
type expectation struct {
	what, addr, root, user string
}

// TestReach is who reaches whom, over both protocols and families, and under
// which address.
func TestReach(t *testing.T) {
	hosts(t, func(h *host) {
		h.berth("network", "create", "--ipv6", "--subnet", "10.81.0.0/24", "--subnet", "fd00:81::/64", "red")
		h.berth("network", "create", "--ipv6", "--subnet", "10.82.0.0/24", "--subnet", "fd00:82::/64", "blue")
		h.berth("network", "create", "--internal", "--subnet", "10.83.0.0/24", "dark")
		h.run("r1", "--network", "red", "--ip", "10.81.0.11", "--ip6", "fd00:81::11", "-p", "8080:80", "-p", "8080:80/udp", "-p", hostAddr+":8081:80", "-p", "127.0.0.1:8082:80")
		h.run("r2", "--network", "red", "--ip", "10.81.0.12", "--ip6", "fd00:81::12", "--network-alias", "second")
		h.run("b1", "--network", "blue", "--ip", "10.82.0.11", "--ip6", "fd00:82::11")
		h.run("d1", "--network", "dark", "--ip", "10.83.0.11")
		h.run("d2", "--network", "dark", "--ip", "10.83.0.12")
		h.expect("r1", []expectation{
			{"same network", "10.81.0.12:80", "10.81.0.11", "10.81.0.11"},
			{"same network", "[fd00:81::12]:80", "fd00:81::11", "fd00:81::11"},
			{"other network", "10.82.0.11:80", "", ""},
			{"other network", "[fd00:82::11]:80", "", ""},
			{"internal network", "10.83.0.11:80", "", ""},
			{"other host", otherAddr + ":80", hostAddr, hostAddr},
			{"other host", "[" + otherAddr6 + "]:80", hostAddr6, hostAddr6},
			{"own published port", hostAddr + ":8080", somebody, somebody},
			{"name", "r2:80", somebody, somebody},
			{"alias", "second:80", somebody, somebody},
			{"name of another network", "b1:80", "", ""},
		})
		h.expect("b1", []expectation{
			{"published port of another network", hostAddr + ":8080", somebody, somebody},
			{"name of another network", "r1:80", "", ""},
			{"other network", "10.81.0.11:80", "", ""},
		})
		h.expect("d1", []expectation{
			{"same internal network", "10.83.0.12:80", "10.83.0.11", "10.83.0.11"},
			{"name in an internal network", "d2:80", "10.83.0.11", "10.83.0.11"},
			{"other host", otherAddr + ":80", "", ""},
			{"other network", "10.81.0.11:80", "", ""},
		})
		h.expectFrom("the host", h.here, []expectation{
			{"container", "10.81.0.11:80", "10.81.0.1", ""},
			{"published port at loopback", "127.0.0.1:8080", somebody, somebody},
			{"published port at loopback", "[::1]:8080", somebody, somebody},
			{"published port", hostAddr + ":8080", hostAddr, somebody},
			{"published port", "[" + hostAddr6 + "]:8080", hostAddr6, somebody},
		})
		h.expectFrom("other host", h.other, []expectation{
			{"container", "10.81.0.11:80", "", ""},
			{"container", "[fd00:81::11]:80", "", ""},
			{"published port", hostAddr + ":8080", otherAddr, otherAddr + " or somebody"},
			{"published port", "[" + hostAddr6 + "]:8080", otherAddr6, otherAddr6 + " or somebody"},
			{"port published at loopback", hostAddr + ":8082", "", ""},
			{"port not published", hostAddr + ":8079", "", ""},
		})
		one := h.callsFrom(h.other, "tcp/"+hostAddr+":8081", "tcp/["+hostAddr6+"]:8081")
		if one["tcp/"+hostAddr+":8081"] != otherAddr || one["tcp/["+hostAddr6+"]:8081"] != "" {
			t.Errorf("a port at one address: %v", one)
		}
		h.berth("rm", "-f", "r1", "r2", "b1", "d1", "d2")
		h.berth("network", "rm", "red", "blue", "dark")
		h.clean()
	})
}

// TestConnect: a container that joins another network while it runs is found
// there at once, and no longer when it has left.
func TestConnect(t *testing.T) {
	hosts(t, func(h *host) {
		h.berth("network", "create", "red")
		h.berth("network", "create", "blue")
		h.run("r1", "--network", "red")
		h.run("b1", "--network", "blue")
		ask := func(want bool) {
			h.t.Helper()
			if got := h.calls("b1", "tcp/r1:80", "udp/r1:80"); (got["tcp/r1:80"] != "") != want || (got["udp/r1:80"] != "") != want {
				h.t.Errorf("b1 reaches r1: %v, want %v", got, want)
			}
		}
		ask(false)
		h.berth("network", "connect", "blue", "r1")
		ask(true)
		h.berth("network", "disconnect", "blue", "r1")
		ask(false)
		h.berth("rm", "-f", "r1", "b1")
		h.berth("network", "prune", "-f")
		h.clean()
	})
}

// expect asks from a container by both protocols, all at once.
func (h *host) expect(container string, list []expectation) {
	h.t.Helper()
	h.compare(container, list, h.calls(container, both(list)...))
}

func (h *host) expectFrom(name string, s *link.Space, list []expectation) {
	h.t.Helper()
	h.compare(name, list, h.callsFrom(s, both(list)...))
}

func both(list []expectation) []string {
	var all []string
	for _, e := range list {
		all = append(all, "tcp/"+e.addr, "udp/"+e.addr)
	}
	return all
}

func (h *host) compare(from string, list []expectation, got map[string]string) {
	h.t.Helper()
	for _, e := range list {
		for _, proto := range []string{"tcp", "udp"} {
			want := e.root
			if h.uid != 0 {
				want = e.user
				// An account keeps the addresses of those who connect, not of those who
				// send datagrams.
				if a, both := strings.CutSuffix(want, " or "+somebody); both {
					if want = a; proto == "udp" {
						want = somebody
					}
				}
			}
			addr := fmt.Sprintf("%s/%s", proto, e.addr)
			seen := got[addr]
			if seen == want || want == somebody && seen != "" {
				continue
			}
			h.t.Errorf("%s, %s, %s: was seen as %q, want %q", from, e.what, addr, seen, want)
		}
	}
}
