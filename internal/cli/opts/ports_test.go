package opts

import (
	"strings"
	"testing"
)

// FuzzPorts: whatever is said, each port that is published has a number, is
// exposed, and its host port is nothing, a number or a range.
func FuzzPorts(f *testing.F) {
	for _, s := range []string{"80", "8080:80", "127.0.0.1:8080:80/udp", "[::1]::80", "8000-8010:80", "80-82:80-82/sctp", "target=80,published=8080", "::1:80:80", "0:80", ":::", "[::1", "65535-65535"} {
		f.Add(s, "80-82/tcp")
	}
	f.Fuzz(func(t *testing.T, publish, expose string) {
		set, bindings, err := ports([]string{publish}, []string{expose})
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("an error without words")
			}
			return
		}
		for p, list := range bindings {
			if _, ok := set[p]; !ok || len(list) == 0 {
				t.Errorf("%s is published and not exposed, or nowhere", p)
			}
			for _, b := range list {
				if first, last, err := portRange(b.HostPort); b.HostPort != "" && (err != nil || last < first) {
					t.Errorf("host port %q: %v", b.HostPort, err)
				}
			}
		}
	})
}
