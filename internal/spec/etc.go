package spec

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"

	"berth/internal/network"
)

// localNames are the customary lines of a machine of its own.
const localNames = `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
`

// Hosts is the text of /etc/hosts. A container that has a place in networks, net,
// has there what Docker writes: the customary names of the loopback interface,
// those of --add-host, and its own name for each of its addresses. Where the
// host's network is shared it is the host's own file, completed; with no network
// at all, the customary names.
func Hosts(cfg *container.Config, hc *container.HostConfig, net *network.Settings, host []byte) ([]byte, error) {
	var b bytes.Buffer
	switch {
	case net != nil || hc.NetworkMode == "none":
		b.WriteString(localNames)
	case len(host) > 0:
		b.Write(bytes.TrimRight(host, "\n"))
		b.WriteByte('\n')
	}
	if net == nil && !strings.Contains(b.String(), cfg.Hostname) {
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", ownNames(cfg))
	}
	gateway := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})} // the host's network is shared
	if net != nil {
		// None in internal networks, from which the host is not to be reached.
		gateway = net.Gateway
	}
	for _, h := range hc.ExtraHosts {
		name, addr, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf("bad format for add-host: %q", h)
		}
		if addr != "host-gateway" {
			fmt.Fprintf(&b, "%s\t%s\n", strings.Trim(addr, "[]"), name)
			continue
		}
		for _, a := range gateway {
			fmt.Fprintf(&b, "%s\t%s\n", a, name)
		}
	}
	if net != nil {
		b.WriteString(hostLines(hc, net))
		b.WriteString(strings.Join(ownLines(cfg, net.Endpoints...), ""))
	}
	return b.Bytes(), nil
}

// hostName is what containers may call the host.
const hostName = "host.docker.internal"

// hostLines have the host's name where the container asks the host's servers of
// names, which do not know it; berth's own does.
func hostLines(hc *container.HostConfig, net *network.Settings) string {
	ours := func(a netip.Addr) bool { return a.IsLoopback() }
	named := func(h string) bool { return strings.HasPrefix(h, hostName+":") }
	if slices.ContainsFunc(net.DNS.Servers, ours) || slices.ContainsFunc(hc.ExtraHosts, named) {
		return ""
	}
	var lines strings.Builder
	for _, a := range net.Gateway {
		fmt.Fprintf(&lines, "%s\t%s\n", a, hostName)
	}
	return lines.String()
}

// ownNames is what a container calls itself.
func ownNames(cfg *container.Config) string {
	if cfg.Domainname == "" {
		return cfg.Hostname
	}
	return cfg.Hostname + "." + cfg.Domainname + " " + cfg.Hostname
}

// ownLines are the lines of /etc/hosts with a container's addresses.
func ownLines(cfg *container.Config, at ...network.Settled) []string {
	var lines []string
	for _, e := range at {
		for _, p := range []netip.Prefix{e.IPv4, e.IPv6} {
			if p.IsValid() {
				lines = append(lines, p.Addr().String()+"\t"+ownNames(cfg)+"\n")
			}
		}
	}
	return lines
}

// ChangeHosts is the text of /etc/hosts after a container has left networks and
// joined others. What the container has written there itself stays.
func ChangeHosts(text []byte, cfg *container.Config, left, joined []network.Settled) []byte {
	gone := ownLines(cfg, left...)
	var b bytes.Buffer
	for line := range strings.Lines(string(text)) {
		if i := slices.Index(gone, line); i >= 0 {
			gone = slices.Delete(gone, i, i+1)
			continue
		}
		b.WriteString(line)
	}
	if b.Len() > 0 && b.Bytes()[b.Len()-1] != '\n' {
		b.WriteByte('\n')
	}
	b.WriteString(strings.Join(ownLines(cfg, joined...), ""))
	return b.Bytes()
}

// ResolvConf is the text of /etc/resolv.conf: what the container's networks
// settled, else the host's unless --dns and its kin say otherwise.
func ResolvConf(hc *container.HostConfig, net *network.Settings, host []byte) []byte {
	if net != nil {
		return settledResolvConf(net.DNS)
	}
	if len(hc.DNS)+len(hc.DNSSearch)+len(hc.DNSOptions) == 0 {
		return host
	}
	var b bytes.Buffer
	keep := func(word string) {
		for line := range strings.Lines(string(host)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == word {
				b.WriteString(strings.TrimRight(line, "\n") + "\n")
			}
		}
	}
	for _, a := range hc.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(hc.DNS) == 0 {
		keep("nameserver")
	}
	if len(hc.DNSSearch) == 0 {
		keep("search")
	} else if len(hc.DNSSearch) != 1 || hc.DNSSearch[0] != "." {
		fmt.Fprintf(&b, "search %s\n", strings.Join(hc.DNSSearch, " "))
	}
	if len(hc.DNSOptions) == 0 {
		keep("options")
	} else {
		fmt.Fprintf(&b, "options %s\n", strings.Join(hc.DNSOptions, " "))
	}
	return b.Bytes()
}

func settledResolvConf(r network.Resolver) []byte {
	var b bytes.Buffer
	b.WriteString("# Written by berth when the container starts.\n\n")
	for _, a := range r.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(r.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.Search, " "))
	}
	if len(r.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.Options, " "))
	}
	return b.Bytes()
}
