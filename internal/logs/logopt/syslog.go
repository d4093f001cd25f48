package logopt

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"berth/internal/logs"
)

// facilities are RFC 5424's, section 6.2.1, by their number.
func facilities() []string {
	return []string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}
}

func syslog(config map[string]string) (*logs.Syslog, error) {
	s := &logs.Syslog{Facility: 3, Format: config["syslog-format"]}
	if f := config["syslog-facility"]; f != "" {
		n, err := strconv.Atoi(f)
		if err != nil {
			n = slices.Index(facilities(), f)
		}
		if n < 0 || n > 23 {
			return nil, fmt.Errorf("invalid syslog facility %q", f)
		}
		s.Facility = n
	}
	if !slices.Contains([]string{"", "rfc3164", "rfc5424", "rfc5424micro"}, s.Format) {
		return nil, fmt.Errorf("invalid syslog format %q: rfc3164, rfc5424 and rfc5424micro are known", s.Format)
	}
	return s, address(s, config["syslog-address"])
}

// address reads PROTOCOL://ADDRESS.
func address(s *logs.Syslog, addr string) error {
	if addr == "" {
		return nil
	}
	u, err := url.Parse(addr)
	if err != nil {
		return fmt.Errorf("log opt 'syslog-address': %w", err)
	}
	s.Network = u.Scheme
	switch u.Scheme {
	case "unix", "unixgram":
		s.Address = u.Path
		if fi, err := os.Stat(u.Path); err != nil {
			return fmt.Errorf("log opt 'syslog-address': %w", err)
		} else if fi.Mode()&os.ModeSocket == 0 || !filepath.IsAbs(u.Path) {
			return fmt.Errorf("log opt 'syslog-address': %s is not the absolute path of a socket", u.Path)
		}
		return nil
	case "udp", "tcp":
		s.Address = u.Host
		if u.Port() == "" {
			s.Address = net.JoinHostPort(u.Hostname(), "514")
		} else if n, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || n == 0 {
			return fmt.Errorf("log opt 'syslog-address': invalid port in %q", addr)
		}
		return nil
	case "tcp+tls":
		return fmt.Errorf("log opt 'syslog-address': encrypted syslog is not supported: send to a syslog daemon on this machine that forwards it")
	}
	return fmt.Errorf("unsupported scheme: '%s' in log opt 'syslog-address'", u.Scheme)
}
