package ports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The routing table of what comes back to addresses that are not the host's, and
// where its rules are: before the main table's (32766 in ip-rule(8)).
const (
	backTable    = 0xbe47
	backPriority = 1000
)

// Transparent dials into a network namespace with TCP sockets that bear the
// client's own address, so that the container sees who connects.
//
// What the container answers goes to an address that is somewhere else, and would
// leave the namespace. So a rule says that TCP packets from that container and
// port belong here, whatever their destination: a port that is listened on is
// none that the container connects from. For UDP that is not so (name servers and
// time servers ask from the port that they answer on), so it is not done there.
//
// Addresses that mean something else in the container cannot be kept: loopback,
// link-local ones, those of the other family. Where the kernel cannot do it at all
// (rules with ports are of Linux 4.17) the container sees the bridge's address.
type Transparent struct {
	do func(func() error) error

	mu    sync.Mutex
	rules map[netip.AddrPort]bool // whether there is one, for those tried
	ready map[int]error           // what making the table of a family gave
}

// NewTransparent returns a dialer; do runs a function on a thread in the
// namespace, with the rights of its root.
func NewTransparent(do func(func() error) error) *Transparent {
	return &Transparent{do: do, rules: map[netip.AddrPort]bool{}, ready: map[int]error{}}
}

// Dial is a [Dial].
func (t *Transparent) Dial(ctx context.Context, proto string, from, to netip.AddrPort) (net.Conn, error) {
	a := from.Addr().Unmap()
	if proto != "tcp" || a.Is4() != to.Addr().Is4() || !a.IsGlobalUnicast() || a.Zone() != "" || a == to.Addr() || !t.back(to) {
		return connect(ctx, t.do, proto, netip.AddrPort{}, to)
	}
	c, err := connect(ctx, t.do, proto, netip.AddrPortFrom(a, from.Port()), to)
	var call *os.SyscallError
	if errors.As(err, &call) && (call.Syscall == "bind" || call.Err == unix.EADDRNOTAVAIL) {
		// The client's port is in use there, or the kernel lets us not:
		// better without its address than not at all.
		return connect(ctx, t.do, proto, netip.AddrPort{}, to)
	}
	return c, err
}

// Forget removes the rules of a container's address, which another one may get.
func (t *Transparent) Forget(a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for to, made := range t.rules {
		if to.Addr() != a {
			continue
		}
		delete(t.rules, to)
		if made {
			_ = t.do(func() error { return netlink.RuleDel(backRule(to)) }) // at worst it stays until the next holder
		}
	}
}

// back reports whether what comes from a container's port comes back here, with
// the rule made at the first connection.
func (t *Transparent) back(to netip.AddrPort) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if made, tried := t.rules[to]; tried {
		return made
	}
	family := familyOf(to.Addr())
	err, tried := t.ready[family]
	if !tried {
		err = t.do(func() error { return makeBackTable(family) })
		t.ready[family] = err
	}
	if err == nil {
		err = t.do(func() error { return netlink.RuleAdd(backRule(to)) })
	}
	t.rules[to] = err == nil || errors.Is(err, unix.EEXIST)
	return t.rules[to]
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// backRule is: from ADDRESS ipproto tcp sport PORT lookup backTable.
func backRule(to netip.AddrPort) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Table, r.Priority = familyOf(to.Addr()), backTable, backPriority
	r.Src = &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Addr().BitLen(), to.Addr().BitLen())}
	r.IPProto, r.Sport = unix.IPPROTO_TCP, netlink.NewRulePortRange(to.Port(), to.Port())
	return r
}

// makeBackTable makes the table in which everything is delivered here, and removes
// the rules that a holder left which was killed.
func makeBackTable(family int) error {
	left, err := netlink.RuleListFiltered(family, &netlink.Rule{Table: backTable}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("read the rules of routing: %w", err)
	}
	for i := range left {
		left[i].Family = family
		if err := netlink.RuleDel(&left[i]); err != nil {
			return fmt.Errorf("remove a rule of routing: %w", err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	all := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if family == unix.AF_INET6 {
		all = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	return netlink.RouteReplace(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: all, Table: backTable, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST, Family: family,
	})
}
