package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// guardTable is not owned by anybody: it is what stays if all are killed while
// the host forwards packets for containers, so that it does not then forward
// those of strangers. It also says that it was us who switched forwarding on, to
// whoever ends last and can switch it off.
const guardTable = "berth-forward"

// learned marks interfaces that had their addresses from routers' advertisements.
const learned = "accept_ra"

// forwarding is how the kernel passes packets of one family on.
type forwarding struct {
	v6     bool
	sysctl string
	name   string // of the chain and the set in the guard's table
}

func families(ipv6 bool) []forwarding {
	all := []forwarding{{sysctl: "ipv4/ip_forward", name: "ipv4"}}
	if ipv6 {
		all = append(all, forwarding{v6: true, sysctl: "ipv6/conf/all/forwarding", name: "ipv6"})
	}
	return all
}

// Forward has the host pass packets on between its interfaces, if it does not
// already. Between the interfaces that it has now, ours apart, it still does not:
// it does not become a router for others. It is called after the bridge is there.
func (t *Table) Forward(ipv6 bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range families(ipv6) {
		on, err := t.space.Sysctl(f.sysctl)
		if err != nil {
			return fmt.Errorf("forwarding of %s packets: %w", f.name, err)
		}
		if on != "0" {
			continue
		}
		if err := t.startForwarding(f); err != nil {
			return fmt.Errorf("switch forwarding of %s packets on (net.%s): %w", f.name, f.sysctl, err)
		}
		t.warn("forwarding of %s packets was off on this host: it is switched on for containers, and off again when the last of them has ended", f.name)
	}
	return nil
}

func (t *Table) startForwarding(f forwarding) error {
	links, err := t.space.Links()
	if err != nil {
		return err
	}
	var before []nftables.SetElement
	var routed []string
	for _, l := range links {
		if l.Name == "lo" || t.ours(l.Name) || t.ours(l.Bridge) {
			continue
		}
		e := nftables.SetElement{Key: ifnameKey(l.Name)}
		if f.v6 {
			// A router does not believe other routers unless told so with 2: the host
			// would lose its own way out.
			if v, err := t.space.Sysctl("ipv6/conf/" + l.Name + "/accept_ra"); err == nil && v == "1" {
				e.Comment = learned
				routed = append(routed, l.Name)
			}
		}
		before = append(before, e)
	}
	if err := t.guard(f, before); err != nil {
		return err
	}
	for _, name := range routed {
		if err := t.space.SetSysctl("ipv6/conf/"+name+"/accept_ra", "2"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return t.space.SetSysctl(f.sysctl, "1")
}

// guard adds the rule that packets between these interfaces are dropped.
func (t *Table) guard(f forwarding, before []nftables.SetElement) error {
	g := t.conn.AddTable(&nftables.Table{Name: guardTable, Family: nftables.TableFamilyINet})
	c := t.conn.AddChain(&nftables.Chain{
		Name: f.name, Table: g, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	t.conn.FlushChain(c)
	set := &nftables.Set{Table: g, ID: 100, Name: f.name, KeyType: nftables.TypeIFName}
	if err := t.conn.AddSet(set, nil); err != nil {
		return err
	}
	t.conn.FlushSet(set)
	if err := t.conn.SetAddElements(set, before); err != nil {
		return err
	}
	number := byte(unix.NFPROTO_IPV4)
	if f.v6 {
		number = unix.NFPROTO_IPV6
	}
	t.rule(c, family(number), among(expr.MetaKeyIIFNAME, set), among(expr.MetaKeyOIFNAME, set), verdict(expr.VerdictDrop))
	return t.flush()
}

// among is true where the interface is one of a set.
func among(key expr.MetaKey, set *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: reg1},
		&expr.Lookup{SourceRegister: reg1, SetName: set.Name, SetID: set.ID},
	}
}

// stopForwarding switches off what was switched on, by us or by one like us that
// was killed, if there is no interface that came later and is not ours: a virtual
// machine or another engine relies on what it found, and so does another holder,
// which then does this.
func (t *Table) stopForwarding() error {
	guarded := false
	for _, f := range families(true) {
		before, err := t.guarded(f)
		if err != nil {
			return err
		}
		if before == nil {
			continue
		}
		guarded = true
		if needed, err := t.newcomers(before); err != nil || needed {
			return err
		}
		if err := t.space.SetSysctl(f.sysctl, "0"); err != nil {
			return err
		}
		// One that came in between has found it switched on.
		if needed, err := t.newcomers(before); err != nil || needed {
			return errors.Join(err, t.space.SetSysctl(f.sysctl, "1"))
		}
		for _, e := range before {
			if e.Comment == learned {
				t.space.SetSysctl("ipv6/conf/"+ifnameOf(e.Key)+"/accept_ra", "1") // it may be gone
			}
		}
	}
	if !guarded {
		return nil
	}
	t.conn.DelTable(&nftables.Table{Name: guardTable, Family: nftables.TableFamilyINet})
	return t.flush()
}

// guarded are the interfaces that the guard's rule of the family names; nil: it
// has none.
func (t *Table) guarded(f forwarding) ([]nftables.SetElement, error) {
	tables, err := t.conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, err
	}
	for _, table := range tables {
		if table.Name != guardTable {
			continue
		}
		sets, err := t.conn.GetSets(table)
		if err != nil {
			return nil, err
		}
		for _, s := range sets {
			if s.Name != f.name {
				continue
			}
			elems, err := t.conn.GetSetElements(s)
			if elems == nil {
				elems = []nftables.SetElement{}
			}
			return elems, err
		}
	}
	return nil, nil
}

// newcomers says that there are interfaces which were not there before and are
// not ours.
func (t *Table) newcomers(before []nftables.SetElement) (bool, error) {
	links, err := t.space.Links()
	for _, l := range links {
		// The end of a pair whose other end, in a namespace, is just going.
		leaving := l.Type == "veth" && l.Bridge == "" && strings.HasPrefix(l.Name, "veth")
		known := l.Name == "lo" || leaving || t.ours(l.Name) || t.ours(l.Bridge) ||
			slices.ContainsFunc(before, func(e nftables.SetElement) bool { return ifnameOf(e.Key) == l.Name })
		if !known {
			return true, nil
		}
	}
	return false, err
}

func (t *Table) ours(iface string) bool {
	return slices.ContainsFunc(t.networks, func(n Network) bool { return n.Interface == iface })
}
