package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Rule leads a port of the host to a container. Published ports are elements of
// maps, not rules: a packet is looked up once, however many there are.
type Rule struct {
	Proto     string     // tcp, udp, sctp
	HostIP    netip.Addr // unspecified, 0.0.0.0 or ::, for all of its family
	HostPort  uint16
	To        netip.AddrPort // of the same family
	Interface string         // the bridge it is behind
}

// key chooses a map: those of one address are asked before those of all.
type key struct {
	v6, any bool
}

func (k key) name() string {
	name := "ports"
	if k.v6 {
		name += "6"
	} else {
		name += "4"
	}
	if k.any {
		return name + "-all"
	}
	return name
}

// Publish adds a rule. Packets to loopback addresses never come by here: for
// them, the port's listener forwards.
func (t *Table) Publish(r Rule) error {
	set, elem, err := t.element(r)
	if err != nil || set == nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err = t.conn.SetAddElements(set, []nftables.SetElement{elem}); err == nil {
		err = t.flush()
	}
	if err != nil {
		return fmt.Errorf("publish port %s:%d/%s: %w", r.HostIP, r.HostPort, r.Proto, err)
	}
	return nil
}

// Unpublish takes a rule back; one that is not there is no error. Datagrams of
// old flows do not reach whoever gets the container's address next.
func (t *Table) Unpublish(r Rule) error {
	set, elem, err := t.element(r)
	if err != nil || set == nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	elem.Val = nil
	if err = t.conn.SetDeleteElements(set, []nftables.SetElement{elem}); err == nil {
		err = t.flush()
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("take port %s:%d/%s back: %w", r.HostIP, r.HostPort, r.Proto, err)
	}
	if r.Proto == "udp" {
		return t.forgetFlows(r)
	}
	return nil
}

// element is the rule's place in its map; the map is nil where there is nothing
// to do.
func (t *Table) element(r Rule) (*nftables.Set, nftables.SetElement, error) {
	none := nftables.SetElement{}
	number, err := protocol(r.Proto)
	if err != nil {
		return nil, none, err
	}
	if !r.HostIP.IsValid() || r.HostIP.Is4() != r.To.Addr().Is4() {
		return nil, none, fmt.Errorf("publish port %d/%s: no address of the host's of the family of %s", r.HostPort, r.Proto, r.To)
	}
	if r.HostIP.IsLoopback() {
		return nil, none, nil
	}
	k := key{v6: r.HostIP.Is6(), any: r.HostIP.IsUnspecified()}
	var id []byte
	if !k.any {
		id = r.HostIP.AsSlice()
	}
	// Every part of a concatenation fills registers of 4 bytes.
	id = append(id, number, 0, 0, 0)
	id = append(binary.BigEndian.AppendUint16(id, r.HostPort), 0, 0)
	to := append(binary.BigEndian.AppendUint16(r.To.Addr().AsSlice(), r.To.Port()), 0, 0)
	return t.ports[k], nftables.SetElement{Key: id, Val: to}, nil
}

func protocol(name string) (byte, error) {
	switch name {
	case "tcp":
		return unix.IPPROTO_TCP, nil
	case "udp":
		return unix.IPPROTO_UDP, nil
	case "sctp":
		return unix.IPPROTO_SCTP, nil
	}
	return 0, fmt.Errorf("no protocol with ports: %q", name)
}

// publishedRules queues the maps and the rules that ask them.
func (t *Table) publishedRules(c *nftables.Chain) {
	t.ports = map[key]*nftables.Set{}
	for i, k := range []key{{}, {any: true}, {v6: true}, {v6: true, any: true}} {
		addr, f, size := nftables.TypeIPAddr, byte(unix.NFPROTO_IPV4), uint32(4)
		if k.v6 {
			addr, f, size = nftables.TypeIP6Addr, unix.NFPROTO_IPV6, 16
		}
		from := []nftables.SetDatatype{addr, nftables.TypeInetProto, nftables.TypeInetService}
		if k.any {
			from = from[1:]
		}
		set := &nftables.Set{
			Table: t.table, ID: uint32(i + 1), Name: k.name(), IsMap: true, Concatenation: true,
			KeyType: concat(from...), DataType: concat(addr, nftables.TypeInetService),
		}
		// It can fail only if the lengths of the types do not fit each other.
		t.conn.AddSet(set, nil)
		t.ports[k] = set
		t.rule(c, family(f), lookup(k, set), dnat(f, size))
	}
}

// concat is a type made of several. The library refuses only what is longer than
// five types.
func concat(types ...nftables.SetDatatype) nftables.SetDatatype {
	t, err := nftables.ConcatSetType(types...)
	if err != nil {
		panic(err)
	}
	return t
}

// lookup loads what the map asks for and puts what it answers into the registers
// from the first on; the rule ends here if it has no answer.
func lookup(k key, set *nftables.Set) []expr.Any {
	var e []expr.Any
	next := uint32(reg32)
	if !k.any {
		offset, size := uint32(16), uint32(4)
		if k.v6 {
			offset, size = 24, 16
		}
		e = append(e, &expr.Payload{DestRegister: next, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size})
		next += size / 4
	}
	return append(e,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: next},
		// The destination port is at the same place in TCP, UDP and SCTP.
		&expr.Payload{DestRegister: next + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: reg32, DestRegister: reg32, IsDestRegSet: true, SetName: set.Name, SetID: set.ID})
}

func dnat(f byte, size uint32) []expr.Any {
	return []expr.Any{&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f), RegAddrMin: reg32, RegProtoMin: reg32 + size/4}}
}

// forgetFlows removes what the kernel remembers of datagrams to a port: it would
// send them to the old container for as long as they come.
func (t *Table) forgetFlows(r Rule) error {
	if t.track == nil {
		err := t.space.Do(func() (err error) {
			t.track, err = netlink.NewHandle(unix.NETLINK_NETFILTER)
			return err
		})
		if err != nil {
			return fmt.Errorf("connections of port %d/udp: %w", r.HostPort, err)
		}
	}
	f := &netlink.ConntrackFilter{}
	err := errors.Join(
		f.AddProtocol(unix.IPPROTO_UDP),
		f.AddPort(netlink.ConntrackOrigDstPort, r.HostPort),
		f.AddIP(netlink.ConntrackReplySrcIP, r.To.Addr().AsSlice()))
	if err == nil {
		_, err = t.track.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(familyOf(r.To.Addr())), f)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("forget datagrams to port %d: %w", r.HostPort, err)
	}
	return nil
}

// host32 is a number as the machine has it.
func host32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func isIPv6(p netip.Prefix) bool { return p.Addr().Is6() }
