package holder

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"berth/internal/network"
	"berth/internal/network/firewall"
	"berth/internal/network/link"
	"berth/internal/network/uplink"
	"berth/internal/network/wire"
)

// Options of networks that bridges are made by, in Docker's words.
const (
	optMTU = "com.docker.network.driver.mtu"
	optICC = "com.docker.network.bridge.enable_icc"

	optMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
)

func newID() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// bringUp makes the bridges that a container will be on.
func (h *Holder) bringUp(m *member) error {
	h.making.Lock()
	defer h.making.Unlock()
	for _, s := range h.ends(m) {
		l := h.live(s.NetworkID)
		if l.up || l.Driver != network.Bridge {
			continue
		}
		if err := h.makeBridge(l); err != nil {
			return fmt.Errorf("network %s: %w", l.Name, err)
		}
		l.up = true
	}
	return nil
}

// live is a network that is in use, or nil.
func (h *Holder) live(id string) *live {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.networks[id]
}

func (h *Holder) makeBridge(l *live) error {
	mtu, err := h.mtu(l)
	if err != nil {
		return err
	}
	if h.table == nil {
		if h.table, err = firewall.Open(h.space, h.tableName()); err != nil {
			return err
		}
	}
	b := link.Bridge{Name: l.Interface, MTU: mtu}
	for _, s := range l.Subnets {
		if s.Gateway.IsValid() {
			b.Addresses = append(b.Addresses, netip.PrefixFrom(s.Gateway, s.Prefix.Bits()))
		}
	}
	if err := h.space.EnsureBridge(b); err != nil {
		return err
	}
	if err := h.openWay(l); err != nil {
		return err
	}
	rules := firewall.Network{
		Interface: l.Interface, Internal: l.Internal, Masquerade: h.masquerade(l), ICC: l.Options[optICC] != "false",
	}
	for _, s := range l.Subnets {
		rules.Subnets = append(rules.Subnets, s.Prefix)
	}
	if err := h.table.AddNetwork(rules); err != nil || h.account || l.Internal {
		return err
	}
	return h.table.Forward(slices.ContainsFunc(b.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() }))
}

// masquerade says whether containers go out under another address: the host's, or
// that of an uplink that knows no other.
func (h *Holder) masquerade(l *live) bool {
	if h.account {
		return h.uplink != nil && h.uplink.Masquerade()
	}
	return l.Options[optMasquerade] != "false"
}

// tableName is one for each data root, as each has its holder.
func (h *Holder) tableName() string {
	if h.account {
		return "berth"
	}
	sum := fnv.New32a()
	sum.Write([]byte(h.dir.Root()))
	return fmt.Sprintf("berth-%08x", sum.Sum32())
}

// mtu is what was asked for, else the host's way out, so that packets fit there.
func (h *Holder) mtu(l *live) (int, error) {
	if text := l.Options[optMTU]; text != "" {
		return strconv.Atoi(text)
	}
	if h.account {
		return uplink.MTU, nil
	}
	return h.space.MTU()
}

// takeDown removes what there is of a network. The locks are held.
func (h *Holder) takeDown(l *live) {
	if l.up {
		_ = h.table.RemoveNetwork(l.Interface)
		_ = h.space.Remove(l.Interface)
	}
	l.up = false
	h.forget(l)
}

// drop removes the bridge of a network that is removed.
func (h *Holder) drop(d *wire.Drop) error {
	h.making.Lock()
	defer h.making.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.networks[d.NetworkID]
	if l == nil {
		return nil
	}
	if l.uses > 0 {
		return fmt.Errorf("network %s has active endpoints", l.Name)
	}
	h.takeDown(l)
	return nil
}

// connect gives a container one interface.
func (h *Holder) connect(s network.Settled, wayOut bool, ns *os.File) error {
	l := h.live(s.NetworkID)
	if l == nil {
		return errors.New("the container has lost its network " + s.Network)
	}
	in := link.Inner{Namespace: ns, Name: s.Interface, MAC: s.MAC}
	for _, p := range []netip.Prefix{s.IPv4, s.IPv6} {
		if p.IsValid() {
			in.Addresses = append(in.Addresses, p)
		}
	}
	if wayOut {
		in.Gateways = s.Gateways()
	}
	if l.Driver == network.Macvlan {
		return h.space.Macvlan(link.Macvlan{Parent: l.Interface, Mode: l.Options["macvlan_mode"], Inner: in})
	}
	return h.space.Attach(link.Pair{Bridge: l.Interface, Name: s.Link, Isolated: l.Options[optICC] == "false", Inner: in})
}
