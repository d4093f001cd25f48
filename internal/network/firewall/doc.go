// Package firewall has the packet filter rules of networks: who may reach whom,
// under which address containers go out, and which of the host's ports lead to
// them.
//
// The rules are in one nftables table per holder. The kernel ties the table to
// the netlink socket that made it: nobody else changes or flushes it, and it is
// gone with the socket, by whatever death. So rules are never left over, and
// whoever starts anew does not meet old ones. Kernels before 5.12 do not know
// such tables; there the next holder of the same name removes what was left.
//
// In netfilter a packet passes when no chain of any table drops it. Where other
// software's chain drops what is forwarded, as Docker's or a host firewall's, a
// rule of ours is put into that chain, see others.go. Where the host did not
// forward packets at all, it is made to, and a table of its own sees to it that
// it does so for containers only, see forward.go.
package firewall
