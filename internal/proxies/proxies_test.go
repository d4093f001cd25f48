package proxies

import (
	"net/netip"
	"strings"
	"testing"

	"berth/internal/listeners"
)

func TestEnv(t *testing.T) {
	caller := func(name string) string {
		return map[string]string{"HTTP_PROXY": "http://caller:1", "http_proxy": "http://small:1", "https_proxy": "http://caller:2"}[name]
	}
	nobody := func(string) string { return "" }
	docker := map[string]string{"httpProxy": "http://d:1", "noProxy": "localhost"}
	for name, tt := range map[string]struct {
		from  Sources
		given []string
		want  string
	}{
		"nothing":             {Sources{Getenv: nobody}, nil, ""},
		"settings":            {Sources{docker, map[string]string{"httpProxy": "b"}, caller}, nil, "HTTP_PROXY=http://d:1 http_proxy=http://d:1 NO_PROXY=localhost no_proxy=localhost"},
		"given":               {Sources{docker, nil, caller}, []string{"HTTP_PROXY=", "no_proxy"}, "http_proxy=http://d:1 NO_PROXY=localhost"},
		"configuration":       {Sources{nil, map[string]string{"allProxy": "socks5://b:1"}, caller}, nil, "ALL_PROXY=socks5://b:1 all_proxy=socks5://b:1"},
		"configuration: none": {Sources{nil, map[string]string{}, caller}, nil, ""},
		"environment":         {Sources{nil, nil, caller}, nil, "HTTP_PROXY=http://caller:1 http_proxy=http://caller:1 HTTPS_PROXY=http://caller:2 https_proxy=http://caller:2"},
	} {
		env, warnings := tt.from.Env(tt.given, false, nil)
		if got := strings.Join(env, " "); got != tt.want || len(warnings) > 0 {
			t.Errorf("%s: %q, %q; want %q", name, got, warnings, tt.want)
		}
	}
}

func TestLoopback(t *testing.T) {
	list := func() []listeners.Listener {
		return []listeners.Listener{
			{Proto: "tcp", Addr: netip.IPv4Unspecified(), Port: 3128},
			{Proto: "tcp", Addr: netip.IPv6Unspecified(), Port: 80},
			{Proto: "tcp", Addr: netip.MustParseAddr("127.0.0.1"), Port: 8080},
			{Proto: "udp", Addr: netip.IPv4Unspecified(), Port: 8080},
		}
	}
	for value, want := range map[string]string{
		"http://127.0.0.1:3128":        "http://host.docker.internal:3128",
		"http://127.8.8.8:3128/":       "http://host.docker.internal:3128/",
		"http://u:p%40@localhost:3128": "http://u:p%40@host.docker.internal:3128",
		"http://[::1]:3128":            "http://host.docker.internal:3128",
		"http://localhost":             "http://host.docker.internal",
		"127.0.0.1:3128":               "host.docker.internal:3128",
		"http://proxy.example:8080":    "http://proxy.example:8080",
		"http://10.0.0.1:8080":         "http://10.0.0.1:8080",
		"%%":                           "%%",
		"http://127.0.0.1:8080":        "warned of http://127.0.0.1:8080",
		"http://u:secret@127.0.0.1:81": "warned of http://u:xxxxx@127.0.0.1:81",
		"socks5://localhost":           "warned of socks5://localhost",
	} {
		s := Sources{Docker: map[string]string{"httpProxy": value, "httpsProxy": value, "noProxy": "127.0.0.1"}}
		env, warnings := s.Env(nil, true, list)
		if strings.HasPrefix(want, "warned of ") {
			of := strings.TrimPrefix(want, "warned of ")
			if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "the proxy "+of+" is on the host's loopback") || env[0] != "HTTP_PROXY="+value {
				t.Errorf("%s: %q %q", value, env, warnings)
			}
			continue
		}
		if len(warnings) != 0 || env[0] != "HTTP_PROXY="+want || env[5] != "no_proxy=127.0.0.1" {
			t.Errorf("%s: %q %q, want %s", value, env, warnings, want)
		}
	}
}
