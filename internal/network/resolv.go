package network

import (
	"net/netip"
	"slices"
	"strings"
)

// ParseResolver reads a resolv.conf, as resolv.conf(5) and the C library do: the
// last search or domain line holds, and what is not understood is passed over.
func ParseResolver(text []byte) Resolver {
	var r Resolver
	for line := range strings.Lines(string(text)) {
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil {
				r.Servers = append(r.Servers, a)
			}
		case "domain":
			r.Search = f[1:2]
		case "search":
			r.Search = f[1:]
		case "options":
			r.Options = append(r.Options, f[1:]...)
		}
	}
	return r
}

// Embedded completes what a container asks from the host's resolver for one that
// asks berth's server of names: what it has not asked for is the host's. Names
// with no dot in them are looked up as they are first, as those of containers
// have none, unless somebody has chosen otherwise.
func (r Resolver) Embedded(server netip.Addr, host Resolver) Resolver {
	in := Resolver{Servers: []netip.Addr{server}, Search: r.Search, Options: r.Options}
	if len(in.Search) == 0 {
		in.Search = host.Search
	}
	if slices.Equal(in.Search, []string{"."}) { // Docker's word for none
		in.Search = nil
	}
	if len(in.Options) == 0 {
		in.Options = host.Options
	}
	if !slices.ContainsFunc(in.Options, func(o string) bool { return strings.HasPrefix(o, "ndots:") }) {
		in.Options = append(slices.Clone(in.Options), "ndots:0")
	}
	return in
}
