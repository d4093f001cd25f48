package opts

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
)

// ports reads -p and --expose values into what a container listens on and
// where that is published.
func ports(publish, expose []string) (network.PortSet, network.PortMap, error) {
	set, bindings := network.PortSet{}, network.PortMap{}
	for _, p := range publish {
		if strings.Contains(p, "=") {
			short, err := shortPort(p)
			if err != nil {
				return nil, nil, err
			}
			p = short
		}
		if err := publishPort(set, bindings, p); err != nil {
			return nil, nil, err
		}
	}
	for _, e := range expose {
		if err := exposePorts(set, e); err != nil {
			return nil, nil, err
		}
	}
	return set, bindings, nil
}

// shortPort turns target=80,published=8080,protocol=tcp into 8080:80/tcp. Unlike
// Docker it takes no key that means nothing: it is one misspelt.
func shortPort(s string) (string, error) {
	var target, published string
	proto := "tcp"
	for f := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(f, "=")
		if !ok || key == "" {
			return "", fmt.Errorf("invalid publish opts format (should be name=value but got '%s')", f)
		}
		switch key {
		case "target":
			target = value
		case "published":
			published = value
		case "protocol":
			proto = strings.ToLower(value)
		case "mode":
		default:
			return "", fmt.Errorf("invalid field key %s", key)
		}
	}
	return published + ":" + target + "/" + proto, nil
}

// publishPort reads [[IP:]HOST:]CONTAINER[/PROTO]; HOST and CONTAINER may be
// ranges.
func publishPort(set network.PortSet, bindings network.PortMap, s string) error {
	ip, host, ctr := splitPort(s)
	ctr, proto, _ := strings.Cut(ctr, "/")
	if proto = strings.ToLower(proto); proto == "" {
		proto = "tcp"
	}
	if proto != "tcp" && proto != "udp" && proto != "sctp" {
		return fmt.Errorf("invalid proto: %s", proto)
	}
	addr, err := parseHostIP(ip)
	if err != nil {
		return err
	}
	if ctr == "" {
		return fmt.Errorf("no port specified: %s<empty>", s)
	}
	first, last, err := portRange(ctr)
	if err != nil {
		return fmt.Errorf("invalid containerPort: %s", ctr)
	}
	hostFirst, hostLast := 0, 0
	if host != "" {
		if hostFirst, hostLast, err = portRange(host); err != nil {
			return fmt.Errorf("invalid hostPort: %s", host)
		}
		// One container port may have the choice of a range of host ports.
		if last-first != hostLast-hostFirst && first != last {
			return fmt.Errorf("invalid ranges specified for container and host Ports: %s and %s", ctr, host)
		}
	}
	for i := 0; i <= last-first; i++ {
		port, _ := network.PortFrom(uint16(first+i), network.IPProtocol(proto))
		hostPort := host
		if host != "" && (first != last || hostFirst == hostLast) {
			hostPort = strconv.Itoa(hostFirst + i)
		}
		set[port] = struct{}{}
		bindings[port] = append(bindings[port], network.PortBinding{HostIP: addr, HostPort: hostPort})
	}
	return nil
}

// splitPort takes IP:HOST:CONTAINER apart from the right, because an IP may
// hold colons.
func splitPort(s string) (ip, host, ctr string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", "", s
	}
	rest, ctr := s[:i], s[i+1:]
	if i = strings.LastIndexByte(rest, ':'); i < 0 {
		return "", rest, ctr
	}
	return rest[:i], rest[i+1:], ctr
}

func parseHostIP(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	bare := s
	if strings.HasPrefix(s, "[") {
		host, _, err := net.SplitHostPort(s + ":")
		if err != nil {
			return netip.Addr{}, fmt.Errorf("invalid IP address %s: %w", s, err)
		}
		bare = host
	}
	addr, err := netip.ParseAddr(bare)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("invalid IP address: %s", bare)
	}
	return addr, nil
}

// portRange reads N or N-M.
func portRange(s string) (first, last int, err error) {
	if s == "" {
		return 0, 0, errors.New("empty string specified for ports")
	}
	a, b, isRange := strings.Cut(s, "-")
	start, err := strconv.ParseUint(a, 10, 16)
	if err != nil || !isRange {
		return int(start), int(start), err
	}
	end, err := strconv.ParseUint(b, 10, 16)
	if err != nil {
		return 0, 0, err
	}
	if end < start {
		return 0, 0, fmt.Errorf("invalid range specified for port: %s", s)
	}
	return int(start), int(end), nil
}

func exposePorts(set network.PortSet, s string) error {
	if strings.Contains(s, ":") {
		return fmt.Errorf("invalid port format for --expose: %s", s)
	}
	rng, proto, _ := strings.Cut(s, "/")
	first, last, err := portRange(rng)
	if err != nil {
		return fmt.Errorf("invalid range format for --expose: %s, error: %w", s, err)
	}
	if proto = strings.ToLower(proto); proto == "" {
		proto = "tcp"
	}
	for n := first; n <= last; n++ {
		p, _ := network.PortFrom(uint16(n), network.IPProtocol(proto))
		set[p] = struct{}{}
	}
	return nil
}
