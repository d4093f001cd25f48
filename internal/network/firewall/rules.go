package firewall

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers of the packet filter's machine, of 4 bytes each from 8 on. Register 1
// is the first four of them together.
const (
	reg1  = unix.NFT_REG_1
	reg32 = unix.NFT_REG32_00
)

// Bits of a connection's state and of its history: ip_conntrack_info and
// ip_conntrack_status of linux/netfilter/nf_conntrack_common.h.
const (
	knownConnection = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	toPublished     = 1 << 5 // IPS_DST_NAT
)

// chains queues the chains and maps of a new table.
func (t *Table) chains() {
	chain := func(name string, typ nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
		return t.conn.AddChain(&nftables.Chain{Name: name, Table: t.table, Type: typ, Hooknum: hook, Priority: prio})
	}
	t.forward = chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	t.source = chain("source", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	published := t.conn.AddChain(&nftables.Chain{Name: "published", Table: t.table})
	in := chain("incoming", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	out := chain("outgoing", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	t.publishedRules(published)
	t.rule(in, toHost(), jump(published))
	// What goes to loopback from the host itself is for the listener, which also
	// holds the port: the kernel would not let it out to a bridge.
	t.rule(out, toHost(), family(unix.NFPROTO_IPV4), not(daddr(netip.MustParsePrefix("127.0.0.0/8"))), jump(published))
	t.rule(out, toHost(), family(unix.NFPROTO_IPV6), not(daddr(netip.MustParsePrefix("::1/128"))), jump(published))
}

// write has the rules of the networks anew, in one transaction.
func (t *Table) write() error {
	t.conn.FlushChain(t.forward)
	t.conn.FlushChain(t.source)
	t.rule(t.forward, ct(expr.CtKeySTATE, knownConnection), verdict(expr.VerdictAccept))
	for _, n := range t.networks {
		if n.ICC {
			t.rule(t.forward, iif(n.Interface), oif(n.Interface), verdict(expr.VerdictAccept))
		}
		if n.Internal {
			t.rule(t.forward, iif(n.Interface), verdict(expr.VerdictDrop))
			t.rule(t.forward, oif(n.Interface), verdict(expr.VerdictDrop))
		}
	}
	for _, n := range t.networks {
		t.rule(t.forward, oif(n.Interface), ct(expr.CtKeySTATUS, toPublished), verdict(expr.VerdictAccept))
	}
	// Nobody else reaches containers: not those of other networks, nor other hosts
	// that send packets to the host as if it were a router.
	for _, n := range t.networks {
		t.rule(t.forward, oif(n.Interface), verdict(expr.VerdictDrop))
	}
	for _, n := range t.networks {
		for _, p := range n.Subnets {
			t.sourceRules(n, p)
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	return t.joinOthers()
}

// sourceRules are about the address that packets of a subnet have when they
// leave.
func (t *Table) sourceRules(n Network, p netip.Prefix) {
	from := slices.Concat(family(familyOf(p.Addr())), saddr(p))
	if n.Masquerade && !n.Internal {
		t.rule(t.source, from, not(oif(n.Interface)), masquerade())
	}
	// A container that calls a published port of a neighbour, or its own, gets the
	// answer from the host: straight from the neighbour it would not know it.
	t.rule(t.source, from, oif(n.Interface), ct(expr.CtKeySTATUS, toPublished), masquerade())
}

// rule queues a rule.
func (t *Table) rule(c *nftables.Chain, parts ...[]expr.Any) {
	t.conn.AddRule(&nftables.Rule{Table: c.Table, Chain: c, Exprs: slices.Concat(parts...)})
}

// The rest are the words of rules.

func iif(name string) []expr.Any { return ifname(expr.MetaKeyIIFNAME, name) }
func oif(name string) []expr.Any { return ifname(expr.MetaKeyOIFNAME, name) }

func ifname(key expr.MetaKey, name string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: ifnameKey(name)},
	}
}

// ifnameKey is a name as the kernel has it, and ifnameOf the other way round.
func ifnameKey(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func ifnameOf(key []byte) string { return string(bytes.TrimRight(key, "\x00")) }

func family(f byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{f}},
	}
}

func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

// Offsets of addresses in the headers: RFC 791 section 3.1, RFC 8200 section 3.
func saddr(p netip.Prefix) []expr.Any { return address(p, 12, 8) }
func daddr(p netip.Prefix) []expr.Any { return address(p, 16, 24) }

func address(p netip.Prefix, offset4, offset6 uint32) []expr.Any {
	net := p.Masked().Addr().AsSlice()
	mask := make([]byte, len(net))
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	offset := offset4
	if p.Addr().Is6() {
		offset = offset6
	}
	return []expr.Any{
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(net))},
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: uint32(len(net)), Mask: mask, Xor: make([]byte, len(net))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: net},
	}
}

// not turns a comparison, the last of the expressions, into its opposite.
func not(e []expr.Any) []expr.Any {
	e[len(e)-1].(*expr.Cmp).Op = expr.CmpOpNeq
	return e
}

// ct is true for connections that have one of the bits.
func ct(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: reg1},
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4, Mask: host32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: make([]byte, 4)},
	}
}

// toHost is true for packets to an address of the host's.
func toHost() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: reg1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: host32(unix.RTN_LOCAL)},
	}
}

func verdict(k expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: k}} }

func jump(c *nftables.Chain) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: c.Name}}
}

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }
