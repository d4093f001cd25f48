package opts

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// attachment is one --network: a place in a network.
type attachment struct {
	target         string // the network's name or ID, or host, none, container:NAME
	aliases, links []string
	driverOpts     map[string]string
	ip, ip6, mac   string
	linkLocal      []string
	gwPriority     int
}

// networksValue collects --network values.
type networksValue struct{ list []attachment }

func (v *networksValue) String() string { return "" }
func (v *networksValue) Type() string   { return "network" }

// Set reads the name of a network, or the long form name=NAME,alias=….
func (v *networksValue) Set(s string) error {
	n := attachment{target: s}
	if strings.Contains(s, "=") {
		fields, err := csv.NewReader(strings.NewReader(s)).Read()
		if err != nil {
			return err
		}
		n.target = ""
		for _, f := range fields {
			key, value, ok := strings.Cut(f, "=")
			if !ok {
				return fmt.Errorf("invalid key/value pair format in %s", f)
			}
			if err := n.set(strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)); err != nil {
				return err
			}
		}
		if n.target == "" {
			return errors.New("network name/id is not specified")
		}
	}
	v.list = append(v.list, n)
	return nil
}

func (n *attachment) set(key, value string) (err error) {
	switch key {
	case "name":
		n.target = value
	case "alias":
		n.aliases = append(n.aliases, value)
	case "ip":
		n.ip = value
	case "ip6":
		n.ip6 = value
	case "mac-address":
		n.mac = value
	case "link-local-ip":
		n.linkLocal = append(n.linkLocal, value)
	case "driver-opt":
		n.driverOpts, err = addDriverOpt(n.driverOpts, value)
	case "gw-priority":
		if n.gwPriority, err = strconv.Atoi(value); err != nil {
			err = fmt.Errorf("invalid gw-priority (%s): %w", value, errors.Unwrap(err))
		}
	default:
		err = fmt.Errorf("invalid field key %s", key)
	}
	return err
}

func addDriverOpt(to map[string]string, s string) (map[string]string, error) {
	key, value, ok := strings.Cut(s, "=")
	if key = strings.TrimSpace(key); !ok || key == "" {
		return to, errors.New("invalid key value pair format in driver options")
	}
	if to == nil {
		to = map[string]string{}
	}
	to[key] = strings.TrimSpace(value)
	return to, nil
}

// settings says an attachment in Docker's terms.
func (n *attachment) settings() (*network.EndpointSettings, error) {
	if strings.TrimSpace(n.target) == "" {
		return nil, errors.New("no name set for network")
	}
	if !container.NetworkMode(n.target).IsUserDefined() {
		if len(n.aliases) > 0 {
			return nil, errors.New("network-scoped aliases are only supported for user-defined networks")
		}
		if len(n.links) > 0 {
			return nil, errors.New("links are only supported for user-defined networks")
		}
	}
	return Endpoint{
		Aliases: n.aliases, Links: n.links, IP: n.ip, IP6: n.ip6, MAC: n.mac, LinkLocal: n.linkLocal, DriverOpts: n.driverOpts, GwPriority: n.gwPriority,
	}.Settings()
}

// Endpoint is a place in a network as options have it.
type Endpoint struct {
	Aliases, Links, LinkLocal []string
	IP, IP6, MAC              string
	DriverOpts                map[string]string
	GwPriority                int
}

// Settings says it in Docker's terms.
func (e Endpoint) Settings() (*network.EndpointSettings, error) {
	out := &network.EndpointSettings{Aliases: e.Aliases, Links: e.Links, DriverOpts: e.DriverOpts, GwPriority: e.GwPriority}
	ipam := network.EndpointIPAMConfig{}
	for _, a := range []struct {
		text, what string
		to         *netip.Addr
	}{{e.IP, "IPv4", &ipam.IPv4Address}, {e.IP6, "IPv6", &ipam.IPv6Address}} {
		if a.text == "" {
			continue
		}
		addr, err := netip.ParseAddr(a.text)
		if err != nil || addr.Is4() != (a.what == "IPv4") || addr.Zone() != "" {
			return nil, fmt.Errorf("invalid %s address: %s", a.what, a.text)
		}
		*a.to, out.IPAMConfig = addr, &ipam
	}
	for _, text := range e.LinkLocal {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("invalid link-local IP address: %s", text)
		}
		ipam.LinkLocalIPs, out.IPAMConfig = append(ipam.LinkLocalIPs, addr), &ipam
	}
	if e.MAC != "" {
		mac, err := net.ParseMAC(strings.TrimSpace(e.MAC))
		if err != nil {
			return nil, fmt.Errorf("%s is not a valid mac address", e.MAC)
		}
		out.MacAddress = network.HardwareAddr(mac)
	}
	return out, nil
}

// endpoints are the places in networks that a container asks for, by network;
// the mode is the first of them. "default" stands for where nothing was said.
// Which networks there are is the engine's to know.
func (c *Container) endpoints() (container.NetworkMode, map[string]*network.EndpointSettings, error) {
	list := slices.Clone(c.networks.list)
	if len(list) == 0 {
		list = []attachment{{target: network.NetworkDefault}}
	}
	if err := c.addPlain(&list[0]); err != nil {
		return "", nil, err
	}
	mode := container.NetworkMode(list[0].target)
	out := map[string]*network.EndpointSettings{}
	own, others := false, false
	for _, n := range list {
		if container.NetworkMode(n.target).IsUserDefined() {
			own = true
		} else {
			others = true
		}
		ep, err := n.settings()
		if err != nil {
			return "", nil, err
		}
		if _, twice := out[n.target]; twice {
			return "", nil, fmt.Errorf("network %q is specified multiple times", n.target)
		}
		if out[n.target] = ep; own && others {
			return "", nil, errors.New("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
		}
	}
	if mode.IsContainer() && mode.ConnectedContainer() == "" {
		return "", nil, errors.New("invalid container format container:<name|id>")
	}
	return mode, out, nil
}

// addPlain gives the first network what --ip, --network-alias and such ask for.
func (c *Container) addPlain(n *attachment) error {
	for _, o := range []struct {
		twice bool
		words string
	}{
		{len(n.aliases) > 0 && len(c.netAliases.values) > 0, "--network-alias and per-network alias"},
		{len(n.links) > 0 && len(c.links.values) > 0, "--link and per-network links"},
		{n.ip != "" && c.ip != "", "--ip and per-network IPv4 address"},
		{n.ip6 != "" && c.ip6 != "", "--ip6 and per-network IPv6 address"},
		{n.mac != "" && c.mac != "", "--mac-address and per-network MAC address"},
		{len(n.linkLocal) > 0 && len(c.linkLocal.values) > 0, "--link-local-ip and per-network link-local IP addresses"},
	} {
		if o.twice {
			return errors.New("conflicting options: cannot specify both " + o.words)
		}
	}
	n.aliases = append(n.aliases, c.netAliases.values...)
	n.linkLocal = append(n.linkLocal, c.linkLocal.values...)
	n.ip, n.ip6, n.mac = cmp.Or(n.ip, c.ip), cmp.Or(n.ip6, c.ip6), cmp.Or(n.mac, c.mac)
	// On the default network a link is the container's, not that of its place there.
	if container.NetworkMode(n.target).IsUserDefined() {
		n.links = append(n.links, c.links.values...)
	}
	return nil
}

// checkLink accepts CONTAINER or CONTAINER:ALIAS, and what inspect shows of it,
// /CONTAINER:/ITS/ALIAS.
func checkLink(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("empty string specified for links")
	case strings.Count(s, ":") > 1:
		return "", errors.New("bad format for links: " + s)
	}
	return s, nil
}

// openWide warns where a port was to be published on one address only. With
// the host's network the program itself decides on which addresses it listens.
func openWide(hc *container.HostConfig) (warnings []string) {
	if !hc.NetworkMode.IsDefault() {
		return nil
	}
	for port, bindings := range hc.PortBindings {
		for _, b := range bindings {
			if b.HostIP.IsValid() && !b.HostIP.IsUnspecified() {
				warnings = append(warnings, fmt.Sprintf("Port %d is open on every address the program listens on, not only on %s: "+
					"the container uses the host's network", port.Num(), b.HostIP))
			}
		}
	}
	slices.Sort(warnings)
	return warnings
}

func checkAddress(s string) (string, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil {
		return "", fmt.Errorf("IP address is not correctly formatted: %s", strings.TrimSpace(s))
	}
	return a.String(), nil
}

// checkDomain accepts a domain name, or a dot for "no search".
func checkDomain(s string) (string, error) {
	s = strings.Trim(s, " ")
	if s == "." {
		return s, nil
	}
	ok := s != "" && len(s) < 255
	for _, label := range strings.Split(strings.TrimSuffix(s, "."), ".") {
		ok = ok && label != "" && len(label) < 64 && strings.IndexFunc(label, func(r rune) bool {
			return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r < 0x80
		}) < 0
	}
	if !ok {
		return "", fmt.Errorf("%s is not a valid domain", s)
	}
	return s, nil
}

// checkExtraHost reads HOST:IP or HOST=IP and writes the first form.
func checkExtraHost(s string) (string, error) {
	sep := "="
	if !strings.Contains(s, sep) {
		sep = ":"
	}
	host, ip, ok := strings.Cut(s, sep)
	if !ok || host == "" {
		return "", fmt.Errorf("bad format for add-host: %q", s)
	}
	if ip == "host-gateway" {
		return host + ":" + ip, nil
	}
	if strings.HasPrefix(ip, "[") && strings.HasSuffix(ip, "]") {
		ip = ip[1 : len(ip)-1]
	}
	if _, err := netip.ParseAddr(ip); err != nil {
		return "", fmt.Errorf("invalid IP address in add-host: %q", ip)
	}
	return host + ":" + ip, nil
}
