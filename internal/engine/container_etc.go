package engine

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	units "github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"berth/internal/shim"
	"berth/internal/spec"
	"berth/internal/state"
)

// etcFiles writes /etc/hosts, /etc/resolv.conf and /etc/hostname of a container
// anew at every start. A container that shares another's network shares its
// files as well.
func (e *Engine) etcFiles(r *record) (spec.Files, error) {
	id := r.ID
	if other, ok := strings.CutPrefix(string(r.HostConfig.NetworkMode), "container:"); ok {
		id = other
	}
	f := spec.Files{
		Hosts:      e.containerDir(id, hostsFile),
		ResolvConf: e.containerDir(id, resolvFile),
		Hostname:   e.containerDir(r.ID, hostnameFile),
	}
	if err := state.WriteVolatile(f.Hostname, []byte(r.Config.Hostname+"\n"), 0o644); err != nil {
		return f, err
	}
	if id != r.ID {
		return f, nil
	}
	hosts, err := hostsText(r)
	if err != nil {
		return f, err
	}
	if err := state.WriteVolatile(f.Hosts, hosts, 0o644); err != nil {
		return f, err
	}
	return f, state.WriteVolatile(f.ResolvConf, resolvText(r), 0o644)
}

// hostsText is the host's own file where the host's network is shared, else
// the customary names of the loopback interface; then --add-host.
func hostsText(r *record) ([]byte, error) {
	var b bytes.Buffer
	if r.HostConfig.NetworkMode == "none" {
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	} else if host, err := os.ReadFile("/etc/hosts"); err == nil {
		b.Write(bytes.TrimRight(host, "\n"))
		b.WriteByte('\n')
	}
	if !strings.Contains(b.String(), r.Config.Hostname) {
		name := r.Config.Hostname
		if r.Config.Domainname != "" {
			name = name + "." + r.Config.Domainname + " " + name
		}
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", name)
	}
	for _, h := range r.HostConfig.ExtraHosts {
		name, addr, ok := strings.Cut(h, ":")
		if !ok {
			return nil, &Error{Kind: ErrInvalid, Text: fmt.Sprintf("bad format for add-host: %q", h)}
		}
		if addr == "host-gateway" {
			addr = "127.0.0.1" // the host's network is shared
		}
		fmt.Fprintf(&b, "%s\t%s\n", strings.Trim(addr, "[]"), name)
	}
	return b.Bytes(), nil
}

// resolvText is the host's file unless --dns and its kin say otherwise.
func resolvText(r *record) []byte {
	hc := r.HostConfig
	host, _ := os.ReadFile("/etc/resolv.conf")
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

// stopSignal is the container's, SIGTERM by default.
func stopSignal(r *record) int {
	if n, err := parseSignal(r.Config.StopSignal); err == nil {
		return n
	}
	return int(unix.SIGTERM)
}

// stopTimeout is the container's, 10 s by default.
func stopTimeout(r *record) int {
	if r.Config.StopTimeout != nil {
		return *r.Config.StopTimeout
	}
	return 10
}

// parseSignal reads TERM, SIGTERM, 15 or RTMIN+3.
func parseSignal(text string) (int, error) {
	bad := &Error{Kind: ErrInvalid, Text: "invalid signal: " + text}
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 || n > 64 {
			return 0, bad
		}
		return n, nil
	}
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	for _, rt := range []struct {
		word string
		base int
	}{{"RTMIN", 34}, {"RTMAX", 64}} {
		if off, ok := strings.CutPrefix(name, rt.word); ok {
			n := 0
			if off != "" {
				var err error
				if n, err = strconv.Atoi(off); err != nil {
					return 0, bad
				}
			}
			if n += rt.base; n < 34 || n > 64 {
				return 0, bad
			}
			return n, nil
		}
	}
	if s := unix.SignalNum("SIG" + name); s != 0 {
		return int(s), nil
	}
	return 0, bad
}

// logOptions reads --log-driver and --log-opt.
func logOptions(r *record) shim.LogOptions {
	c := r.HostConfig.LogConfig
	o := shim.LogOptions{Off: c.Type == "none"}
	if size, err := units.RAMInBytes(c.Config["max-size"]); err == nil && size > 0 {
		o.MaxSize = size
	}
	if n, err := strconv.Atoi(c.Config["max-file"]); err == nil {
		o.MaxFiles = n
	}
	return o
}
