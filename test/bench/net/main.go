// Net measures how fast networks of containers are, beside podman where it is
// installed and works, and beside a bare pair of virtual interfaces, in one run:
// iperf3 from container to container, from a container to the host, and from the
// host to a published port, and how much longer a container takes to start on a
// bridge and with a published port. In each round every tool has its turn, so
// that whatever else the machine does hits all alike; figures are medians.
//
//	make bench-net
//	BENCH_ROUNDS=9 ...  more rounds
//
// It runs as root, in a network namespace of its own: bridges and rules are made
// there, and the machine's own network is as it was.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside is the variable that says that the process is in its namespace.
const inside = "BENCH_NET_INSIDE"

// host is the address of the machine in that namespace.
const host = "192.168.77.1"

// seconds is how long each measurement sends.
const seconds = "2"

func main() {
	if os.Getenv(inside) == "" {
		os.Exit(again())
	}
	if err := measure(); err != nil {
		fmt.Fprintf(os.Stderr, "bench-net: %v\n", err)
		os.Exit(1)
	}
}

// again starts the program once more in namespaces of its own.
func again() int {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGTERM}
	err := cmd.Run()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		return failed.ExitCode()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench-net: needs root: %v\n", err)
		return 1
	}
	return 0
}

// setUp makes the namespace look like a machine: an interface with an address
// and a default route.
func setUp() error {
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return err
	}
	// Some machines keep the device to root; most do not.
	err := unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, "")
	if err == nil {
		err = unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200)))
	}
	if err == nil {
		err = os.Chmod("/dev/net/tun", 0o666)
	}
	if err != nil {
		fmt.Printf("accounts have no tun device here: %v\n", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "eth0"
	eth := &netlink.Veth{LinkAttrs: attrs, PeerName: "wire"}
	if err := netlink.LinkAdd(eth); err != nil {
		return err
	}
	wire, err := netlink.LinkByName("wire")
	if err != nil {
		return err
	}
	return errors.Join(netlink.LinkSetUp(lo), netlink.LinkSetUp(wire), netlink.LinkSetUp(eth),
		netlink.AddrAdd(eth, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(host), Mask: net.CIDRMask(24, 32)}}),
		netlink.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: net.ParseIP("192.168.77.254")}))
}

func measure() error {
	if err := setUp(); err != nil {
		return err
	}
	rounds := 5
	if n, err := strconv.Atoi(os.Getenv("BENCH_ROUNDS")); err == nil {
		rounds = n
	}
	// An ordinary account must reach it, on a disk.
	dir, err := os.MkdirTemp("/var/tmp", "bench-net-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	tools, err := findTools(dir)
	if err != nil {
		return err
	}
	defer func() {
		for _, t := range tools {
			t.clean()
		}
	}()
	load, _ := os.ReadFile("/proc/loadavg")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	fmt.Printf("%d cores, kernel %s, load before %s", runtime.NumCPU(), strings.TrimSpace(string(kernel)), load)
	bare, stop, err := barePair()
	if err != nil {
		return err
	}
	defer stop()
	stopHost, err := serveHost()
	if err != nil {
		return err
	}
	defer stopHost()
	wire := entry{name: "bare veth pair", one: bare}
	compare("container to container, Gbit/s", rounds, append([]entry{wire}, entries(tools, toolPair)...))
	compare("container to the host, Gbit/s", rounds, append([]entry{wire}, entries(tools, toHost)...))
	compare("host to a published port, Gbit/s", rounds, append([]entry{wire}, entries(tools, toPort)...))
	for _, t := range tools {
		compare(t.name+": run --rm IMAGE true, ms", 3*rounds, []entry{
			{"--network none", t.start("--network", "none")},
			{"on a bridge", t.start("--network", t.network)},
			{"with a published port", t.start("--network", t.network, "-p", "127.0.0.1::80")},
		})
	}
	return nil
}

// entry is one way to do what is measured.
type entry struct {
	name string
	one  func() (float64, error)
}

func entries(tools []*tool, make func(*tool) func() (float64, error)) []entry {
	var list []entry
	for _, t := range tools {
		list = append(list, entry{t.name, make(t)})
	}
	return list
}

// compare prints the medians of all entries and their ratio to the first one's.
func compare(title string, rounds int, list []entry) {
	got := make([][]float64, len(list))
	failed := make([]error, len(list))
	for range rounds {
		for i, e := range list {
			if failed[i] != nil {
				continue
			}
			v, err := e.one()
			if err != nil {
				failed[i] = err
				continue
			}
			got[i] = append(got[i], v)
		}
	}
	fmt.Printf("\n%s (%d rounds)\n", title, rounds)
	base := 0.0
	for i, e := range list {
		if failed[i] != nil {
			fmt.Printf("  %-28s does not work here: %v\n", e.name, failed[i])
			continue
		}
		slices.Sort(got[i])
		median := got[i][len(got[i])/2]
		if i == 0 {
			base = median
		}
		ratio := ""
		if base > 0 {
			ratio = fmt.Sprintf("%.2f", median/base)
		}
		fmt.Printf("  %-28s %8.2f  %6s\n", e.name, median, ratio)
	}
}

// iperf runs a client of iperf3 by cmd and returns what arrived, in Gbit/s.
func iperf(cmd *exec.Cmd) (float64, error) {
	out, err := cmd.Output()
	var report struct {
		Error string `json:"error"`
		End   struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if jsonErr := json.Unmarshal(out, &report); jsonErr != nil {
		return 0, withOutput(err, out)
	}
	if report.Error != "" {
		return 0, errors.New(report.Error)
	}
	return report.End.Received.Rate / 1e9, err
}

// withOutput is an error with the last line that the command has written.
func withOutput(err error, out []byte) error {
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		out = append(out, failed.Stderr...)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return fmt.Errorf("%w: %s", err, lines[len(lines)-1])
}

func clientArguments(to, port string) []string {
	return []string{"/usr/bin/iperf3", "-c", to, "-p", port, "-t", seconds, "-J", "--connect-timeout", "3000"}
}

// serveHost runs a server on the host.
func serveHost() (stop func(), err error) {
	cmd := exec.Command("iperf3", "-s", "-p", "5202")
	return serve(cmd, host+":5202")
}

// serve starts a server and waits until it answers.
func serve(cmd *exec.Cmd, address string) (stop func(), err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if err := answers(address); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// answers waits until somebody listens at an address.
func answers(address string) error {
	for range 100 {
		if c, err := net.Dial("tcp", address); err == nil {
			return c.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("iperf3 does not answer at %s", address)
}

// barePair joins two namespaces by a pair of interfaces, with nothing between:
// what the kernel can do here.
func barePair() (one func() (float64, error), stop func(), err error) {
	ready := make(chan error)
	ask := make(chan *exec.Cmd)
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for cmd := range ask {
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
			started <- cmd.Start()
		}
	}()
	if err := <-ready; err != nil {
		return nil, nil, err
	}
	hold := exec.Command("sleep", "1000000")
	ask <- hold
	if err := <-started; err != nil {
		return nil, nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "bare"
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "bare", PeerNamespace: netlink.NsPid(hold.Process.Pid)}
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, nil, err
	}
	far := exec.Command("nsenter", "-t", strconv.Itoa(hold.Process.Pid), "-n", "ip", "address", "add", "192.168.78.2/24", "dev", "bare")
	up := exec.Command("nsenter", "-t", strconv.Itoa(hold.Process.Pid), "-n", "ip", "link", "set", "bare", "up")
	err = errors.Join(netlink.AddrAdd(pair, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("192.168.78.1"), Mask: net.CIDRMask(24, 32)}}), netlink.LinkSetUp(pair), far.Run(), up.Run())
	if err != nil {
		return nil, nil, err
	}
	server := exec.Command("iperf3", "-s")
	ask <- server
	if err := <-started; err != nil {
		return nil, nil, err
	}
	if err := answers("192.168.78.2:5201"); err != nil {
		return nil, nil, err
	}
	one = func() (float64, error) {
		a := clientArguments("192.168.78.2", "5201")
		return iperf(exec.Command(a[0], a[1:]...))
	}
	stop = func() {
		_ = hold.Process.Kill()
		_ = server.Process.Kill()
		close(ask)
	}
	return one, stop, nil
}
