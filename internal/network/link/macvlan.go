package link

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Macvlan is a container's place on a network of the host's: an interface with a
// MAC address of its own on top of one that the host has.
type Macvlan struct {
	Parent string
	Mode   string // of the option macvlan_mode: bridge (also if empty), private, vepa, passthru
	Inner
}

// Macvlan gives a container such an interface.
func (s *Space) Macvlan(m Macvlan) error {
	if err := s.macvlan(m); err != nil {
		return fmt.Errorf("join the container to the network of interface %s: %w", m.Parent, err)
	}
	return nil
}

func (s *Space) macvlan(m Macvlan) error {
	mode, err := macvlanMode(m.Mode)
	if err != nil {
		return err
	}
	mac, err := parseMAC(m.MAC)
	if err != nil {
		return err
	}
	h, err := s.route()
	if err != nil {
		return err
	}
	parent, err := h.LinkByName(m.Parent)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = m.Name, m.MTU, mac
	attrs.ParentIndex, attrs.Namespace = parent.Attrs().Index, netlink.NsFd(m.Namespace.Fd())
	err = h.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: mode})
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("the container has an interface %s already", m.Name)
	case errors.Is(err, unix.EOPNOTSUPP):
		return errors.New("this kernel cannot make macvlan interfaces (CONFIG_MACVLAN, or modprobe macvlan)")
	case err != nil:
		return fmt.Errorf("make the interface %s: %w", m.Name, err)
	}
	inside, err := Open(m.Namespace)
	if err != nil {
		return err
	}
	defer inside.Close()
	if err := inside.configure(m.Inner); err != nil {
		inside.Remove(m.Name)
		return err
	}
	return nil
}

func macvlanMode(name string) (netlink.MacvlanMode, error) {
	switch name {
	case "", "bridge":
		return netlink.MACVLAN_MODE_BRIDGE, nil
	case "private":
		return netlink.MACVLAN_MODE_PRIVATE, nil
	case "vepa":
		return netlink.MACVLAN_MODE_VEPA, nil
	case "passthru":
		return netlink.MACVLAN_MODE_PASSTHRU, nil
	}
	return 0, fmt.Errorf("unknown macvlan mode %q: bridge, private, vepa, passthru", name)
}

// EnsureDummy makes an interface that leads nowhere, for macvlan networks without
// a parent of the host's.
func (s *Space) EnsureDummy(name string) error {
	h, err := s.route()
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	err = h.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("make the interface %s: this kernel has no dummy interfaces (CONFIG_DUMMY): choose an interface of the host with -o parent=NAME", name)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the interface %s: %w", name, err)
	}
	return s.up(name)
}
