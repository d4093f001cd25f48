package spec

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// Hosts is the text of /etc/hosts: the host's own where the host's network is
// shared, else the customary names of the loopback interface; then --add-host.
func Hosts(cfg *container.Config, hc *container.HostConfig, host []byte) ([]byte, error) {
	var b bytes.Buffer
	if hc.NetworkMode == "none" {
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	} else if len(host) > 0 {
		b.Write(bytes.TrimRight(host, "\n"))
		b.WriteByte('\n')
	}
	if !strings.Contains(b.String(), cfg.Hostname) {
		name := cfg.Hostname
		if cfg.Domainname != "" {
			name = name + "." + cfg.Domainname + " " + name
		}
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", name)
	}
	for _, h := range hc.ExtraHosts {
		name, addr, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf("bad format for add-host: %q", h)
		}
		if addr == "host-gateway" {
			addr = "127.0.0.1" // the host's network is shared
		}
		fmt.Fprintf(&b, "%s\t%s\n", strings.Trim(addr, "[]"), name)
	}
	return b.Bytes(), nil
}

// ResolvConf is the text of /etc/resolv.conf: the host's unless --dns and its
// kin say otherwise.
func ResolvConf(hc *container.HostConfig, host []byte) []byte {
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
