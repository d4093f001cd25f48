package nettest

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/internal/network/link"
	"berth/test/lab"
)

const (
	hostAddr   = "192.0.2.1"
	otherAddr  = "192.0.2.2"
	hostAddr6  = "2001:db8::1"
	otherAddr6 = "2001:db8::2"
)

// host is a machine with berth, and another one on the same cable.
type host struct {
	t     *testing.T
	place *lab.Place
	uid   int
	probe string // the test program, where everybody can read it

	here, other *link.Space
	before      []string // what the host had
}

// hosts runs test as root and as the ordinary account, on new hosts each.
func hosts(t *testing.T, test func(h *host)) {
	// The registries end with the thread that started them, and threads that were in
	// other namespaces end.
	runtime.LockOSThread()
	l := lab.Open(t)
	probe := filepath.Join(l.Dir, "probe")
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(probe, self, 0o755))
	for _, who := range []struct {
		name string
		uid  int
	}{{"root", 0}, {"user", lab.UID}} {
		t.Run(who.name, func(t *testing.T) {
			dir := filepath.Join(l.Dir, "net-"+strings.ReplaceAll(t.Name(), "/", "-"))
			must(t, os.Mkdir(dir, 0o755))
			h := &host{t: t, place: l.Place(t, dir), uid: who.uid, probe: probe}
			if who.uid != 0 {
				out, err := exec.Command("chown", "-R", fmt.Sprintf("%d:%d", who.uid, who.uid), dir).CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			h.cable()
			h.image()
			test(h)
		})
	}
}

// cable makes both hosts. The other one takes the first for a router.
func (h *host) cable() {
	cable := h.space()
	must(h.t, cable.s.EnsureBridge(link.Bridge{Name: "cable"}))
	for _, x := range []struct {
		at    **link.Space
		addrs []string
		gw    []string
	}{
		{&h.here, []string{hostAddr + "/24", hostAddr6 + "/64"}, []string{otherAddr, otherAddr6}},
		{&h.other, []string{otherAddr + "/24", otherAddr6 + "/64"}, []string{hostAddr, hostAddr6}},
	} {
		n := h.space()
		*x.at = n.s
		inner := link.Inner{Namespace: n.ns, Name: "lan0"}
		for _, a := range x.addrs {
			inner.Addresses = append(inner.Addresses, netip.MustParsePrefix(a))
		}
		for _, g := range x.gw {
			inner.Gateways = append(inner.Gateways, netip.MustParseAddr(g))
		}
		must(h.t, cable.s.Attach(link.Pair{Bridge: "cable", Name: "to-" + x.addrs[0][:9], Inner: inner}))
	}
	must(h.t, h.other.Do(serve))
	must(h.t, h.here.SetSysctl("ipv4/ip_forward", "0"))
	must(h.t, h.here.SetSysctl("ipv6/conf/all/forwarding", "0"))
	h.before = h.kernel()
}

type namespace struct {
	s  *link.Space
	ns *os.File
}

func (h *host) space() namespace {
	h.t.Helper()
	s, ns, err := link.New()
	must(h.t, err)
	h.t.Cleanup(func() { s.Close(); ns.Close() })
	return namespace{s, ns}
}

// image pulls the image where the registry is, on the machine of the tests.
func (h *host) image() {
	h.t.Helper()
	cmd := h.command("pull", "-q", "busybox")
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("pull: %v\n%s", err, out)
	}
}

func (h *host) command(args ...string) *exec.Cmd {
	cmd := h.place.Command("berth", args...)
	if h.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(h.uid), Gid: uint32(h.uid)}}
	}
	return cmd
}

// start starts a command on the host.
func (h *host) start(cmd *exec.Cmd) error { return h.here.Do(cmd.Start) }

// try runs berth on the host.
func (h *host) try(args ...string) (string, error) {
	var out strings.Builder
	cmd := h.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := h.start(cmd)
	if err == nil {
		timer := time.AfterFunc(lab.Patience, func() { cmd.Process.Kill() })
		defer timer.Stop()
		err = cmd.Wait()
	}
	return strings.TrimSpace(out.String()), err
}

// berth is try for a command that has to succeed.
func (h *host) berth(args ...string) string {
	h.t.Helper()
	out, err := h.try(args...)
	if err != nil {
		h.t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// run starts a container that answers.
func (h *host) run(name string, args ...string) {
	h.t.Helper()
	all := append([]string{"run", "-d", "--name", name, "-v", h.probe + ":/probe:ro"}, args...)
	h.berth(append(all, "busybox", "/probe", "serve")...)
	// Started is not yet listening.
	for end := time.Now().Add(lab.Patience); h.calls(name, "tcp/127.0.0.1:80")["tcp/127.0.0.1:80"] == ""; {
		if time.Now().After(end) {
			h.t.Fatalf("%s does not listen", name)
		}
	}
}

// calls asks from a container.
func (h *host) calls(container string, addrs ...string) map[string]string {
	h.t.Helper()
	out := h.berth(append([]string{"exec", container, "/probe", "call"}, addrs...)...)
	return answers(out)
}

// callsFrom asks from one of the hosts.
func (h *host) callsFrom(s *link.Space, addrs ...string) map[string]string {
	h.t.Helper()
	var out strings.Builder
	cmd := exec.Command(h.probe, append([]string{"call"}, addrs...)...)
	cmd.Stdout = &out
	err := s.Do(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	must(h.t, err)
	return answers(out.String())
}

func answers(out string) map[string]string {
	all := map[string]string{}
	for _, line := range strings.Split(out, "\n") {
		addr, answer, _ := strings.Cut(line, " ")
		all[addr] = answer
	}
	return all
}

// kernel lists what networks leave in a kernel: interfaces, tables of the packet
// filter, sockets that listen, and how packets are forwarded.
func (h *host) kernel() []string {
	h.t.Helper()
	var all []string
	links, err := h.here.Links()
	must(h.t, err)
	for _, l := range links {
		all = append(all, "interface "+l.Name)
	}
	err = h.here.Do(func() error {
		out, err := exec.Command("nft", "list", "tables").CombinedOutput()
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			if line != "" {
				all = append(all, line)
			}
		}
		for _, name := range []string{"tcp", "tcp6", "udp", "udp6"} {
			table, _ := os.ReadFile("/proc/thread-self/net/" + name)
			for _, line := range strings.Split(string(table), "\n") {
				if f := strings.Fields(line); len(f) > 3 && (f[3] == "0A" || f[3] == "07") {
					all = append(all, "socket "+name+" "+f[1])
				}
			}
		}
		return err
	})
	must(h.t, err)
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		v, err := h.here.Sysctl(name)
		must(h.t, err)
		all = append(all, name+"="+v)
	}
	slices.Sort(all)
	return all
}

// clean fails if anything is left after the last container.
func (h *host) clean() {
	h.t.Helper()
	var now []string
	for range 200 { // the holder ends some seconds after
		if now = h.kernel(); slices.Equal(now, h.before) && len(h.holders()) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	h.t.Errorf("the host had\n%s\nand is left with\n%s\nholders: %v", strings.Join(h.before, "\n"), strings.Join(now, "\n"), h.holders())
}

// holders are the processes that hold the networks of the place.
func (h *host) holders() []int {
	var all []int
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		args, err := os.ReadFile(p + "/cmdline")
		if err == nil && strings.Contains(string(args), "berth-net") && strings.Contains(string(args), h.place.Root) {
			pid, _ := strconv.Atoi(filepath.Base(p))
			all = append(all, pid)
		}
	}
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
