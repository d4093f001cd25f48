package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Sysctl reads a setting of the namespace, named by its path below /proc/sys/net.
func (s *Space) Sysctl(name string) (string, error) {
	var value string
	err := s.Do(func() error {
		b, err := os.ReadFile("/proc/sys/net/" + name)
		value = strings.TrimSpace(string(b))
		return err
	})
	return value, err
}

// SetSysctl changes a setting of the namespace.
func (s *Space) SetSysctl(name, value string) error {
	return s.Do(func() error { return writeSysctl(name, value) })
}

// writeSysctl writes below /proc/sys/net, which for a thread is that of the
// namespace it is in.
func writeSysctl(name, value string) error {
	f, err := os.OpenFile("/proc/sys/net/"+name, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(value)
		f.Close()
	}
	if err != nil {
		return fmt.Errorf("set net.%s to %s: %w", strings.ReplaceAll(name, "/", "."), value, err)
	}
	return nil
}

// setting is a sysctl of an interface.
type setting struct{ family, name, value string }

// tune sets what an interface needs before it goes up. What the kernel lacks, as
// one without IPv6, or what is mounted read-only, as in a container of another
// engine, is left as it is: the interface works without, if slower.
func (s *Space) tune(iface string, settings ...setting) error {
	return s.Do(func() error {
		for _, t := range settings {
			err := writeSysctl(t.family+"/conf/"+iface+"/"+t.name, t.value)
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !readOnly(err) {
				return err
			}
		}
		return nil
	})
}

// Route makes the namespace, which must be one of ours, pass packets on between
// its interfaces. Bridges in it are switches only: rules for IP packets, as
// br_netfilter of the host would apply them, cost throughput between containers
// of a network and decide nothing there.
func (s *Space) Route() error {
	for _, t := range []struct{ name, value string }{
		{"ipv4/ip_forward", "1"},
		{"ipv6/conf/all/forwarding", "1"},
		{"bridge/bridge-nf-call-iptables", "0"},
		{"bridge/bridge-nf-call-ip6tables", "0"},
		{"bridge/bridge-nf-call-arptables", "0"},
	} {
		if err := s.SetSysctl(t.name, t.value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
