package vm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/test/lab"
)

// bootPatience is how long a boot, a login and a command are waited for: some
// 20, 5 and 2 seconds on a quiet machine, and many times that on a busy one.
const bootPatience = 10 * time.Minute

// machine is a running system.
type machine struct {
	image   image
	dir     string // of this machine: sockets and the console's log
	port    string // on the host's loopback, where its sshd is
	console console
	cmd     *exec.Cmd
	ended   chan struct{}
}

// options of a boot.
type options struct {
	image  image
	kernel string // "6.1" or "5.10"
	lab    *lab.Lab
	disk   string // what [pack] has made; it is below /bench there
}

// boot starts a machine and waits until one can log in. It goes with the test.
func boot(t *testing.T, o options) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{image: o.image, dir: dir, ended: make(chan struct{})}
	m.console.ready = make(chan struct{})
	kernel, err := m.image.kernel(o.kernel)
	if err != nil {
		t.Skipf("left out: %v", err)
	}
	m.port = freePort(t)
	m.cmd = exec.Command("qemu-system-x86_64", "-nodefaults", "-nographic", "-no-reboot",
		"-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,la57=off", "-smp", "2", "-m", "2560",
		"-kernel", kernel,
		"-append", "console=ttyS0 quiet root=/dev/nvme0n1 rootfstype=ext4 rw net.ifnames=0 mitigations=off modprobe.blacklist=kvm_amd,kvm_intel,powernow_k8 panic=-1 "+
			"systemd.show_status=0 bench.ports="+strings.Join(ports(o.lab), ","),
		// The kernels have nvme built in, and virtio only as modules; so no
		// initial RAM disk is needed.
		"-drive", "if=none,id=system,format=raw,snapshot=on,cache=unsafe,file="+m.image.disk(), "-device", "nvme,serial=1,drive=system",
		"-drive", "if=none,id=bench,format=raw,readonly=on,file="+o.disk, "-device", "nvme,serial=2,drive=bench",
		"-netdev", "user,id=n,hostfwd=tcp:127.0.0.1:"+m.port+"-:22", "-device", "virtio-net-pci,netdev=n,romfile=",
		"-device", "virtio-rng-pci", "-serial", "stdio")
	m.cmd.Env = append(os.Environ(), "TMPDIR="+dir) // where the snapshot's changes go
	m.cmd.Stdout, m.cmd.Stderr = &m.console, &m.console
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		t.Fatalf("no QEMU: run test/packages.sh: %v", err)
	}
	go func() { m.cmd.Wait(); close(m.ended) }()
	t.Cleanup(m.stop)
	select {
	case <-m.console.ready:
	case <-m.ended:
		t.Fatalf("the machine ended:\n%s", m.console.text())
	case <-time.After(bootPatience):
		t.Fatalf("the machine does not come up:\n%s", m.console.text())
	}
	return m
}

func (m *machine) stop() {
	m.cmd.Process.Kill()
	<-m.ended
}

// ports lists where the lab's registries are.
func ports(l *lab.Lab) []string {
	var out []string
	for _, addr := range []string{l.Open, l.Auth, l.TLS, l.Tricky, l.Far, l.Scratch} {
		if _, port, err := net.SplitHostPort(addr); err == nil {
			out = append(out, port)
		}
	}
	return out
}

func freePort(t lab.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// session is a login: until it is closed the account has a session and, with
// it, a user manager of systemd.
type session struct {
	t       *testing.T
	m       *machine
	account string
	socket  string
	master  *exec.Cmd
}

// login logs an account in, until the end of the test.
func (m *machine) login(t *testing.T, account string) *session {
	t.Helper()
	dir, err := os.MkdirTemp("", "bench-ssh-") // a path short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &session{t: t, m: m, account: account, socket: filepath.Join(dir, "s")}
	s.master = m.ssh(account, "-M", "-N", "-S", s.socket)
	var said bytes.Buffer
	s.master.Stderr = &said
	if err := s.master.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.logout)
	for start := time.Now(); time.Since(start) < bootPatience; time.Sleep(100 * time.Millisecond) {
		if _, err := os.Stat(s.socket); err == nil {
			return s
		}
	}
	t.Fatalf("%s cannot log in: %s\n%s", account, said.String(), m.console.text())
	return nil
}

// logout closes the session and what ssh left of it.
func (s *session) logout() {
	if s.master.ProcessState == nil {
		s.master.Process.Signal(syscall.SIGTERM)
		s.master.Wait()
	}
}

func (m *machine) ssh(account string, args ...string) *exec.Cmd {
	args = append([]string{"-F", "/dev/null", "-i", m.image.key(), "-p", m.port, "-l", account, "-o", "LogLevel=ERROR", "-o", "KexAlgorithms=curve25519-sha256",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=60", "-o", "ServerAliveInterval=0",
		"-o", "Ciphers=chacha20-poly1305@openssh.com", "-o", "BatchMode=yes"}, args...)
	return exec.Command("ssh", append(args, "127.0.0.1")...)
}

// command prepares a shell command of the session. Like every login shell it
// reads no profile but has the account's own environment.
func (s *session) command(ctx context.Context, line string) *exec.Cmd {
	cmd := s.m.ssh(s.account, "-S", s.socket)
	cmd.Args = append(cmd.Args, "PATH=/bench/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH; "+line)
	return exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
}

// result is how a command ended.
type result struct {
	out, err string
	code     int
}

// run runs a shell command and waits for its end.
func (s *session) run(line string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bootPatience)
	defer cancel()
	cmd := s.command(ctx, line)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%s: %s: %v", s.account, line, err)
	}
	return result{out: out.String(), err: errs.String(), code: cmd.ProcessState.ExitCode()}
}

// must is run for a command that has to succeed; it returns the trimmed output.
func (s *session) must(line string) string {
	s.t.Helper()
	r := s.run(line)
	if r.code != 0 {
		s.t.Fatalf("%s: %s: exit code %d\n%s%s", s.account, line, r.code, r.out, r.err)
	}
	return strings.TrimSpace(r.out)
}

// console keeps what the machine says on its serial line.
type console struct {
	mu    sync.Mutex
	said  bytes.Buffer
	ready chan struct{}
	done  bool
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said.Write(p)
	if !c.done && bytes.Contains(c.said.Bytes(), []byte("BENCH READY")) {
		c.done = true
		close(c.ready)
	}
	return len(p), nil
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	for in := bufio.NewScanner(bytes.NewReader(c.said.Bytes())); in.Scan(); {
		lines = append(lines, strings.TrimRight(in.Text(), "\r"))
	}
	if len(lines) > 60 {
		lines = lines[len(lines)-60:]
	}
	return strings.Join(lines, "\n")
}
