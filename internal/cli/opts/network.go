package opts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net/netip"
	"slices"
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

// networkMode returns the network a container uses; "default" where nothing was
// said. Which names there are is the engine's to know.
func networkMode(names []string) (container.NetworkMode, error) {
	switch len(names) {
	case 0:
		return network.NetworkDefault, nil
	case 1:
	default:
		return "", NotSupported("more than one --network")
	}
	mode := container.NetworkMode(names[0])
	if mode == "" {
		return "", errors.New("no name set for network")
	}
	if mode.IsContainer() && mode.ConnectedContainer() == "" {
		return "", errors.New("invalid container format container:<name|id>")
	}
	return mode, nil
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
