package uplink

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPasta(t *testing.T) {
	program, err := exec.LookPath("pasta")
	if err != nil {
		t.Skip("pasta is not installed")
	}
	if !inLab(t, "pasta") {
		return
	}
	// Whichever is installed is good enough for some bytes.
	dir, err := os.MkdirTemp("/var/tmp", "uplink") // the process finds another /tmp
	must(t, err)
	defer os.RemoveAll(dir)
	script := "#!/bin/sh\n[ \"$1\" = --version ] && { echo pasta " + oldestPasta + ".test; exit; }\nexec " + program + " \"$@\"\n"
	must(t, os.WriteFile(dir+"/pasta", []byte(script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	n := newSpace(t)
	u, err := Start(Config{Space: n, Namespace: n.file, Driver: Pasta})
	must(t, err)
	if got := u.Driver(); got != Pasta || !u.Masquerade() {
		t.Fatalf("the driver is %s: %v", got, u.Warnings())
	}
	for _, family := range []struct {
		name            string
		other, loopback netip.Addr
		host            netip.Addr
	}{
		{"IPv4", otherv4, netip.MustParseAddr("127.0.0.1"), u.Host()[0]},
		{"IPv6", otherv6, netip.IPv6Loopback(), u.Host()[1]},
	} {
		t.Run(family.name, func(t *testing.T) {
			exchange(t, n, echo(t, family.other))
			exchange(t, n, netip.AddrPortFrom(family.host, echo(t, unspecified(family.host)).Port()))
			port := echo(t, family.loopback).Port()
			for _, host := range []netip.Addr{family.host, hostIPv4(), hostIPv6()} {
				if host.Is4() != family.host.Is4() {
					continue
				}
				if c, err := n.dial("tcp", netip.AddrPortFrom(host, port)); err == nil {
					c.Close()
					t.Errorf("connected to a service on loopback by %s", host)
				}
			}
		})
	}
	// One that dies is replaced.
	must(t, u.pasta.process.Process.Kill())
	for began := time.Now(); u.Driver() == Pasta || !u.working(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("nobody took over: %v", u.Warnings())
		}
	}
	exchange(t, n, echo(t, otherv4))
	if _, err := n.dial("tcp", netip.AddrPortFrom(otherv4, 1)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	must(t, u.Close())
}

// exchange sends some bytes and has them back.
func exchange(t *testing.T, from *space, to netip.AddrPort) {
	t.Helper()
	c, err := from.dial("tcp", to)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = c.Write([]byte("hello"))
	must(t, err)
	b := make([]byte, 5)
	_, err = io.ReadFull(c, b)
	must(t, err)
	if string(b) != "hello" {
		t.Errorf("%q came back", b)
	}
}

// working says whether the stack has taken over.
func (u *Uplink) working() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.stack != nil
}

// TestDriver: what is asked for and cannot be had is said, and something works.
func TestDriver(t *testing.T) {
	if !inLab(t, "tun") {
		return
	}
	t.Setenv("PATH", t.TempDir())
	n := newSpace(t)
	for driver, warns := range map[string]bool{"": false, Pasta: true, Builtin: false} {
		u, err := Start(Config{Space: n, Namespace: n.file, Driver: driver})
		must(t, err)
		if got := u.Warnings(); u.Driver() != Builtin || (len(got) > 0) != warns {
			t.Errorf("%q is %s and warns %q", driver, u.Driver(), got)
		}
		testConnection(t, n, echo(t, otherv4))
		must(t, u.Close())
	}
	if u, err := Start(Config{Space: n, Driver: "slirp"}); err == nil {
		u.Close()
		t.Error("an unknown driver was taken")
	}
	// What a killed process left is no hindrance.
	must(t, n.Do(func() error {
		_, err := openPair(n, MTU)
		return err
	}))
	u, err := Start(Config{Space: n, Driver: Builtin})
	must(t, err)
	testConnection(t, n, echo(t, otherv4))
	must(t, u.Close())
}
