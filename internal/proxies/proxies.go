// Package proxies decides which HTTP proxies programs in a container are told of,
// by the variables that most programs understand: HTTP_PROXY and http_proxy, and
// so on.
//
// They are those of the Docker client's settings (~/.docker/config.json), else
// those of berth's configuration, else those of the caller's environment; what
// the command gives the container comes before all of them. Docker knows only the
// first. Who is behind a proxy has the last in any case, and needs it inside.
//
// A proxy on the host's loopback cannot be reached from a network namespace other
// than the host's. If it listens on the host's other addresses as well, the
// container is told to find it there; else nothing helps but to say so.
package proxies

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"berth/internal/listeners"
)

// HostName is what the server of names in a container's network calls the host.
const HostName = "host.docker.internal"

// Sources are where proxies may be named: by Docker's words httpProxy,
// httpsProxy, noProxy, ftpProxy and allProxy.
type Sources struct {
	Docker map[string]string // of ~/.docker/config.json
	Berth  map[string]string // of berth's configuration; one that is empty, but not nil, stands for none
	Getenv func(string) string
}

// variables lists Docker's words with the names of the variables, in small
// letters.
func variables() [][2]string {
	return [][2]string{
		{"httpProxy", "http_proxy"}, {"httpsProxy", "https_proxy"}, {"noProxy", "no_proxy"}, {"ftpProxy", "ftp_proxy"}, {"allProxy", "all_proxy"},
	}
}

// Keys are Docker's words.
func Keys() []string {
	var keys []string
	for _, v := range variables() {
		keys = append(keys, v[0])
	}
	return keys
}

// choose returns the proxies by Docker's words.
func (s Sources) choose() map[string]string {
	if len(s.Docker) > 0 {
		return s.Docker
	}
	if s.Berth != nil || s.Getenv == nil {
		return s.Berth
	}
	env := map[string]string{}
	for _, v := range variables() {
		if env[v[0]] = s.Getenv(strings.ToUpper(v[1])); env[v[0]] == "" {
			env[v[0]] = s.Getenv(v[1])
		}
	}
	return env
}

// Env returns the variables that a container gets besides those given to it, as
// NAME=VALUE. apart says that it has a network namespace of its own, from which
// the host's loopback is out of reach; list is asked who listens on the host if
// that matters.
func (s Sources) Env(given []string, apart bool, list func() []listeners.Listener) (env, warnings []string) {
	chosen := s.choose()
	for _, v := range variables() {
		value := chosen[v[0]]
		if value == "" {
			continue
		}
		if apart && v[0] != "noProxy" {
			var warning string
			if value, warning = reachable(value, list); warning != "" && !slices.Contains(warnings, warning) {
				warnings = append(warnings, warning)
			}
		}
		for _, name := range []string{strings.ToUpper(v[1]), v[1]} {
			if !slices.ContainsFunc(given, func(kv string) bool { return kv == name || strings.HasPrefix(kv, name+"=") }) {
				env = append(env, name+"="+value)
			}
		}
	}
	return env, warnings
}

// reachable returns the address under which a container reaches a proxy.
func reachable(value string, list func() []listeners.Listener) (string, string) {
	text, scheme := value, ""
	if !strings.Contains(text, "://") {
		text, scheme = "http://"+text, "http://" // curl and others take it so
	}
	u, err := url.Parse(text)
	if err != nil || !loopback(u.Hostname()) {
		return value, ""
	}
	port := uint16(80)
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		port = uint16(n)
	} else if u.Scheme == "https" {
		port = 443
	} else if strings.HasPrefix(u.Scheme, "socks") {
		port = 1080
	}
	open := slices.ContainsFunc(list(), func(l listeners.Listener) bool {
		return l.Proto == "tcp" && l.Port == port && l.Addr.IsUnspecified()
	})
	if !open {
		return value, fmt.Sprintf("the proxy %s is on the host's loopback, where the container cannot reach it: "+
			"let it listen on all addresses, name one that is not on this machine, or use --network host", u.Redacted())
	}
	u.Host = HostName + strings.TrimPrefix(u.Host, bracketed(u.Hostname()))
	return strings.TrimPrefix(u.String(), scheme), ""
}

func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}
