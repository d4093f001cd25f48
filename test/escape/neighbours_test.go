package escape

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"berth/test/lab"
)

// identity: CVE-2022-36109, CVE-2022-24769 and their kind. What the caller is
// besides its user, groups and inheritable capabilities, does not come along.
//
// Fails without setgroups in runtime.groups, and nsinit.dropInheritable.
func identity(w *world) {
	img := w.image(nil)
	as := []string{}
	if lab.Root() {
		as = []string{"setpriv", "--groups", "4321,4322", "--inh-caps", "+chown,+sys_admin,+sys_ptrace", "--"}
	}
	run := func(args ...string) string {
		full := append(append([]string{}, as...), append([]string{w.p.Lab.Berth()}, args...)...)
		out, err := w.p.Command("/usr/bin/env", full...).CombinedOutput()
		if err != nil {
			w.Errorf("%v: %v: %s", args, err, out)
		}
		return string(out)
	}
	run("run", "-d", "--name", "box", img, "sleep", "1000")
	for _, args := range [][]string{{"run", "--rm", img}, {"run", "--rm", "-u", "1000", img}, {"run", "--rm", "-u", "1000:1000", "--init", img}, {"exec", "box"}, {"exec", "-u", "1000", "box"}} {
		out := run(append(args, "agent", "fds")...)
		for _, line := range strings.Split(out, "\n") {
			f := strings.Fields(line)
			if len(f) == 0 {
				continue
			}
			if f[0] == "Groups:" && lab.Root() && (strings.Contains(line, "4321") || strings.Contains(line, "4322")) {
				w.Errorf("%v: %s", args, line)
			}
			if (f[0] == "CapInh:" || f[0] == "CapAmb:") && f[1] != "0000000000000000" {
				w.Errorf("%v: %s", args, line)
			}
		}
		if !strings.Contains(out, "CapInh:") || !strings.Contains(out, "Groups:") {
			w.Errorf("%v says nothing of itself: %s", args, out)
		}
	}
}

// accountsFile: CVE-2024-9676, CVE-2026-47262 and their kind. A running container
// puts something else where berth looks up users for an exec.
//
// Fails without the check for plain files and the size limit of layer.View.
func accountsFile(w *world) {
	img := w.image(nil)
	w.start("box", "", img, "sleep", "1000")
	for _, trick := range []string{
		"busybox mkfifo /etc/passwd",
		"ln -s /proc/self/environ /etc/passwd",
		"ln -s " + w.canary + "/secret /etc/passwd",
		"ln -s /dev/zero /etc/passwd",
		"busybox dd if=/dev/zero of=/etc/passwd bs=1 count=1 seek=40000000000",
		"mkdir /etc/passwd",
		"busybox mknod /etc/passwd c 1 5",
		"ln -s passwd /etc/passwd",
	} {
		w.run("exec", "box", "sh", "-c", "rm -rf /etc/passwd; "+trick)
		start := time.Now()
		r := w.run("exec", "-u", "user", "box", "id")
		if r.Code == 0 {
			w.Errorf("%s: a user was found: %s", trick, r.Out)
		}
		if took := time.Since(start); took > 20*time.Second {
			w.Errorf("%s: exec took %v", trick, took)
		}
	}
}

// otherContainers tries to get from one container to another of the same account.
//
// Fails without the pid, ipc and mount namespaces of spec.
func otherContainers(w *world) {
	img := w.image(nil)
	const mark = "31556925"
	w.start("victim", "", "--hostname", "victim", img, "sh", "-c", "echo 4411$((1+1))77 > /tmp/mine; sleep "+mark)
	look := "for p in /proc/[0-9]*; do cat $p/cmdline; done; kill -9 -1; kill -9 2 3 4 5; cat /tmp/mine; ls /dev/shm /dev/mqueue; cat /proc/mounts; busybox hostname"
	r := w.run("run", "--rm", "--name", "thief", img, "sh", "-c", look)
	for _, bad := range []string{mark, "4411277", "victim"} {
		if strings.Contains(r.Out, bad) {
			w.Errorf("one container sees %q of another: %s", bad, r.Out)
		}
	}
	if out := w.p.Must(w, "inspect", "-f", "{{.State.Status}}", "victim"); out != "running" {
		w.Errorf("the other container is %s", out)
	}
	// CVE-2020-15257: sockets in the abstract name space have no permissions,
	// and containers share the host's network.
	out := w.p.Must(w, "run", "--rm", img, "agent", "sockets")
	w.none(out, "(berth|shim|"+w.p.Root+")")
}

// otherAccounts: what lies in the data root is closed to other accounts: programs
// with set-user-ID bits, sockets, volumes.
//
// Fails without mode 0700 of the data root in state.Open.
func otherAccounts(w *world) {
	img := w.image(nil)
	w.start("box", "", "-v", "vol:/vol", img, "sh", "-c", "cp /bin/busybox /vol/evil; chmod 4755 /vol/evil; touch /vol/done; sleep 1000")
	data := w.p.Must(w, "volume", "inspect", "-f", "{{.Mountpoint}}", "vol")
	deadline := time.Now().Add(lab.Patience)
	for time.Now().Before(deadline) {
		if _, err := os.Stat(filepath.Join(data, "done")); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if fi, err := os.Stat(w.p.Root); err != nil || fi.Mode().Perm() != 0o700 {
		w.Errorf("the data root has mode %v: %v", fi.Mode(), err)
	}
	if !lab.Root() {
		return // only root can become somebody else to try
	}
	for _, args := range [][]string{{filepath.Join(data, "evil"), "id"}, {"/bin/ls", w.p.Root}, {"/bin/cat", filepath.Join(data, "done")}} {
		cmd := exec.Command("/usr/bin/setpriv", append([]string{"--reuid", "65534", "--regid", "65534", "--clear-groups", "--"}, args...)...)
		if out, err := cmd.CombinedOutput(); err == nil {
			w.Errorf("another account may: %v: %s", args, out)
		}
	}
}

// freezeJoining: a container stops every process that joins it. The command must
// let itself be interrupted, and the container be removed.
//
// Fails without the copy that a joining process is made from (nsinit.kindClone),
// and the engine's patience with a shim that does not answer.
func freezeJoining(w *world) {
	img := w.image(nil)
	w.start("box", "freezing", img, "agent", "freeze")
	for range 5 {
		cmd := w.p.Command("berth", "exec", "box", "sleep", "1000")
		if err := cmd.Start(); err != nil {
			w.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		time.Sleep(100 * time.Millisecond)
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(2 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
	}
	start := time.Now()
	if r := w.run("rm", "-f", "box"); r.Code != 0 {
		w.Errorf("rm -f: %s", r.Err)
	}
	if took := time.Since(start); took > 30*time.Second {
		w.Errorf("rm -f took %v", took)
	}
}

// leftOver: nothing of a container runs on when berth has said that it ended,
// also where the container has no process space of its own.
//
// Fails without the kill of the control group, and, for an ordinary account
// without one, of the shim's adopted children.
func leftOver(w *world) {
	img := w.image(nil)
	const mark = "31556926"
	w.run("run", "--rm", "--pid", "host", img, "sh", "-c", "sleep "+mark+" & busybox setsid sleep "+mark+" & true")
	w.start("box", "", img, "sleep", "1000")
	w.run("run", "--rm", "--pid", "container:box", img, "sh", "-c", "busybox setsid sleep "+mark+" & true")
	procs := func() (out []string) {
		all, _ := filepath.Glob("/proc/[0-9]*")
		for _, p := range all {
			if cmd, _ := os.ReadFile(p + "/cmdline"); strings.Contains(string(cmd), mark) && !strings.Contains(string(cmd), "sh\x00") {
				out = append(out, p)
			}
		}
		return out
	}
	for range 40 {
		if len(procs()) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, p := range procs() {
		w.Errorf("%s runs on", p)
		var pid int
		fmt.Sscanf(p, "/proc/%d", &pid)
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// memoryCalls: what is allowed on purpose. ptrace and process_vm_readv are, inside
// the container; memory policies with the capability that Docker asks for.
//
// Fails without the seccomp profile of the container's own capabilities
// (seccomp.Default).
func memoryCalls(w *world) {
	img := w.image(nil)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "process_vm_readv true\nget_mempolicy false\nptrace true\n"},
		{[]string{"--cap-add", "SYS_NICE"}, "process_vm_readv true\nget_mempolicy true\nptrace true\n"},
	} {
		args := append(append([]string{"run", "--rm"}, c.args...), img, "sh", "-c", "agent memory; true")
		if r := w.run(args...); r.Out != c.want {
			w.Errorf("%v: %q, want %q: %s", c.args, r.Out, c.want, r.Err)
		}
	}
}
