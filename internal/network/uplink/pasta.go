package uplink

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// pasta is the program pasta (https://passt.top), which does the stack's work in
// a process of its own. It enters the namespace and makes the interface there,
// and ends with this process.
type pasta struct {
	process *exec.Cmd
	stderr  bytes.Buffer
	ended   chan struct{} // closed when the process has ended
}

// oldestPasta is the first version that is taken; versions are dates. One of
// March 2023, which Debian 12 has, gave other bytes to the receiver than were
// sent when both sides were busy (the test of this package saw it), and what is
// built without a version may be that one.
const oldestPasta = "2024_09_06"

// pastaStart is how long it may take to make the interface.
const pastaStart = 2 * time.Second

// startPasta has the uplink made by pasta.
func (u *Uplink) startPasta() error {
	program, err := findPasta()
	if err != nil {
		return err
	}
	if u.config.Namespace == nil {
		return errors.New("it needs the namespace's file")
	}
	if err := u.config.Space.Do(removeInterface); err != nil {
		return err
	}
	p := &pasta{ended: make(chan struct{})}
	p.process = exec.Command(program, pastaArguments(u.config)...)
	p.process.Stderr = &p.stderr
	p.process.Env = []string{"PATH=/usr/bin:/bin"}
	p.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go p.run(u.config.Namespace, started)
	if err := <-started; err != nil {
		return err
	}
	if err := p.wait(u.config.Space); err != nil {
		p.Close()
		return err
	}
	u.mu.Lock()
	u.pasta = p
	u.mu.Unlock()
	go u.replacePasta(p)
	return nil
}

// pastaNamespace is where the process finds the namespace.
const pastaNamespace = "/tmp/netns"

// run starts the process and waits for it. The process closes what files it
// inherits, and gives up the right to look at those of this one. So it gets a
// mount namespace in which the network namespace is a file. The thread stays
// there, and ends only after the process, which it would take along.
func (p *pasta) run(ns *os.File, started chan<- error) {
	defer close(p.ended)
	runtime.LockOSThread()
	err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, "")
	}
	if err == nil {
		err = unix.Mount("tmpfs", path.Dir(pastaNamespace), "tmpfs", 0, "mode=700")
	}
	if err == nil {
		err = unix.Mknod(pastaNamespace, unix.S_IFREG|0o600, 0)
	}
	if err == nil {
		err = unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), pastaNamespace, "", unix.MS_BIND, "")
	}
	if err == nil {
		err = p.process.Start()
	}
	started <- err
	if err == nil {
		_ = p.process.Wait()
	}
}

// findPasta finds a pasta that is not too old.
func findPasta() (string, error) {
	program, err := exec.LookPath("pasta")
	if err != nil {
		return "", errors.New("it is not installed")
	}
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", program, err)
	}
	if v := pastaVersion(string(out)); v < oldestPasta {
		if v == "" {
			v = "unknown version"
		}
		return "", fmt.Errorf("%s is %s, needed is %s", program, v, oldestPasta)
	}
	return program, nil
}

// pastaVersion is the date in the first line, as 2024_09_06.1ee2eca or
// 0.0~git20230309.7c7625d-1; empty if it has none.
func pastaVersion(out string) string {
	line, _, _ := strings.Cut(out, "\n")
	for i := range len(line) {
		rest := line[i:]
		if v, ok := pastaDate(rest, "_"); ok {
			return v
		}
		if v, ok := pastaDate(rest, ""); ok {
			return v
		}
	}
	return ""
}

// pastaDate reads a date with separators at the begin of s.
func pastaDate(s, separator string) (string, bool) {
	n := 8 + 2*len(separator)
	if len(s) < n {
		return "", false
	}
	d, err := time.Parse("2006"+separator+"01"+separator+"02", s[:n])
	return d.Format("2006_01_02"), err == nil
}

// pastaArguments is the command line. Without ports: those are forwarded in
// another way. The gateway's address must not mean the host's loopback, as it
// would.
func pastaArguments(c Config) []string {
	return []string{
		"--foreground", "--quiet", "--config-net", "--netns-only",
		"--netns", pastaNamespace, "--no-netns-quit",
		"--ns-ifname", Interface, "--mtu", strconv.Itoa(c.MTU),
		"--address", ownIPv4().String(), "--netmask", "24", "--gateway", hostIPv4().String(),
		"--address", ownIPv6().String(), "--gateway", hostIPv6().String(),
		"--no-map-gw", "--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none",
	}
}

// wait waits until the interface is there and has its route.
func (p *pasta) wait(in Space) error {
	for began := time.Now(); time.Since(began) < pastaStart; time.Sleep(2 * time.Millisecond) {
		select {
		case <-p.ended:
			lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
			return fmt.Errorf("it ended at once: %s", lines[len(lines)-1])
		default:
		}
		there := false
		err := in.Do(func() error {
			l, err := netlink.LinkByName(Interface)
			if err != nil {
				return nil // not yet
			}
			routes, err := netlink.RouteList(l, netlink.FAMILY_V4)
			for _, r := range routes {
				ones := 0
				if r.Dst != nil {
					ones, _ = r.Dst.Mask.Size()
				}
				there = there || ones == 0
			}
			return err
		})
		if err != nil {
			return err
		}
		if there {
			return nil
		}
	}
	return fmt.Errorf("it made no interface within %s", pastaStart)
}

// replacePasta puts the stack in the place of a pasta that has ended, so that
// containers lose their connections, but not their network.
func (u *Uplink) replacePasta(p *pasta) {
	<-p.ended
	u.mu.Lock()
	closed := u.closed
	u.pasta = nil
	u.mu.Unlock()
	if closed {
		return
	}
	if err := u.startStack(); err != nil && !errors.Is(err, os.ErrClosed) {
		u.mu.Lock()
		u.warnings = append(u.warnings, fmt.Sprintf("pasta has ended, and its work cannot be taken over: %v", err))
		u.mu.Unlock()
	}
}

// Close ends the process.
func (p *pasta) Close() {
	_ = p.process.Process.Kill()
	<-p.ended
}
