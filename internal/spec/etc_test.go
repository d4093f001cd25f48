package spec

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestHosts(t *testing.T) {
	for _, tt := range []struct {
		name string
		hc   container.HostConfig
		want []string // lines
		err  string
	}{
		{name: "shared network", want: []string{"127.0.0.1 localhost vm", "127.0.1.1\tbox"}},
		{name: "none", hc: container.HostConfig{NetworkMode: "none"}, want: []string{"127.0.0.1\tlocalhost", "127.0.1.1\tbox"}},
		{name: "more", hc: container.HostConfig{ExtraHosts: []string{"db:10.0.0.7", "six:[::1]", "host.docker.internal:host-gateway"}},
			want: []string{"10.0.0.7\tdb", "::1\tsix", "127.0.0.1\thost.docker.internal"}},
		{name: "bad", hc: container.HostConfig{ExtraHosts: []string{"nothing"}}, err: "bad format for add-host"},
	} {
		b, err := Hosts(&container.Config{Hostname: "box"}, &tt.hc, []byte("127.0.0.1 localhost vm"))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		for _, line := range tt.want {
			if !strings.Contains(string(b), line+"\n") {
				t.Errorf("%s: no %q in\n%s", tt.name, line, b)
			}
		}
	}
}

func TestResolvConf(t *testing.T) {
	host := "nameserver 1.1.1.1\nsearch lan\noptions rotate\n"
	for _, tt := range []struct {
		hc   container.HostConfig
		want string
	}{
		{container.HostConfig{}, host},
		{container.HostConfig{DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9")}}, "nameserver 9.9.9.9\nsearch lan\noptions rotate\n"},
		{container.HostConfig{DNSSearch: []string{"."}}, "nameserver 1.1.1.1\noptions rotate\n"},
		{container.HostConfig{DNSSearch: []string{"a", "b"}, DNSOptions: []string{"ndots:2"}}, "nameserver 1.1.1.1\nsearch a b\noptions ndots:2\n"},
	} {
		if got := string(ResolvConf(&tt.hc, []byte(host))); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.hc.DNS, got, tt.want)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]int{
		"9": 9, "KILL": 9, "SIGTERM": 15, "term": 15, "RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX-2": 62,
		"": 0, "0": 0, "65": 0, "NOSUCH": 0, "RTMIN+99": 0, "RTMAX+1": 0,
	} {
		got, err := ParseSignal(text)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}
