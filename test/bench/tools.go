package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"berth/test/lab"
)

// tool is one container tool and how it does each thing. Engines know images
// and names; runc and bwrap only start a program in a folder.
type tool struct {
	name     string
	image    string   // empty: no engine
	options  []string // of run and create
	command  func(args ...string) *exec.Cmd
	runTrue  func() *exec.Cmd
	execTrue func() *exec.Cmd // in the idle container
	idle     func() error     // starts the idle container
	stop     func()
	beside   func() []int // the processes kept for it, without its own
}

func (t tool) engine() bool { return t.image != "" }

func (t tool) quiet(args ...string) { t.command(args...).Run() }

// remove ends and removes containers without waiting for them to be polite.
func (t tool) remove(names ...string) {
	args := []string{"rm", "-f"}
	if t.name == "podman" {
		args = append(args, "-t", "0")
	}
	t.quiet(append(args, names...)...)
}

func (t tool) runDetached(name string) *exec.Cmd {
	return t.run("-d", "--name", name)("sleep", "1000000")
}

// run returns how to run a program in the tool's image, without a network.
func (t tool) run(options ...string) func(program ...string) *exec.Cmd {
	return func(program ...string) *exec.Cmd {
		args := append([]string{"run", "--network", "none"}, append(t.options, options...)...)
		return t.command(append(append(args, t.image), program...)...)
	}
}

func (t tool) startIdle() {
	t.stopIdle() // of an earlier run that was cut off
	if err := t.idle(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s: no idle container: %v\n", t.name, err)
	}
}

func (t tool) stopIdle() {
	if t.stop != nil {
		t.stop()
	}
}

// findTools returns berth and whatever else works here. It says why a tool
// that is installed is left out.
func (b *bench) findTools() []tool {
	b.rootfs = filepath.Join(b.place.Home, "bundle", "rootfs")
	b.makeRootfs(b.rootfs)
	tools := []tool{b.engine("berth", "busybox", b.place.Command), b.engine("berth, ordinary account", "busybox", b.ordinary())}
	for _, t := range tools {
		if out, err := t.command("pull", "busybox").CombinedOutput(); err != nil {
			b.Fatalf("%s: pull: %v\n%s", t.name, err, out)
		}
	}
	for _, name := range []string{"docker", "podman", "nerdctl"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		image := b.place.Lab.Open + "/library/busybox:latest"
		t := b.engine(name, image, func(_ string, args ...string) *exec.Cmd { return exec.Command(path, args...) })
		pull := []string{"pull", image}
		if name == "podman" {
			pull = []string{"pull", "--tls-verify=false", image}
		}
		if out, err := t.command(pull...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s is installed and does not work here: %s\n", name, lastLine(out))
			continue
		}
		if out, err := t.runTrue().CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s is installed and runs no container here: %s\n", name, lastLine(out))
			continue
		}
		tools = append(tools, t)
	}
	for _, t := range []tool{b.runc(), b.bwrap()} {
		if _, err := exec.LookPath(t.name); err != nil {
			continue
		}
		if out, err := t.runTrue().CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s is installed and does not work here: %v %s\n", t.name, err, lastLine(out))
			continue
		}
		tools = append(tools, t)
	}
	return tools
}

// ordinary returns how to run berth as the account that owns nothing.
func (b *bench) ordinary() func(string, ...string) *exec.Cmd {
	dir := b.tempDir()
	p := b.place.Lab.Place(b, dir)
	chown := exec.Command("chown", "-R", fmt.Sprintf("%d:%d", lab.UID, lab.UID), dir)
	if out, err := chown.CombinedOutput(); err != nil {
		b.Fatalf("chown: %v\n%s", err, out)
	}
	return func(name string, args ...string) *exec.Cmd {
		cmd := p.Command(name, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: lab.UID, Gid: lab.UID}}
		return cmd
	}
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// engine describes a tool with Docker's command line.
func (b *bench) engine(name, image string, command func(string, ...string) *exec.Cmd) tool {
	program, _, _ := strings.Cut(name, ",")
	t := tool{name: name, image: image, command: func(args ...string) *exec.Cmd { return command(program, args...) }}
	if name == "podman" {
		// It raises these by default, which needs a capability that even
		// root lacks on some machines.
		t.options = []string{"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}
	}
	t.runTrue = func() *exec.Cmd { return t.run("--rm")("true") }
	t.execTrue = func() *exec.Cmd { return t.command("exec", "bench-idle", "true") }
	t.idle = func() error { return t.runDetached("bench-idle").Run() }
	t.stop = func() { t.remove("bench-idle") }
	t.beside = func() []int {
		out, err := t.command("inspect", "-f", "{{.State.Pid}}", "bench-idle").Output()
		if err != nil {
			return nil
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(string(out)))
		return parent(pid)
	}
	return t
}

// parent returns the parent of a process: the shim of a container's first one.
func parent(pid int) []int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	ppid, _ := strconv.Atoi(f[1])
	if ppid <= 1 {
		return nil
	}
	return []int{ppid}
}

// makeRootfs makes a folder with busybox for the tools that know no images.
func (b *bench) makeRootfs(dir string) {
	script := `set -e
mkdir -p "$1/bin" "$1/proc" "$1/sys" "$1/dev" "$1/tmp" "$1/etc"
cp "$(command -v busybox)" "$1/bin/busybox"
for a in sh true sleep; do ln -sf busybox "$1/bin/$a"; done`
	if out, err := exec.Command("sh", "-c", script, "sh", dir).CombinedOutput(); err != nil {
		b.Fatalf("no busybox: %v\n%s", err, out)
	}
}

// runc starts the bundle that "runc spec" describes: fewer mounts than an
// engine makes, no image, no log, no names.
func (b *bench) runc() tool {
	bundle := filepath.Dir(b.rootfs)
	state := filepath.Join(b.place.Home, "runc")
	n := 0
	t := tool{name: "runc", command: func(args ...string) *exec.Cmd {
		return exec.Command("runc", append([]string{"--root", state}, args...)...)
	}}
	t.runTrue = func() *exec.Cmd {
		n++
		return t.command("run", "--bundle", bundle, fmt.Sprintf("bench-%d-%d", os.Getpid(), n))
	}
	t.execTrue = func() *exec.Cmd { return t.command("exec", "bench-idle", "true") }
	t.idle = func() error {
		if err := writeSpec(bundle, "sleep", "1000000"); err != nil {
			return err
		}
		return t.command("run", "--detach", "--bundle", bundle, "bench-idle").Run()
	}
	t.stop = func() { t.quiet("delete", "-f", "bench-idle") }
	if err := writeSpec(bundle, "true"); err != nil {
		fmt.Fprintf(os.Stderr, "bench: runc spec: %v\n", err)
	}
	return t
}

func writeSpec(bundle string, args ...string) error {
	file := filepath.Join(bundle, "config.json")
	os.Remove(file)
	cmd := exec.Command("runc", "spec")
	if os.Getuid() != 0 {
		cmd.Args = append(cmd.Args, "--rootless")
	}
	cmd.Dir = bundle
	if err := cmd.Run(); err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(text, &spec); err != nil {
		return err
	}
	process := spec["process"].(map[string]any)
	process["args"], process["terminal"] = args, false
	if text, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

func (b *bench) bwrap() tool {
	t := tool{name: "bwrap", command: func(args ...string) *exec.Cmd { return exec.Command("bwrap", args...) }}
	t.runTrue = func() *exec.Cmd {
		return t.command("--unshare-all", "--bind", b.rootfs, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "true")
	}
	return t
}
