package names

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tableName is the table that a container's network namespace gets.
const tableName = "berth-dns"

// redirect has what is sent to port 53 of Address arrive at the ports where the
// server listens, and what it answers seem to come from port 53.
//
// Only port numbers are rewritten, in both directions as packets are sent. So
// nothing is tracked, and what else the container sends costs one look at its
// address. (A translation with connection tracking would track all of it.)
func redirect(udp, tcp uint16) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("cannot open nf_tables: %w", err)
	}
	// A holder that takes over from another one finds its rules.
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	c.AddTable(t)
	chain := c.AddChain(&nftables.Chain{
		Name: "output", Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRaw,
	})
	c.FlushChain(chain)
	for _, p := range []struct {
		proto byte
		port  uint16
		sum   uint32 // where the checksum is in the header
	}{{unix.IPPROTO_UDP, udp, 6}, {unix.IPPROTO_TCP, tcp, 16}} {
		for _, r := range []struct {
			addr, at uint32 // of address and port in their headers
			from, to uint16
		}{{16, 2, Port, p.port}, {12, 0, p.port, Port}} {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: r.addr, Len: 4},
				&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: []byte{127, 0, 0, 11}},
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: []byte{p.proto}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: r.at, Len: 2},
				&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: binaryutil.BigEndian.PutUint16(r.from)},
				&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(r.to)},
				&expr.Payload{
					OperationType: expr.PayloadWrite, SourceRegister: 1,
					Base: expr.PayloadBaseTransportHeader, Offset: r.at, Len: 2, CsumType: expr.CsumTypeInet, CsumOffset: p.sum,
				},
			}})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("cannot make rules of nf_tables: %w", err)
	}
	return nil
}
