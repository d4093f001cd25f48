package opts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// checkNetwork reads a --network value: the name of a network or the long form
// name=NAME,alias=…. It answers with the name.
func checkNetwork(s string) (string, error) {
	if !strings.Contains(s, "=") {
		return s, nil
	}
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return "", err
	}
	name := ""
	for _, f := range fields {
		key, value, ok := strings.Cut(strings.TrimSpace(strings.ToLower(f)), "=")
		if !ok {
			return "", fmt.Errorf("invalid key/value pair format in %s", f)
		}
		switch key {
		case "name":
			name = value
		case "alias", "ip", "ip6", "mac-address", "link-local-ip", "driver-opt", "gw-priority":
			return "", NotSupported("--network " + key + "=")
		default:
			return "", fmt.Errorf("invalid field key %s", key)
		}
	}
	return name, nil
}

// networkMode returns the network a container uses: the host's, none, that of
// another container, or "default" where nothing was said.
func networkMode(names []string) (container.NetworkMode, error) {
	if len(names) == 0 {
		return network.NetworkDefault, nil
	}
	if len(names) > 1 {
		return "", NotSupported("more than one --network")
	}
	mode := container.NetworkMode(names[0])
	switch {
	case mode == "":
		return "", errors.New("no name set for network")
	case mode.IsContainer():
		if mode.ConnectedContainer() == "" {
			return "", errors.New("invalid container format container:<name|id>")
		}
	case mode.IsDefault(), mode.IsHost(), mode.IsNone():
	default:
		return "", NotSupported(fmt.Sprintf("--network %s (host, none and container:NAME are)", mode))
	}
	return mode, nil
}

// checkPorts looks at published ports with the eyes of a container that has no
// network of its own. With the host's network every port is published as the
// number it has, and no other number can be given to it.
func checkPorts(hc *container.HostConfig, mode container.NetworkMode) (warnings []string, err error) {
	switch {
	case len(hc.PortBindings) == 0:
		return nil, nil
	case mode.IsHost():
		hc.PortBindings = network.PortMap{}
		return []string{"Published ports are discarded when using host network mode"}, nil
	case mode.IsContainer():
		return nil, errors.New("conflicting options: port publishing and the container type network mode")
	case mode.IsNone():
		return nil, nil
	}
	for port, bindings := range hc.PortBindings {
		for i, b := range bindings {
			if b.HostPort != "" && b.HostPort != "0" && b.HostPort != port.Port() {
				return nil, fmt.Errorf("cannot publish port %d as %s: this berth gives containers the host's network, "+
					"where a port keeps its number: use -p %d:%d, or tell the program to listen on %s", port.Num(), b.HostPort, port.Num(), port.Num(), b.HostPort)
			}
			bindings[i].HostPort = port.Port()
			if b.HostIP.IsValid() && !b.HostIP.IsUnspecified() {
				warnings = append(warnings, fmt.Sprintf("port %d is open on every address the program listens on, not only on %s: "+
					"the container uses the host's network", port.Num(), b.HostIP))
			}
		}
	}
	return warnings, nil
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
