package oci

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"berth/test/lab"
)

// TestDocker has Docker's daemon drive the runtime, where it is installed: it
// is no Debian package that test/packages.sh brings.
func TestDocker(t *testing.T) {
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip("no dockerd here")
	}
	l := lab.Open(t)
	r := newRunc(t, l)
	config, err := json.Marshal(map[string]any{
		"runtimes":            map[string]any{"berth": map[string]any{"path": r.script(t)}},
		"default-runtime":     "berth",
		"insecure-registries": []string{l.Open},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "dkr") // sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	daemon, command, err := lab.StartDocker(dir, string(config))
	if err != nil {
		t.Skipf("dockerd does not work here: %v", err)
	}
	t.Cleanup(daemon.Stop)
	d := tool{t, command}
	image := l.Open + "/library/busybox:latest"
	d.must("pull", "-q", image)

	d.says("^berth$", "info", "-f", "{{.DefaultRuntime}}")
	run := []string{"run", "--rm", "--network", "none"}
	d.says("^hello$", append(run, image, "echo", "hello")...)
	d.ends(7, "", append(run, image, "sh", "-c", "exit 7")...)
	d.ends(127, "executable file not found", append(run, image, "no-such-program")...)
	d.ends(126, "(?i)permission denied", append(run, image, "/etc/passwd")...)
	d.must("run", "-d", "--network", "none", "--name", "one", "--memory", "64m", "--pids-limit", "33", image, "sleep", "1000")
	d.says("^hello$", "exec", "one", "echo", "hello")
	d.ends(3, "", "exec", "one", "sh", "-c", "exit 3")
	d.ends(126, "", "exec", "one", "no-such-program") // with runc, too
	pid := d.must("inspect", "-f", "{{.State.Pid}}", "one")
	if got := limit(t, pid, "memory", "memory.limit_in_bytes", "memory.max"); got != "67108864" {
		t.Errorf("memory limit %s", got)
	}
	d.must("update", "--memory", "32m", "--memory-swap", "32m", "one")
	if got := limit(t, pid, "memory", "memory.limit_in_bytes", "memory.max"); got != "33554432" {
		t.Errorf("memory limit after update %s", got)
	}
	d.must("pause", "one")
	d.says("^paused$", "inspect", "-f", "{{.State.Status}}", "one")
	d.must("unpause", "one")
	d.says("sleep 1000", "top", "one")
	w := d.terminal("exec", "-it", "one", "sh")
	w.expect(`# `)
	w.send("tty; stty size; exit 6\n")
	w.expect(`/dev/pts/\d+\s+33 101`)
	w.ends(6)
	d.must("kill", "one")
	d.says("^137$", "wait", "one")
	out := d.must(append(run, image, "grep", "-E", "^(CapEff|Seccomp):", "/proc/self/status")...)
	if got, want := strings.Join(strings.Fields(out), " "), "CapEff: 00000000a80425fb Seccomp: 2"; got != want {
		t.Errorf("rights: %s, want %s", got, want)
	}
	d.must("rm", "-f", "one")
}
