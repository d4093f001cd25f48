package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Daemon is another tool's daemon that a test has for itself.
type Daemon struct {
	PID  int
	stop func()
}

// Stop ends the daemon and waits for it.
func (d *Daemon) Stop() { d.stop() }

// StartDaemon starts cmd and waits until answers says that it does. It goes
// with the test, however the test ends.
func StartDaemon(cmd *exec.Cmd, answers func() error) (*Daemon, error) {
	log := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	d := &Daemon{PID: cmd.Process.Pid, stop: func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(Patience):
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
		}
	}}
	for start := time.Now(); time.Since(start) < Patience; time.Sleep(100 * time.Millisecond) {
		if answers() == nil {
			return d, nil
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("%s ended: %s", cmd.Path, last(log.Bytes()))
		default:
		}
	}
	d.stop()
	return nil, fmt.Errorf("%s does not answer: %s", cmd.Path, last(log.Bytes()))
}

func last(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// StartDocker starts Docker's daemon with everything it has below dir. It
// touches no network and no other daemon. The answer's second value is how its
// command is to be called.
func StartDocker(dir, config string) (*Daemon, func(args ...string) *exec.Cmd, error) {
	conf, sock := filepath.Join(dir, "daemon.json"), "unix://"+filepath.Join(dir, "d.sock")
	if err := os.WriteFile(conf, []byte(config), 0o600); err != nil {
		return nil, nil, err
	}
	docker := func(args ...string) *exec.Cmd {
		return exec.Command("docker", append([]string{"--host", sock}, args...)...)
	}
	d, err := StartDaemon(exec.Command("dockerd", "--config-file", conf, "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "d.pid"), "--host", sock,
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--log-level", "error"),
		func() error { return docker("version").Run() })
	return d, docker, err
}
