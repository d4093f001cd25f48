package firewall

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// Warnings are sentences for the user about what was changed on the host or
// stands in the way, each once.
func (t *Table) Warnings() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	said := t.said
	t.said = nil
	return said
}

func (t *Table) warn(format string, args ...any) {
	t.said = append(t.said, fmt.Sprintf(format, args...))
}

// once is true the first time it is called with this name.
func (t *Table) once(name string) bool {
	if t.warned[name] {
		return false
	}
	if t.warned == nil {
		t.warned = map[string]bool{}
	}
	t.warned[name] = true
	return true
}

// joinOthers lets packets of our bridges through chains of other software that
// drop what is forwarded. In the chain FORWARD of iptables, where Docker and ufw
// set the policy to drop, rules are added at the end, after those that the host's
// administrator has for containers. Anybody else's chain is left as it is, with a
// warning.
func (t *Table) joinOthers() error {
	t.warnOfLegacy()
	for _, c := range t.dropping() {
		isTables := c.Table.Name == "filter" && c.Name == "FORWARD" && c.Table.Family != nftables.TableFamilyINet
		if !isTables {
			t.warnOfChain(c)
			continue
		}
		rules, err := t.conn.GetRules(c.Table, c)
		if err != nil {
			return err
		}
		have := map[string]bool{}
		for _, r := range rules {
			have[commentOf(r)] = true
		}
		for _, n := range t.networks {
			for key, cond := range map[string][]expr.Any{"from": iif(n.Interface), "to": oif(n.Interface)} {
				comment := t.mark(n.Interface) + " " + key
				if have[comment] {
					continue
				}
				// The parts in the order of iptables, which then can list them.
				t.conn.AddRule(&nftables.Rule{
					Table: c.Table, Chain: c,
					Exprs:    append(cond, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}),
					UserData: userdata.AppendString(nil, userdata.TypeComment, comment),
				})
			}
		}
		if err := t.flush(); err != nil {
			return fmt.Errorf("let containers through the chain %s of table %s: %w", c.Name, c.Table.Name, err)
		}
	}
	return nil
}

// mark is what rules of ours in chains of others begin with.
func (t *Table) mark(iface string) string { return t.table.Name + " " + iface }

func commentOf(r *nftables.Rule) string {
	s, _ := userdata.GetString(r.UserData, userdata.TypeComment)
	return s
}

// leaveOthers takes the rules of a bridge out of chains of others, or those of
// all: at the end, and at the start what a killed holder left.
func (t *Table) leaveOthers(ifaces ...string) error {
	chains, err := t.forwarding()
	if err != nil {
		return err
	}
	for _, c := range chains {
		if c.Table.Name != "filter" || c.Name != "FORWARD" {
			continue
		}
		rules, err := t.conn.GetRules(c.Table, c)
		if err != nil {
			return err
		}
		for _, r := range rules {
			comment := commentOf(r)
			mine := strings.HasPrefix(comment, t.table.Name+" ") && len(ifaces) == 0
			for _, iface := range ifaces {
				mine = mine || strings.HasPrefix(comment, t.mark(iface)+" ")
			}
			if mine {
				if err := t.conn.DelRule(r); err != nil {
					return err
				}
			}
		}
	}
	if err := t.flush(); err != nil && !errors.Is(err, unix.ENOENT) { // somebody flushed them
		return err
	}
	return nil
}

// forwarding lists the chains of others that forwarded packets go through.
func (t *Table) forwarding() ([]*nftables.Chain, error) {
	var all []*nftables.Chain
	for _, f := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyINet} {
		chains, err := t.conn.ListChainsOfTableFamily(f)
		if err != nil {
			return nil, fmt.Errorf("list the chains of nftables: %w", err)
		}
		for _, c := range chains {
			ours := c.Table.Name == guardTable || c.Table.Name == t.table.Name
			if !ours && c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Type == nftables.ChainTypeFilter {
				all = append(all, c)
			}
		}
	}
	return all, nil
}

// dropping are those of them that let nothing pass but what they name.
func (t *Table) dropping() []*nftables.Chain {
	all, err := t.forwarding()
	if err != nil {
		t.warn("%v", err)
	}
	var dropping []*nftables.Chain
	for _, c := range all {
		if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
			dropping = append(dropping, c)
		}
	}
	return dropping
}

// warnOfChain says how to let containers through.
func (t *Table) warnOfChain(c *nftables.Chain) {
	family := map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet"}[c.Table.Family]
	for _, n := range t.networks {
		at := fmt.Sprintf("%s %s %s", family, c.Table.Name, c.Name)
		if n.Internal || !t.once(at+" "+n.Interface) {
			continue
		}
		t.warn("the nftables chain %q drops packets that it does not name: for containers to get out, nft insert rule %s iifname %s accept; nft insert rule %s oifname %s accept", at, at, n.Interface, at, n.Interface)
	}
}
