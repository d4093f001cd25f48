package networks

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"berth/internal/errdef"
	"berth/internal/network"
)

// Options of drivers, in Docker's words.
const (
	OptName       = "com.docker.network.bridge.name"
	OptMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
	OptICC        = "com.docker.network.bridge.enable_icc"
	OptHostIP     = "com.docker.network.bridge.host_binding_ipv4"
	OptMTU        = "com.docker.network.driver.mtu"
	OptPrefix     = "com.docker.network.container_iface_prefix"
	OptIPv4       = "com.docker.network.enable_ipv4"
	OptIPv6       = "com.docker.network.enable_ipv6"
	OptParent     = "parent"
	OptMode       = "macvlan_mode"

	// OptEndpointName is an option of a container's place in a network: what its
	// interface is called inside.
	OptEndpointName = "com.docker.network.endpoint.ifname"
)

// option is one that a driver knows, with what its value does.
type option struct {
	name string
	set  func(s *Set, n *network.Network, value string) error
}

func driverOptions(driver string) []option {
	both := []option{{OptMTU, checkMTU}, {OptPrefix, checkPrefix}, {OptIPv4, setIPv4}, {OptIPv6, setIPv6}}
	if driver == network.Macvlan {
		return append(both, option{OptParent, setParent}, option{OptMode, checkMode})
	}
	return append(both,
		option{OptName, setName}, option{OptMasquerade, checkBool}, option{OptICC, checkBool}, option{OptHostIP, checkIPv4},
		option{"com.docker.network.bridge.gateway_mode_ipv4", onlyValue("nat")},
		option{"com.docker.network.bridge.gateway_mode_ipv6", onlyValue("nat")},
		option{"com.docker.network.bridge.inhibit_ipv4", onlyValue("false")},
		option{"com.docker.network.bridge.default_bridge", onlyValue("false")},
	)
}

// checkOptions refuses options that the driver does not know, and values that
// make no sense, rather than to do without them in silence.
func (s *Set) checkOptions(n *network.Network) error {
	known := driverOptions(n.Driver)
	for _, key := range slices.Sorted(maps.Keys(n.Options)) {
		i := slices.IndexFunc(known, func(o option) bool { return o.name == key })
		if i < 0 {
			var names []string
			for _, o := range known {
				names = append(names, o.name)
			}
			slices.Sort(names)
			return refusal(errdef.ErrInvalid, "unknown option %q of the driver %s: it has %s", key, n.Driver, strings.Join(names, ", "))
		}
		if err := known[i].set(s, n, n.Options[key]); err != nil {
			return fmt.Errorf("option %s: %w", key, err)
		}
	}
	if n.Driver == network.Macvlan && n.Interface == "" {
		return refusal(errdef.ErrInvalid, "a macvlan network needs an interface of the host that it lies on: -o parent=eth0")
	}
	return nil
}

func checkBool(_ *Set, _ *network.Network, v string) error {
	_, err := truth(v)
	return err
}

func truth(v string) (bool, error) {
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, refusal(errdef.ErrInvalid, "%q is neither true nor false", v)
	}
	return b, nil
}

func setIPv4(_ *Set, n *network.Network, v string) (err error) {
	n.IPv4, err = truth(v)
	return err
}

func setIPv6(_ *Set, n *network.Network, v string) (err error) {
	n.IPv6, err = truth(v)
	return err
}

// checkMTU accepts what a virtual interface can have: from the least that IPv4
// asks of a link (RFC 791) to the most that fits into an IP packet.
func checkMTU(_ *Set, n *network.Network, v string) error {
	mtu, err := strconv.Atoi(v)
	least := 68
	if n.IPv6 {
		least = 1280 // RFC 8200
	}
	if err != nil || mtu != 0 && (mtu < least || mtu > 65535) {
		return refusal(errdef.ErrInvalid, "%q is no MTU: use a number of bytes from %d to 65535", v, least)
	}
	return nil
}

func checkIPv4(_ *Set, _ *network.Network, v string) error {
	if a, err := netip.ParseAddr(v); err != nil || !a.Is4() {
		return refusal(errdef.ErrInvalid, "%q is no IPv4 address", v)
	}
	return nil
}

func checkMode(_ *Set, _ *network.Network, v string) error {
	modes := []string{"bridge", "private", "vepa", "passthru"}
	if !slices.Contains(modes, v) {
		return refusal(errdef.ErrInvalid, "unknown mode %q: use one of %s", v, strings.Join(modes, ", "))
	}
	return nil
}

func onlyValue(value string) func(*Set, *network.Network, string) error {
	return func(_ *Set, _ *network.Network, v string) error {
		if v != value {
			return refusal(errdef.ErrNotSupported, "%q is not supported by this berth, only %q", v, value)
		}
		return nil
	}
}

// setName has a person name the bridge. One that the host has already is not
// ours to use, because the holder removes its bridges at its end.
func setName(s *Set, n *network.Network, v string) error {
	if err := checkInterface(v); err != nil {
		return err
	}
	if _, err := os.Stat("/sys/class/net/" + v); err == nil && !s.Rootless {
		return refusal(errdef.ErrConflict, "this host has an interface %s already: choose another name, berth makes and removes its bridges itself", v)
	}
	n.Interface = v
	return nil
}

func setParent(_ *Set, n *network.Network, v string) error {
	if err := checkInterface(v); err != nil {
		return err
	}
	if _, err := os.Stat("/sys/class/net/" + v); err != nil {
		return refusal(errdef.ErrNotFound, "this host has no interface %s: `ip link` lists those that it has", v)
	}
	n.Interface = v
	return nil
}

// checkPrefix accepts the beginning of an interface's name, with room for a
// number.
func checkPrefix(_ *Set, _ *network.Network, v string) error { return checkInterface(v + "000") }

// checkInterface applies the kernel's rule (dev_valid_name in net/core/dev.c).
func checkInterface(name string) error {
	if name == "" || len(name) > 15 || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r%") {
		return refusal(errdef.ErrInvalid, "%q cannot be the name of an interface: use 1 to 15 characters without spaces, / and :", name)
	}
	return nil
}
