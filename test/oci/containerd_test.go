package oci

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"berth/test/lab"
)

// TestContainerd has containerd drive the runtime through its own shim, as it
// does for Kubernetes. Root only: containerd is.
func TestContainerd(t *testing.T) {
	l := lab.Open(t)
	c := newContainerd(t, l)
	for _, step := range []struct {
		name string
		test func(c containerd)
	}{
		{"run", containerd.testRun},
		{"exec", containerd.testExec},
		{"kill", containerd.testKill},
		{"pause", containerd.testPause},
		{"limits", containerd.testLimits},
		{"rights", containerd.testRights},
		{"terminal", containerd.testTerminal},
		{"errors", containerd.testErrors},
	} {
		t.Run(step.name, func(t *testing.T) {
			c := c
			c.t = t
			step.test(c)
		})
	}
	for _, namespace := range c.runc.left() {
		r := c.runc
		r.root = filepath.Join(r.root, namespace) // containerd has a folder per namespace
		r.empty(t)
	}
}

// containerd is Debian's containerd, started for this test alone, and ctr.
type containerd struct {
	tool
	runc  runc
	image string
}

func newContainerd(t *testing.T, l *lab.Lab) containerd {
	t.Helper()
	daemon, ctr := program(t, "containerd"), program(t, "ctr")
	// The path of a socket has at most 107 bytes, and containerd makes some.
	dir, err := os.MkdirTemp("/tmp", "ctd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	conf, sock := filepath.Join(dir, "config.toml"), filepath.Join(dir, "sock")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), sock)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := containerd{runc: newRunc(t, l), image: l.Open + "/library/busybox:latest"}
	c.tool = tool{t, func(args ...string) *exec.Cmd {
		return exec.Command(ctr, append([]string{"--address", sock}, args...)...)
	}}
	d, err := lab.StartDaemon(exec.Command(daemon, "--config", conf, "--log-level", "warn"), func() error { return c.command("version").Run() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	c.must("images", "pull", "--plain-http", c.image)
	return c
}

// ctrRun is the command that runs a container with our runtime.
func (c containerd) ctrRun(name string, options []string, args ...string) []string {
	all := append([]string{"run", "--runc-binary", c.runc.path, "--runc-root", c.runc.root}, options...)
	return append(append(all, c.image, name), args...)
}

// start runs a container in the background and sees to its end.
func (c containerd) start(name string, options []string, args ...string) {
	c.t.Helper()
	c.must(c.ctrRun(name, append([]string{"--detach"}, options...), args...)...)
	c.t.Cleanup(func() {
		c.run("tasks", "delete", "--force", name)
		c.must("containers", "delete", name)
	})
}

// status is the second column of a task's line.
func (c containerd) status(name string) (pid, status string) {
	c.t.Helper()
	for line := range strings.Lines(c.must("tasks", "ls")) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name {
			return f[1], f[2]
		}
	}
	return "", "gone"
}

func (c containerd) awaits(name, want string) {
	c.t.Helper()
	lab.Eventually(c.t, name+" is "+want, func() bool { _, is := c.status(name); return is == want })
}

func (c containerd) testRun() {
	c.says("^hello$", c.ctrRun("ru", []string{"--rm"}, "echo", "hello")...)
	c.ends(7, "", c.ctrRun("ru", []string{"--rm"}, "sh", "-c", "exit 7")...)
	c.says("^x y /tmp$", c.ctrRun("ru", []string{"--rm", "--env", "A=x y", "--cwd", "/tmp"}, "sh", "-c", `echo "$A $(pwd)"`)...)
	dir := c.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("of the host\n"), 0o644); err != nil {
		c.t.Fatal(err)
	}
	mount := "type=bind,src=" + dir + ",dst=/data,options=rbind:ro"
	c.says("^of the host$", c.ctrRun("ru", []string{"--rm", "--mount", mount}, "cat", "/data/file")...)
	c.ends(1, "(?i)read-only", c.ctrRun("ru", []string{"--rm", "--mount", mount}, "touch", "/data/new")...)
	c.ends(1, "(?i)read-only", c.ctrRun("ru", []string{"--rm", "--read-only"}, "touch", "/new")...)
}

func (c containerd) testExec() {
	c.start("ex", nil, "sleep", "1000")
	c.says("^hello$", "tasks", "exec", "--exec-id", "one", "ex", "echo", "hello")
	c.ends(3, "", "tasks", "exec", "--exec-id", "two", "ex", "sh", "-c", "exit 3")
	c.says("^/tmp$", "tasks", "exec", "--exec-id", "three", "--cwd", "/tmp", "ex", "pwd")
	c.says("^7$", "tasks", "exec", "--exec-id", "four", "--user", "7", "ex", "id", "-u")
	c.ends(1, "no-such-program.*executable file not found", "tasks", "exec", "--exec-id", "five", "ex", "no-such-program")
	pid, _ := c.status("ex")
	c.says(`(?m)^`+pid+`\b`, "tasks", "ps", "ex")
}

func (c containerd) testKill() {
	c.start("ki", nil, "sh", "-c", "trap 'exit 5' USR1; echo set >/ready; while :; do sleep 0.1; done")
	lab.Eventually(c.t, "the trap is set", func() bool {
		return c.run("tasks", "exec", "--exec-id", "ready", "ki", "cat", "/ready").out == "set"
	})
	c.must("tasks", "kill", "--signal", "USR1", "ki")
	c.awaits("ki", "STOPPED")
	c.ends(0, "exit code 5", "tasks", "delete", "ki")
	c.start("kk", nil, "sh", "-c", "sleep 1000 & sleep 1000")
	c.must("tasks", "kill", "--signal", "KILL", "--all", "kk")
	c.awaits("kk", "STOPPED")
	c.ends(0, "exit code 137", "tasks", "delete", "kk")
}

func (c containerd) testPause() {
	c.start("pa", nil, "sleep", "1000")
	c.must("tasks", "pause", "pa")
	c.awaits("pa", "PAUSED")
	c.must("tasks", "resume", "pa")
	c.awaits("pa", "RUNNING")
}

func (c containerd) testLimits() {
	c.start("li", []string{"--memory-limit", "67108864", "--cpus", "0.5"}, "sleep", "1000")
	pid, _ := c.status("li")
	if got := limit(c.t, pid, "memory", "memory.limit_in_bytes", "memory.max"); got != "67108864" {
		c.t.Errorf("memory limit %s", got)
	}
	if got := strings.Fields(limit(c.t, pid, "cpu", "cpu.cfs_quota_us", "cpu.max"))[0]; got != "50000" {
		c.t.Errorf("cpu quota %s", got)
	}
	c.says(`(?m)^memory\.`, "tasks", "metrics", "li")
}

func (c containerd) testRights() {
	out := c.must(c.ctrRun("ri", []string{"--rm", "--seccomp"}, "grep", "-E", "^(CapEff|Seccomp|NoNewPrivs):", "/proc/self/status")...)
	if got, want := strings.Join(strings.Fields(out), " "), "CapEff: 00000000a80425fb NoNewPrivs: 1 Seccomp: 2"; got != want {
		c.t.Errorf("rights: %s, want %s", got, want)
	}
}

func (c containerd) testTerminal() {
	w := c.terminal(c.ctrRun("te", []string{"--rm", "--tty"}, "sh")...)
	w.expect(`# `)
	w.send("tty; stty size; exit 4\n")
	w.expect(`/dev/pts/0\s+33 101`)
	w.ends(4)

	c.start("tt", nil, "sleep", "1000")
	w = c.terminal("tasks", "exec", "--tty", "--exec-id", "tty", "tt", "sh")
	w.expect(`# `)
	w.send("tty; stty size; exit 6\n")
	w.expect(`/dev/pts/\d+\s+33 101`)
	w.ends(6)
}

func (c containerd) testErrors() {
	c.ends(1, "no-such-program.*executable file not found in \\$PATH", c.ctrRun("er", []string{"--rm"}, "no-such-program")...)
	c.ends(1, "(?i)permission denied", c.ctrRun("er", []string{"--rm"}, "/etc/passwd")...)
	c.ends(1, "not a directory", c.ctrRun("er", []string{"--rm", "--cwd", "/etc/passwd/x"}, "true")...)
}
