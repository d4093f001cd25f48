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

// TestPodman has podman drive the runtime, as root and as an ordinary account.
func TestPodman(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		p := newPodman(t, l)
		for _, step := range []struct {
			name string
			test func(p podman)
			root bool // what podman itself can do for root only, here
		}{
			{"run", podman.testRun, false},
			{"exec", podman.testExec, false},
			{"logs", podman.testLogs, false},
			{"kill", podman.testKill, false},
			{"rights", podman.testRights, false},
			{"mounts", podman.testMounts, false},
			{"terminal", podman.testTerminal, false},
			{"pause", podman.testPause, true},
			{"limits", podman.testLimits, true},
			{"ids", podman.testIDs, true},
		} {
			if step.root && !lab.Root() {
				continue
			}
			t.Run(step.name, func(t *testing.T) {
				p := p
				p.t = t
				step.test(p)
			})
		}
		p.runc.empty(t)
	})
}

// podman is Debian's podman with a store, a state folder and a runtime of its
// own.
type podman struct {
	tool
	runc  runc
	image string
}

func newPodman(t *testing.T, l *lab.Lab) podman {
	t.Helper()
	path := program(t, "podman")
	// Podman wants a short path.
	dir, err := os.MkdirTemp("/tmp", "pod")
	if err != nil {
		t.Fatal(err)
	}
	p := podman{runc: newRunc(t, l), image: l.Open + "/library/busybox:latest"}
	script := p.runc.script(t)
	conf := filepath.Join(dir, "containers.conf")
	// Podman raises these limits by default, which needs a capability that even
	// root lacks on some machines.
	text := "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\nevents_logger = \"file\"\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.tool = tool{t, func(args ...string) *exec.Cmd {
		// Not --runtime-flag: podman forgets it when it cleans up.
		own := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
			"--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--runtime", script}
		if !lab.Root() {
			// One id only: there is nobody to give files away to.
			own = append(own, "--storage-opt", "ignore_chown_errors=true")
		}
		cmd := exec.Command(path, append(own, args...)...)
		cmd.Dir = dir // conmon leaves files where it is started
		cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+conf, "XDG_RUNTIME_DIR="+dir, "HOME="+dir)
		return cmd
	}}
	t.Cleanup(func() {
		p.t = t
		p.run("rm", "-f", "-a", "-t", "0")
		p.run("system", "migrate")        // ends the process that holds the rootless namespaces
		exec.Command("umount", dir).Run() // vfs leaves its folder mounted on itself
		exec.Command("umount", "-l", filepath.Join(dir, "root")).Run()
	})
	p.must("pull", "-q", "--tls-verify=false", p.image)
	return p
}

// start runs a container in the background and sees to its end.
func (p podman) start(name string, args ...string) {
	p.t.Helper()
	p.must(append([]string{"run", "-d", "--network", "none", "--name", name}, args...)...)
	p.t.Cleanup(func() { p.must("rm", "-f", "-t", "0", name) })
}

func (p podman) testRun() {
	one := func(args ...string) []string {
		return append([]string{"run", "--rm", "--network", "none", p.image}, args...)
	}
	p.says("^hello$", one("echo", "hello")...)
	p.ends(7, "", one("sh", "-c", "exit 7")...)
	p.ends(127, "not found|no such file", one("no-such-program")...)
	p.ends(127, "not found|no such file", one("/no/such/program")...)
	p.ends(126, "(?i)permission denied", one("/etc/passwd")...)
	p.says("^x y$", "run", "--rm", "--network", "none", "-e", "A=x y", p.image, "sh", "-c", "echo $A")
	p.says("^/tmp$", "run", "--rm", "--network", "none", "-w", "/tmp", p.image, "pwd")
	p.says("^there$", "run", "--rm", "--network", "none", "--hostname", "there", p.image, "hostname")
	p.says("^in$", "run", "--rm", "-i", "--network", "none", p.image, "sh", "-c", "cat </dev/null; echo in")
}

func (p podman) testExec() {
	p.start("ex", p.image, "sleep", "1000")
	p.says("^hello$", "exec", "ex", "echo", "hello")
	p.ends(3, "", "exec", "ex", "sh", "-c", "exit 3")
	p.ends(127, "not found|no such file", "exec", "ex", "no-such-program")
	p.ends(126, "(?i)permission denied", "exec", "ex", "/etc/passwd")
	p.says("^/tmp x y$", "exec", "-w", "/tmp", "-e", "A=x y", "ex", "sh", "-c", `echo "$(pwd) $A"`)
	p.says("1000", "exec", "ex", "ps")
	p.must("exec", "-d", "ex", "sh", "-c", "echo was here >/tmp/mark")
	lab.Eventually(p.t, "a detached exec has written", func() bool {
		return p.run("exec", "ex", "cat", "/tmp/mark").out == "was here"
	})
	if lab.Root() {
		p.says("^7:8$", "exec", "-u", "7:8", "ex", "sh", "-c", "echo $(id -u):$(id -g)")
	}
}

func (p podman) testLogs() {
	p.start("lo", p.image, "sh", "-c", "echo to out; echo to err >&2")
	p.must("wait", "lo")
	r := p.run("logs", "lo")
	if r.out != "to out" || r.err != "to err" {
		p.t.Errorf("logs: %q and %q", r.out, r.err)
	}
}

func (p podman) testKill() {
	p.start("ki", p.image, "sh", "-c", "trap 'exit 5' USR1; echo ready; while :; do sleep 0.1; done")
	lab.Eventually(p.t, "the trap is set", func() bool { return p.run("logs", "ki").out == "ready" })
	p.must("kill", "-s", "USR1", "ki")
	p.says("^5$", "wait", "ki")
	p.start("kk", p.image, "sleep", "1000")
	p.must("kill", "kk")
	p.says("^137$", "wait", "kk")
	p.start("ks", p.image, "sleep", "1000")
	p.must("stop", "-t", "1", "ks")
	p.says("^137 exited$", "inspect", "-f", "{{.State.ExitCode}} {{.State.Status}}", "ks")
	p.must("start", "ks")
	p.says("^true$", "inspect", "-f", "{{.State.Running}}", "ks")
}

func (p podman) testPause() {
	p.start("pa", p.image, "sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done")
	p.must("pause", "pa")
	p.says("^paused$", "inspect", "-f", "{{.State.Status}}", "pa")
	before := p.must("logs", "--tail", "1", "pa")
	p.must("exec", "--help") // some time passes
	if after := p.must("logs", "--tail", "1", "pa"); after != before {
		p.t.Errorf("it counts on while paused: %s, %s", before, after)
	}
	p.must("unpause", "pa")
	lab.Eventually(p.t, "it counts again", func() bool { return p.must("logs", "--tail", "1", "pa") != before })
}

func (p podman) testLimits() {
	p.start("li", "--memory", "64m", "--pids-limit", "33", "--cpus", "0.5", p.image, "sleep", "1000")
	p.hasLimits("li", "67108864", "33", "50000")
	p.must("update", "--memory", "32m", "--cpus", "0.25", "li")
	p.hasLimits("li", "33554432", "33", "25000")
	p.ends(137, "", "run", "--rm", "--network", "none", "--memory", "16m", "--memory-swap", "16m", p.image, "sh", "-c", "x=$(dd if=/dev/zero bs=1M count=64 2>/dev/null | tr '\\0' x); echo survived")
}

// hasLimits compares the limits of a running container with those wanted.
func (p podman) hasLimits(name, memory, pids, quota string) {
	p.t.Helper()
	pid := p.must("inspect", "-f", "{{.State.Pid}}", name)
	for _, c := range []struct{ what, got, want string }{
		{"memory", limit(p.t, pid, "memory", "memory.limit_in_bytes", "memory.max"), memory},
		{"pids", limit(p.t, pid, "pids", "pids.max", "pids.max"), pids},
		{"cpu quota", strings.Fields(limit(p.t, pid, "cpu", "cpu.cfs_quota_us", "cpu.max"))[0], quota},
	} {
		if c.got != c.want {
			p.t.Errorf("%s of %s: %s, want %s", c.what, name, c.got, c.want)
		}
	}
}

func (p podman) testRights() {
	status := func(args ...string) string {
		all := p.must(append(append([]string{"run", "--rm", "--network", "none"}, args...), p.image, "grep", "-E", "^(CapEff|CapBnd|NoNewPrivs|Seccomp):", "/proc/self/status")...)
		return strings.Join(strings.Fields(all), " ")
	}
	for _, c := range []struct{ options, want string }{
		{"--cap-drop=all --cap-add=chown", "CapEff: 0000000000000001 CapBnd: 0000000000000001 NoNewPrivs: 0 Seccomp: 2"},
		{"--cap-drop=all --security-opt=seccomp=unconfined --security-opt=no-new-privileges", "CapEff: 0000000000000000 CapBnd: 0000000000000000 NoNewPrivs: 1 Seccomp: 0"},
	} {
		if got := status(strings.Fields(c.options)...); got != c.want {
			p.t.Errorf("rights with %s: %s, want %s", c.options, got, c.want)
		}
	}
	p.ends(1, "(?i)read-only", "run", "--rm", "--network", "none", "--read-only", p.image, "touch", "/new")
	p.ends(1, "(?i)read-only", "run", "--rm", "--network", "none", p.image, "sh", "-c", "echo 1 >/proc/sys/kernel/domainname")
	p.says("^0$", "run", "--rm", "--network", "none", p.image, "sh", "-c", "cat /proc/kcore /proc/keys 2>/dev/null | wc -c")
	p.says("^77$", "run", "--rm", "--network", "none", "--ulimit", "nofile=77:88", "--ulimit", "nproc=1024", p.image, "sh", "-c", "ulimit -n")
	p.says("^0 1 2 3$", "run", "--rm", "--network", "none", p.image, "sh", "-c", "for f in $(ls /proc/self/fd); do printf '%s ' $f; done")
}

func (p podman) testMounts() {
	dir := p.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("of the host\n"), 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.says("^of the host$", "run", "--rm", "--network", "none", "-v", dir+":/data:ro", p.image, "cat", "/data/file")
	p.ends(1, "(?i)read-only", "run", "--rm", "--network", "none", "-v", dir+":/data:ro", p.image, "touch", "/data/new")
	p.says("^of the host$", "run", "--rm", "--network", "none", "-v", dir+"/file:/etc/one:ro", p.image, "cat", "/etc/one")
	p.must("run", "--rm", "--network", "none", "-v", dir+":/a/new/place", p.image, "touch", "/a/new/place/made")
	if _, err := os.Stat(filepath.Join(dir, "made")); err != nil {
		p.t.Error(err)
	}
	p.says("tmpfs.*size=1024k", "run", "--rm", "--network", "none", "--tmpfs", "/scratch:size=1m", p.image, "grep", " /scratch ", "/proc/self/mounts")
	p.says("size=2048k", "run", "--rm", "--network", "none", "--shm-size", "2m", p.image, "grep", " /dev/shm ", "/proc/self/mounts")
	p.must("volume", "create", "keep")
	p.must("run", "--rm", "--network", "none", "-v", "keep:/keep", p.image, "sh", "-c", "echo kept >/keep/it")
	p.says("^kept$", "run", "--rm", "--network", "none", "-v", "keep:/keep", p.image, "cat", "/keep/it")
}

func (p podman) testTerminal() {
	w := p.terminal("run", "--rm", "-it", "--network", "none", p.image, "sh")
	w.expect(`# `)
	w.send("tty; stty size; exit 4\n")
	w.expect(`/dev/pts/0\s+33 101`)
	w.ends(4)

	p.start("te", "-t", p.image, "sleep", "1000")
	w = p.terminal("exec", "-it", "te", "sh")
	w.expect(`# `)
	w.send("tty; stty size; exit 6\n")
	w.expect(`/dev/pts/\d+\s+33 101`)
	w.ends(6)
}

func (p podman) testIDs() {
	p.says(`^0\s+100000\s+1000$`, "run", "--rm", "--network", "none", "--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000", p.image, "cat", "/proc/self/uid_map")
	p.says(`^5:6 0$`, "run", "--rm", "--network", "none", "--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000", "--user", "5:6", p.image, "sh", "-c", "echo $(id -u):$(id -g) $(stat -c %u /etc/passwd)")
	p.says(`^5:6 7$`, "run", "--rm", "--network", "none", "--user", "5:6", "--group-add", "7", p.image, "sh", "-c", "echo $(id -u):$(id -g) $(id -G | sed 's/6 //')")
	p.start("na", p.image, "sleep", "1000")
	for _, kind := range []string{"pid", "ipc", "network"} {
		name := map[string]string{"network": "net"}[kind]
		if name == "" {
			name = kind
		}
		want := p.must("exec", "na", "readlink", "/proc/self/ns/"+name)
		run := []string{"run", "--rm", "--" + kind, "container:na"}
		if kind != "network" {
			run = append(run, "--network", "none") // others need podman's plugins
		}
		p.says(fmt.Sprintf("^%s$", strings.NewReplacer("[", `\[`, "]", `\]`).Replace(want)), append(run, p.image, "readlink", "/proc/self/ns/"+name)...)
	}
}
