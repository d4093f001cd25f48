package nettest

import (
	"errors"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPorts is which ports a container gets, where they are shown and answer, and
// what is said when they cannot be had.
func TestPorts(t *testing.T) {
	hosts(t, func(h *host) {
		// The first has its choice of the range, the second the rest of it.
		h.run("web", "--network", "bridge", "-p", "8080:80", "-p", "127.0.0.1::80", "-p", "8090-8091:80/udp", "-P", "--expose", "7000")
		h.run("other", "--network", "bridge", "-p", "8090-8091:80/udp")
		ports := h.berth("port", "web")
		for _, line := range []string{"80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080", "80/tcp -> 127.0.0.1:", "80/udp -> 0.0.0.0:8090", "80/udp -> [::]:8090", "7000/tcp -> 0.0.0.0:"} {
			if !strings.Contains(ports+"\n", line) {
				h.t.Errorf("no %q in\n%s", line, ports)
			}
		}
		if got := h.berth("port", "other", "80/udp"); got != "0.0.0.0:8091\n[::]:8091" {
			h.t.Errorf("the next of the range: %q", got)
		}
		random := "none"
		for line := range strings.Lines(ports) {
			if at, ok := strings.CutPrefix(strings.TrimSpace(line), "80/tcp -> 127.0.0.1:"); ok {
				random = "tcp/127.0.0.1:" + at
			}
		}
		// A container that has just started may not listen yet.
		answer := func(addrs ...string) {
			h.t.Helper()
			silent := addrs
			for deadline := time.Now().Add(20 * time.Second); len(silent) > 0 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
				got := h.callsFrom(h.here, addrs...)
				silent = slices.DeleteFunc(slices.Clone(addrs), func(a string) bool { return got[a] != "" })
			}
			if len(silent) > 0 {
				h.t.Errorf("nobody answers at %v", silent)
			}
		}
		answer("tcp/127.0.0.1:8080", "tcp/[::1]:8080", "udp/127.0.0.1:8090", "udp/[::1]:8091", random)
		h.berth("restart", "-t", "0", "web")
		answer("tcp/127.0.0.1:8080", "udp/127.0.0.1:8090")

		h.refused("Bind for 0.0.0.0:8080 failed: port is already allocated: container web listens there; 8081 is free: use -p 8081:80", "-p", "8080:80")
		h.refused("none of 8090-8091/udp is free", "-p", "8090-8091:80/udp")
		h.refused("no interface of this host has the address 198.51.100.9", "-p", "198.51.100.9:8080:80")
		h.refused("the same container's port 80 listens there", "-p", "8085:80", "-p", "8085:81")
		var l net.Listener
		must(h.t, h.here.Do(func() (err error) { l, err = net.Listen("tcp4", "127.0.0.1:9999"); return err }))
		h.refused("Bind for 0.0.0.0:9999 failed: port is already allocated: root listens there; 10000 is free: use -p 10000:80", "-p", "9999:80")
		l.Close()
		if h.uid != 0 {
			h.refused("sysctl -w net.ipv4.ip_unprivileged_port_start=79", "-p", "79:80")
		}

		// What is killed gives its port back; many ports are shown as one range.
		h.berth("kill", "web")
		h.run("many", "--network", "bridge", "-p", "8080:80", "-p", "20000-20099:20000-20099")
		answer("tcp/127.0.0.1:8080")
		if got := h.berth("ps", "--no-trunc", "--filter", "name=many", "--format", "{{.Ports}}"); !strings.Contains(got, "0.0.0.0:20000-20099->20000-20099/tcp") {
			h.t.Errorf("ps: %s", got)
		}
		h.berth("rm", "-f", "web", "other", "many")
		h.clean()
	})
}

// refused runs a container that must not start.
func (h *host) refused(want string, args ...string) {
	h.t.Helper()
	out, err := h.try(append(append([]string{"run", "--rm", "--network", "bridge"}, args...), "busybox", "true")...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 125 || !strings.Contains(out, want) {
		h.t.Errorf("%v: %v\n%s\nwant %q", args, err, out, want)
	}
}
