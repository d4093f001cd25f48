package firewall

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The old iptables of the kernel, which nftables does not show, and where Docker
// on such a host sets the policy of forwarded packets to drop. It is only read:
// a table is changed by writing all of it anew, which would lose what another
// writes at that time.

// tableInfo is struct ipt_getinfo of linux/netfilter_ipv4/ip_tables.h, and the
// same for IPv6.
type tableInfo struct {
	name       [32]byte
	validHooks uint32
	hookEntry  [5]uint32
	underflow  [5]uint32 // where the rule is that is a chain's policy
	entries    uint32
	size       uint32
}

// Socket options to read a table, IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES; the
// number of the hook of forwarded packets, NF_INET_FORWARD; and the verdict that
// means drop in a rule, -NF_DROP-1.
const (
	getInfo    = 64
	getEntries = 65
	hook       = 2
	drop       = -1
)

// old describes the tables of a family: where in a rule, struct ipt_entry or
// ip6t_entry, the offset of its target is.
type old struct {
	command, names  string
	domain, level   int
	offsetOfTargets int
}

// legacyDrops says which of the old commands have FORWARD set to drop.
func (t *Table) legacyDrops() []old {
	var drops []old
	t.space.Do(func() error { // what cannot be read does not forbid anything that we know of
		for _, o := range []old{
			{"iptables", "ip_tables_names", unix.AF_INET, unix.IPPROTO_IP, 88},
			{"ip6tables", "ip6_tables_names", unix.AF_INET6, unix.IPPROTO_IPV6, 140},
		} {
			// Asking for a table would make it, so the list is looked at first.
			names, err := os.ReadFile("/proc/thread-self/net/" + o.names)
			if err == nil && slices.Contains(strings.Fields(string(names)), "filter") && o.drops() {
				drops = append(drops, o)
			}
		}
		return nil
	})
	return drops
}

// drops reads the policy of the chain FORWARD.
func (o old) drops() bool {
	fd, err := unix.Socket(o.domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var info tableInfo
	copy(info.name[:], "filter")
	if !getsockopt(fd, o.level, getInfo, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unsafe.Sizeof(info))) || info.validHooks&(1<<hook) == 0 {
		return false
	}
	// struct ipt_get_entries: the name, the size, and after 4 bytes the rules.
	const head = 40
	b := make([]byte, head+int(info.size))
	copy(b, "filter")
	binary.NativeEndian.PutUint32(b[32:], info.size)
	if !getsockopt(fd, o.level, getEntries, b) {
		return false // it has changed meanwhile: as good as unknown
	}
	rule := b[head:]
	if int(info.underflow[hook]) > len(rule) {
		return false
	}
	rule = rule[info.underflow[hook]:]
	if len(rule) < o.offsetOfTargets+2 {
		return false
	}
	// struct xt_standard_target: 32 bytes that say which target it is, the verdict.
	at := int(binary.NativeEndian.Uint16(rule[o.offsetOfTargets:])) + 32
	return len(rule) >= at+4 && int32(binary.NativeEndian.Uint32(rule[at:])) == drop
}

func getsockopt(fd, level, name int, b []byte) bool {
	size := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	return errno == 0
}

// warnOfLegacy says how to let containers through.
func (t *Table) warnOfLegacy() {
	for _, o := range t.legacyDrops() {
		for _, n := range t.networks {
			v6 := slices.ContainsFunc(n.Subnets, isIPv6)
			if n.Internal || o.domain == unix.AF_INET6 && !v6 || !t.once(o.command+" "+n.Interface) {
				continue
			}
			t.warn("the host's old %s drop forwarded packets: for containers to get out, %s-legacy -I FORWARD -i %s -j ACCEPT; %s-legacy -I FORWARD -o %s -j ACCEPT", o.command, o.command, n.Interface, o.command, n.Interface)
		}
	}
}
