package link

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Bridge is a bridge as it should be.
type Bridge struct {
	Name string
	// Addresses are the gateway's, with the length of the subnet's prefix. A
	// bridge without any is a switch only.
	Addresses []netip.Prefix
	MTU       int // 0: the kernel's, 1500
}

// EnsureBridge makes a bridge, or mends one that is there: it is up and has these
// addresses and no others of global scope.
func (s *Space) EnsureBridge(b Bridge) error {
	if err := s.ensureBridge(b); err != nil {
		return fmt.Errorf("bridge %s: %w", b.Name, err)
	}
	return nil
}

func (s *Space) ensureBridge(b Bridge) error {
	h, err := s.route()
	if err != nil {
		return err
	}
	at, err := h.LinkByName(b.Name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		at, err = s.makeBridge(h, b)
	}
	if err != nil {
		return err
	}
	if at.Type() != "bridge" {
		return fmt.Errorf("the host has an interface of this name, which is no bridge but of type %s", at.Type())
	}
	if b.MTU > 0 && at.Attrs().MTU != b.MTU {
		if err := h.LinkSetMTU(at, b.MTU); err != nil {
			return fmt.Errorf("set its MTU to %d: %w", b.MTU, err)
		}
	}
	if err := s.tuneBridge(b); err != nil {
		return err
	}
	if err := setAddresses(h, at, b.Addresses); err != nil {
		return err
	}
	if at.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	return h.LinkSetUp(at)
}

func (s *Space) makeBridge(h *netlink.Handle, b Bridge) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = b.Name, b.MTU
	// A bridge without an address of its own takes the lowest of its ports', and
	// another whenever ports come and go: all would have to ask again for it.
	attrs.HardwareAddr = RandomMAC()
	// Others make the same one at once only where two holders share an account;
	// whoever comes second finds it.
	if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, fs.ErrExist) {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil, errors.New("this kernel cannot make bridges (CONFIG_BRIDGE, or modprobe bridge); --network host works")
		}
		return nil, err
	}
	return h.LinkByName(b.Name)
}

// tuneBridge sets what the bridge needs before it goes up: no address of the
// kernel's own choice where the network has no IPv6, no waiting for duplicates
// and no belief in what containers advertise.
func (s *Space) tuneBridge(b Bridge) error {
	off := "1"
	for _, p := range b.Addresses {
		if p.Addr().Is6() {
			off = "0"
		}
	}
	return s.tune(b.Name,
		setting{"ipv6", "accept_ra", "0"},
		setting{"ipv6", "accept_dad", "0"},
		setting{"ipv6", "disable_ipv6", off})
}

// setAddresses gives the interface these addresses and takes others of global
// scope.
func setAddresses(h *netlink.Handle, at netlink.Link, want []netip.Prefix) error {
	have, err := h.AddrList(at, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list its addresses: %w", err)
	}
	has := map[netip.Prefix]bool{}
	for _, a := range have {
		p := prefix(a.IPNet)
		has[p] = true
		if a.Scope == unix.RT_SCOPE_UNIVERSE && !contains(want, p) {
			if err := h.AddrDel(at, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return fmt.Errorf("take its address %s: %w", p, err)
			}
		}
	}
	for _, p := range want {
		if has[p] {
			continue
		}
		if err := addAddress(h, at, p); err != nil {
			return err
		}
	}
	return nil
}

func addAddress(h *netlink.Handle, at netlink.Link, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: ipnet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD // whoever gave it knows that nobody else has it
	}
	err := h.AddrAdd(at, a)
	switch {
	case err == nil || errors.Is(err, fs.ErrExist):
		return nil
	case p.Addr().Is6() && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)):
		// EACCES: the sysctl disable_ipv6 stands. Kernels say EOPNOTSUPP where IPv6
		// is not built in, or was switched off when they started.
		return fmt.Errorf("give it the address %s: IPv6 is switched off here (ipv6.disable on the kernel's command line, or net.ipv6.conf.*.disable_ipv6): %w", p, err)
	}
	return fmt.Errorf("give it the address %s: %w", p, err)
}

// RandomMAC is an address for an interface that nobody administers globally.
func RandomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac)
	mac[0] = mac[0]&^1 | 2 // unicast, locally administered
	return mac
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefix(n *net.IPNet) netip.Prefix {
	a, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones)
}

func contains(list []netip.Prefix, p netip.Prefix) bool {
	for _, q := range list {
		if p == q {
			return true
		}
	}
	return false
}

func readOnly(err error) bool {
	return errors.Is(err, unix.EROFS) || errors.Is(err, os.ErrPermission)
}
