package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Inner is the interface of a container, in the container's namespace.
type Inner struct {
	Namespace *os.File // the container's
	Name      string   // eth0
	MAC       string   // empty: the kernel's choice
	MTU       int      // 0: as the bridge or the parent
	Addresses []netip.Prefix
	// Gateways make it the container's default route, for the families they are
	// of. Without any the container reaches its subnets only.
	Gateways []netip.Addr
}

// Pair is a container's place on a bridge: two virtual interfaces that are
// connected with each other, one at the bridge, one inside.
type Pair struct {
	Bridge   string
	Name     string // of the end at the bridge
	Isolated bool   // packets go to and from the bridge itself only, not to other ports that are isolated
	Inner
}

// Attach joins a container to a bridge. Another pair of this name, as one whose
// namespace is just dying, is removed.
func (s *Space) Attach(p Pair) error {
	if err := s.attach(p); err != nil {
		return fmt.Errorf("join the container to bridge %s: %w", p.Bridge, err)
	}
	return nil
}

func (s *Space) attach(p Pair) error {
	mac, err := parseMAC(p.MAC)
	if err != nil {
		return err
	}
	h, err := s.route()
	if err != nil {
		return err
	}
	bridge, err := h.LinkByName(p.Bridge)
	if err != nil {
		return err
	}
	if p.MTU == 0 {
		p.MTU = bridge.Attrs().MTU
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = p.Name, p.MTU, bridge.Attrs().Index
	pair := &netlink.Veth{
		LinkAttrs: attrs, PeerName: p.Inner.Name, PeerHardwareAddr: mac, PeerMTU: uint32(p.MTU),
		PeerNamespace: netlink.NsFd(p.Namespace.Fd()),
	}
	inside, err := Open(p.Namespace)
	if err != nil {
		return err
	}
	defer inside.Close()
	if err := addPair(h, pair); err != nil {
		return err
	}
	err = s.connect(h, pair, p, inside)
	if err != nil {
		h.LinkDel(pair) // the other end goes with it
	}
	return err
}

// addPair makes the pair, with the one end at the bridge.
func addPair(h *netlink.Handle, pair *netlink.Veth) error {
	err := h.LinkAdd(pair)
	if errors.Is(err, fs.ErrExist) {
		old, lookErr := h.LinkByName(pair.Name)
		if lookErr != nil {
			return fmt.Errorf("the container has an interface %s already", pair.PeerName)
		}
		if delErr := h.LinkDel(old); delErr != nil && !gone(delErr) {
			return fmt.Errorf("remove the old interface %s: %w", pair.Name, delErr)
		}
		err = h.LinkAdd(pair)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("the container has an interface %s already", pair.PeerName)
	case errors.Is(err, unix.EOPNOTSUPP):
		return errors.New("this kernel cannot make pairs of virtual interfaces (CONFIG_VETH, or modprobe veth); --network host works")
	case err != nil:
		return fmt.Errorf("make the interface %s: %w", pair.Name, err)
	}
	return nil
}

// connect gives both ends what they need and switches them on.
func (s *Space) connect(h *netlink.Handle, pair *netlink.Veth, p Pair, inside *Space) error {
	// The end at the bridge needs no address of its own.
	if err := s.tune(pair.Name, setting{"ipv6", "disable_ipv6", "1"}); err != nil {
		return err
	}
	if p.Isolated {
		if err := h.LinkSetIsolated(pair, true); err != nil {
			return fmt.Errorf("keep the container apart from others of its network: %w", err)
		}
	}
	if s.filtersBridges() {
		if err := h.LinkSetHairpin(pair, true); err != nil {
			return fmt.Errorf("let the container reach its own published ports: %w", err)
		}
	}
	if err := h.LinkSetUp(pair); err != nil {
		return err
	}
	return inside.configure(p.Inner)
}

// filtersBridges says that rules for IP packets also apply to what a bridge passes
// on, as br_netfilter has it. Then a packet to a published port of its own sender
// is sent back by the bridge and not by the routing behind it, which bridges
// refuse unless told otherwise.
func (s *Space) filtersBridges() bool {
	for _, name := range []string{"bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"} {
		if on, err := s.Sysctl(name); err == nil && on != "0" {
			return true
		}
	}
	return false
}

// configure gives a container's interface its addresses and routes. The Space is
// the container's.
func (s *Space) configure(in Inner) error {
	h, err := s.route()
	if err != nil {
		return err
	}
	at, err := h.LinkByName(in.Name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", in.Name, err)
	}
	if err := s.tune(in.Name, settingsOf(in)...); err != nil {
		return err
	}
	for _, a := range in.Addresses {
		if err := addAddress(h, at, a); err != nil {
			return fmt.Errorf("interface %s: %w", in.Name, err)
		}
	}
	if err := h.LinkSetUp(at); err != nil {
		return fmt.Errorf("switch the interface %s on: %w", in.Name, err)
	}
	return setGateways(h, at, in.Gateways)
}

// settingsOf are the sysctls of a container's interface. It announces its address
// when it goes up, because another container may just have had it, with another
// MAC.
func settingsOf(in Inner) []setting {
	all := []setting{{"ipv4", "arp_notify", "1"}}
	for _, a := range in.Addresses {
		if a.Addr().Is6() {
			return append(all,
				setting{"ipv6", "accept_ra", "0"},
				setting{"ipv6", "accept_dad", "0"},
				setting{"ipv6", "ndisc_notify", "1"},
				setting{"ipv6", "disable_ipv6", "0"})
		}
	}
	return append(all, setting{"ipv6", "disable_ipv6", "1"})
}

// SetGateways makes the interface the way out of a container that runs, in the
// container's namespace ns, for the families of the gateways; routes of these
// families over other interfaces go.
func SetGateways(ns *os.File, iface string, gateways []netip.Addr) error {
	s, err := Open(ns)
	if err != nil {
		return err
	}
	defer s.Close()
	h, err := s.route()
	if err != nil {
		return err
	}
	at, err := h.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("interface %s: %w", iface, err)
	}
	return setGateways(h, at, gateways)
}

func setGateways(h *netlink.Handle, at netlink.Link, gateways []netip.Addr) error {
	for _, g := range gateways {
		everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if g.Is6() {
			everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		r := &netlink.Route{LinkIndex: at.Attrs().Index, Dst: ipnet(everything), Gw: g.AsSlice()}
		if err := h.RouteReplace(r); err != nil {
			return fmt.Errorf("default route over %s at interface %s: %w", g, at.Attrs().Name, err)
		}
	}
	return nil
}

func parseMAC(s string) (net.HardwareAddr, error) {
	if s == "" {
		return nil, nil
	}
	mac, err := net.ParseMAC(s)
	if err != nil {
		return nil, fmt.Errorf("%q is no MAC address", s)
	}
	return mac, nil
}

// gone says that what was to be removed is not there.
func gone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.As(err, &netlink.LinkNotFoundError{})
}
