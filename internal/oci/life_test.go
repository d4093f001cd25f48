package oci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestLife(t *testing.T) {
	b := newBundle(t, "sleep")
	b.spec.Annotations = map[string]string{"some": "thing"}
	b.save()
	pidFile := filepath.Join(b.dir, "pid")
	b.must("create", "--pid-file", pidFile, "c")
	s := b.state()
	if s.Status != specs.StateCreated || s.ID != "c" || s.Bundle != b.dir || s.Annotations["some"] != "thing" || s.Version != specs.Version {
		t.Errorf("state after create: %+v", s)
	}
	if pid, _ := os.ReadFile(pidFile); string(pid) != strconv.Itoa(s.Pid) {
		t.Errorf("pid file %q, state says %d", pid, s.Pid)
	}
	b.refused("container with given ID already exists", "create", "c")
	b.must("start", "c")
	b.expect(specs.StateRunning)
	b.refused("cannot start an already running container", "start", "c")
	b.refused("cannot delete container c that is not stopped: running", "delete", "c")
	if out := b.must("list", "-q"); out != "c\n" {
		t.Errorf("list -q: %q", out)
	}
	if out := b.must("ps", "-f", "json", "c"); out != "["+strconv.Itoa(s.Pid)+"]\n" {
		t.Errorf("ps: %q", out)
	}
	if out := b.must("exec", "c", "/prog", "echo", "from", "inside"); out != "from inside\n" {
		t.Errorf("exec: %q", out)
	}
	if _, _, code := b.call("exec", "c", "/prog", "exit", "7"); code != 7 {
		t.Errorf("exec: exit code %d, want 7", code)
	}
	if code := b.refused(`exec: \"/nosuch\": stat /nosuch: no such file or directory`, "exec", "c", "/nosuch"); code != 255 {
		t.Errorf("exec of nothing: exit code %d, want 255", code)
	}
	b.must("kill", "c", "KILL")
	b.expect(specs.StateStopped)
	b.refused("container not running", "kill", "c")
	b.must("kill", "--all", "c", "9")
	b.refused("cannot exec in a stopped container", "exec", "c", "/prog", "echo")
	b.must("delete", "c")
	b.refused("container does not exist", "state", "c")
	b.refused("container does not exist", "delete", "c")
	b.must("delete", "-f", "c")
	b.clean()
}

func TestRun(t *testing.T) {
	b := newBundle(t, "exit", "3")
	if _, errs, code := b.call("run", "c"); code != 3 || errs != "" {
		t.Errorf("exit code %d, %q, want 3 and nothing", code, errs)
	}
	b.clean()
	b.call("run", "--keep", "c")
	b.expect(specs.StateStopped)
	b.must("delete", "c")
	b.spec.Process.Args = []string{"nosuch"}
	b.save()
	b.refused(`runc run failed: unable to start container process: exec: \"nosuch\": executable file not found in $PATH`, "run", "c")
	b.clean()
}

func TestRunPassesSignals(t *testing.T) {
	b := newBundle(t, "trap")
	cmd := b.command("run", "c")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Signal(syscall.SIGUSR1)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 42 {
		t.Errorf("exit code %d, want that of the program that has got SIGUSR1, 42", code)
	}
	b.clean()
}

func TestPause(t *testing.T) {
	b := newBundle(t, "sleep")
	b.must("run", "-d", "c")
	b.must("pause", "c")
	b.expect(paused)
	b.refused("cannot exec in a paused container", "exec", "c", "/prog", "echo")
	b.refused("container not running", "pause", "c")
	b.must("resume", "c")
	b.expect(specs.StateRunning)
	b.refused("container not paused", "resume", "c")
	b.must("pause", "c")
	b.must("kill", "c", "KILL") // must not wait for a thaw
	b.expect(specs.StateStopped)
	b.must("delete", "c")
	b.clean()
}

func TestUpdate(t *testing.T) {
	b := newBundle(t, "sleep")
	limit := int64(100)
	b.spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: &limit}
	b.save()
	b.must("run", "-d", "c")
	read := func() uint64 {
		var e struct{ Data stats }
		if err := json.Unmarshal([]byte(b.must("events", "--stats", "c")), &e); err != nil {
			t.Fatal(err)
		}
		return e.Data.Pids.Limit
	}
	if n := read(); n != 100 {
		t.Fatalf("pids limit %d, want 100", n)
	}
	b.must("update", "--pids-limit", "50", "c")
	if n := read(); n != 50 {
		t.Errorf("pids limit %d after an update, want 50", n)
	}
	cmd := b.command("update", "-r", "-", "c")
	cmd.Stdin = strings.NewReader(`{"pids":{"limit":60}}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("update -r: %v: %s", err, out)
	}
	if n := read(); n != 60 {
		t.Errorf("pids limit %d after an update from standard input, want 60", n)
	}
}

// TestKilledRuntime kills `create` at random moments: whatever it leaves, delete
// --force clears, and the name is free again.
func TestKilledRuntime(t *testing.T) {
	b := newBundle(t, "sleep")
	for i := range 40 {
		cmd := b.command([]string{"create", "run"}[i%2], "c")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 3 * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		b.must("delete", "--force", "c")
		b.must("list")
		b.clean()
		if t.Failed() {
			t.Fatalf("after try %d", i)
		}
	}
	b.must("create", "c")
	b.must("delete", "c")
	b.clean()
}

func TestManyAtOnce(t *testing.T) {
	b := newBundle(t, "exit", "0")
	b.spec.Linux.CgroupsPath = "" // each its own
	b.save()
	errs := make(chan string, 8)
	for i := range cap(errs) {
		go func() {
			for j := range 3 {
				out, err := b.command("run", "many-"+strconv.Itoa(i)+"-"+strconv.Itoa(j)).CombinedOutput()
				if err != nil {
					errs <- string(out) + err.Error()
					return
				}
			}
			errs <- ""
		}()
	}
	for range cap(errs) {
		if e := <-errs; e != "" {
			t.Error(e)
		}
	}
}

// TestSameName has two make the container c at once: one gets it.
func TestSameName(t *testing.T) {
	b := newBundle(t, "sleep")
	codes := make(chan int, 2)
	for range cap(codes) {
		go func() {
			cmd := b.command("create", "c")
			cmd.Run()
			codes <- cmd.ProcessState.ExitCode()
		}()
	}
	if got := []int{<-codes, <-codes}; got[0]+got[1] != 1 {
		t.Errorf("exit codes %v, want one 0 and one 1", got)
	}
	b.expect(specs.StateCreated)
}

func TestHooks(t *testing.T) {
	b := newBundle(t, "sleep")
	log := filepath.Join(b.dir, "log")
	prog := filepath.Join(b.dir, "rootfs", "prog")
	hook := func(name, to string) []specs.Hook {
		return []specs.Hook{{Path: prog, Args: []string{"prog", "hook", to, name}, Env: []string{"OF=" + name}}}
	}
	b.spec.Hooks = &specs.Hooks{
		Prestart: hook("prestart", log), CreateRuntime: hook("createRuntime", log), CreateContainer: hook("createContainer", log),
		Poststart: hook("poststart", log), Poststop: hook("poststop", log),
		StartContainer: []specs.Hook{{Path: "/prog", Args: []string{"prog", "hook", "/dev/shm/log", "startContainer"}, Env: []string{"OF=startContainer"}}},
	}
	b.save()
	b.must("create", "c")
	if got := stages(t, log); !slices.Equal(got, []string{"prestart creating", "createRuntime creating", "createContainer creating"}) {
		t.Errorf("hooks of create: %q", got)
	}
	b.must("start", "c")
	inside := filepath.Join("/proc", strconv.Itoa(b.state().Pid), "root/dev/shm/log")
	if got := stages(t, inside); !slices.Equal(got, []string{"startContainer created"}) {
		t.Errorf("hooks in the container: %q", got)
	}
	b.must("delete", "-f", "c")
	if got := stages(t, log)[3:]; !slices.Equal(got, []string{"poststart running", "poststop stopped"}) {
		t.Errorf("hooks of start and delete: %q", got)
	}
	own, _ := os.Readlink("/proc/self/ns/mnt")
	data, _ := os.ReadFile(log)
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if f[2] != "OF="+f[0] {
			t.Errorf("the hook %s has the environment %s", f[0], f[2])
		}
		if (f[1] == own) == (f[0] == "createContainer") {
			t.Errorf("the hook %s ran in mount namespace %s, ours is %s", f[0], f[1], own)
		}
	}
	b.clean()
}

// stages reads what hooks have noted: their name and the status they were told.
func stages(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(line, " ", 4)
		var s specs.State
		if err := json.Unmarshal([]byte(f[3]), &s); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if s.ID != "c" || s.Version == "" || s.Bundle == "" {
			t.Errorf("hook %s was told %+v", f[0], s)
		}
		out = append(out, f[0]+" "+string(s.Status))
	}
	return out
}

func TestFailingHooks(t *testing.T) {
	b := newBundle(t, "sleep")
	prog := filepath.Join(b.dir, "rootfs", "prog")
	one, seconds := []specs.Hook{{Path: prog, Args: []string{"prog", "exit", "5"}}}, 1
	for name, hooks := range map[string]*specs.Hooks{
		"prestart":        {Prestart: one},
		"createRuntime":   {CreateRuntime: one},
		"createContainer": {CreateContainer: one},
		"startContainer":  {StartContainer: []specs.Hook{{Path: "/prog", Args: one[0].Args}}},
		"poststart":       {Poststart: one},
	} {
		b.spec.Hooks = hooks
		b.save()
		b.refused("error running "+name+" hook #0: ", "run", "-d", "c")
		b.clean()
	}
	b.spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: prog, Args: []string{"prog", "sleep"}, Timeout: &seconds}}}
	b.save()
	b.refused("ran past its timeout of 1 s", "create", "c")
	b.clean()
	b.spec.Hooks = &specs.Hooks{Poststop: one} // its error is a warning
	b.save()
	b.must("run", "-d", "c")
	b.must("delete", "-f", "c")
	b.clean()
}

// TestDescriptors: the container gets those it was given, and no other; so do
// hooks.
func TestDescriptors(t *testing.T) {
	b := newBundle(t, "fds")
	run := func(args ...string) string {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		defer r.Close()
		cmd := b.command(args...)
		cmd.ExtraFiles = []*os.File{r, w} // 3 and 4
		cmd.Stderr = tempFile(t)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return strings.Join(strings.Fields(string(out)), " ")
	}
	if got := run("run", "c"); got != "1" {
		t.Errorf("pipes %s, want only standard output", got)
	}
	if got := run("run", "--preserve-fds", "1", "c"); got != "1 3" {
		t.Errorf("pipes %s, want standard output and 3", got)
	}
	b.refused("unable to preserve fd 3", "run", "--preserve-fds", "1", "c")
}

// TestOwnProgram has an exec execute this very program through /proc/self/exe
// while somebody in the container looks on, and then write to what was seen
// (CVE-2019-5736). It fails when exec neither jumps by a trampoline nor calls protect.
func TestOwnProgram(t *testing.T) {
	b := newBundle(t, "sleep")
	script := filepath.Join(b.dir, "rootfs", "shell")
	if err := os.WriteFile(script, []byte("#!/proc/self/exe\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.must("run", "-d", "c")
	cmd := b.command("exec", "c", "/shell")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	before, err := os.Stat(b.runc)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, pid := range containerPids(b.state().Pid) {
			exe := "/proc/" + pid + "/exe"
			if fi, err := os.Stat(exe); err == nil && os.SameFile(fi, before) {
				t.Fatalf("process %s of the container executes the runtime's own file", pid)
			}
		}
		if cmd.ProcessState != nil || unix.Kill(cmd.Process.Pid, 0) != nil {
			return
		}
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err == nil && info.Signo != 0 {
			return
		}
	}
}

// containerPids are the processes in the pid namespace of one.
func containerPids(pid int) (out []string) {
	want, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/pid")
	if err != nil {
		return nil
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if got, err := os.Readlink("/proc/" + e.Name() + "/ns/pid"); err == nil && got == want {
			out = append(out, e.Name())
		}
	}
	return out
}

// TestBorrowed: a first process that has become the runtime itself ends before
// it does anything. It fails without the call of Borrowed in main.
func TestBorrowed(t *testing.T) {
	b := newBundle(t)
	b.spec.Process.Args = []string{"/shell", "--version"}
	script := filepath.Join(b.dir, "rootfs", "shell")
	if err := os.WriteFile(script, []byte("#!/proc/self/exe\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.save()
	if out, _, code := b.call("run", "c"); code != 126 || out != "" {
		t.Errorf("exit code %d, %q, want 126 and nothing", code, out)
	}
}
