package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const account = 12345

// asAccount calls f in a thread that belongs to an ordinary account. Programs
// started by f do too.
func asAccount(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		for _, call := range [][4]uintptr{
			{unix.SYS_SETGROUPS, 0, 0, 0},
			{unix.SYS_SETRESGID, account, account, account},
			{unix.SYS_SETRESUID, account, account, account},
		} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				done <- errno
				return
			}
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestRealAccountIsTold: without delegation every limit gives one warning, and
// a container without limits none.
func TestRealAccountIsTold(t *testing.T) {
	f := facts(t)
	f.UID = account
	f.v2.own = "/"
	asAccount(t, func() {
		if f.WhyNot(memory) == "" {
			t.Error("WhyNot is empty")
		}
		g, warnings, err := Prepare(testID(t), "", Limits{}, f)
		if err != nil || len(warnings) > 0 || len(g.Dirs) > 0 {
			t.Errorf("no limits: %+v, %q, %v", g, warnings, err)
		}
		g, warnings, err = Prepare(testID(t), "", Limits{
			Memory: 64 << 20, NanoCPUs: 1e9, PidsLimit: 10, CPUShares: 5,
			ReadBps: []Throttle{{8, 0, 1000}, {8, 16, 1000}},
		}, f)
		if err != nil || len(g.Dirs) > 0 {
			t.Errorf("%+v, %v", g, err)
		}
		var options []string
		for _, w := range warnings {
			names, why, ok := strings.Cut(strings.Replace(w, " have ", " has ", 1), " has no effect: ")
			if !ok || why == "" {
				t.Errorf("warning %q", w)
			}
			options = append(options, strings.Split(strings.Replace(names, " and ", ", ", 1), ", ")...)
		}
		if want := []string{"--memory", "--cpus", "--cpu-shares", "--pids-limit", "--device-read-bps"}; !slices.Equal(options, want) || len(warnings) > 2 {
			t.Errorf("warnings %q, want each of %v once, and a reason once", warnings, want)
		}
		refusing := f
		refusing.Refuse = true
		if _, _, err := Prepare(testID(t), "", Limits{Memory: 64 << 20, PidsLimit: 10}, refusing); err == nil || !strings.HasPrefix(err.Error(), "--memory and --pids-limit cannot be had: ") {
			t.Errorf("refusing: %v", err)
		}
		if _, w, err := Prepare(testID(t), "/elsewhere", Limits{}, f); err != nil || len(w) != 1 || !strings.HasPrefix(w[0], "--cgroup-parent has no effect: ") {
			t.Errorf("parent: %q, %v", w, err)
		}
		if w, err := g.Update(Limits{Memory: 1 << 30}, f); err != nil || len(w) != 1 {
			t.Errorf("update: %q, %v", w, err)
		}
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
}

// TestRealScope: in a group that systemd has made for a container its limits
// are in force, and not for the process beside it.
func TestRealScope(t *testing.T) {
	f := facts(t)
	if f.Mode != V2 {
		t.Skip("systemd makes scopes with limits on machines with version 2 only")
	}
	f.UID = account
	scope := filepath.Dir(delegate(t, &f)[0])
	keeper := exec.Command("sleep", "100")
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer keeper.Wait()
	defer keeper.Process.Kill()
	if err := write(filepath.Join(scope, "cgroup.procs"), fmt.Sprint(keeper.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	f.v2.own = "/" // the session's, which is not the account's
	asAccount(t, func() {
		g, warnings, err := PrepareIn(strings.TrimPrefix(scope, f.v2.mount), keeper.Process.Pid, Limits{Memory: 32 << 20, PidsLimit: 7}, f)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%q, %v", warnings, err)
			return
		}
		if n, _ := readUint(filepath.Join(g.V2, "pids.max")); n != 7 {
			t.Errorf("pids.max is %d", n)
		}
		if n, _ := readUint(filepath.Join(g.V2, "memory.max")); n != 32<<20 {
			t.Errorf("memory.max is %d", n)
		}
		if len(g.Procs()) > 0 || !slices.Contains(pidsIn(filepath.Join(scope, scopeKeeper)), keeper.Process.Pid) {
			t.Errorf("the keeper is not where it should be: %v", pidsBelow(scope))
		}
		if w, err := g.Update(Limits{PidsLimit: 9}, f); err != nil || len(w) > 0 {
			t.Errorf("update: %q, %v", w, err)
		}
		if n, _ := readUint(filepath.Join(g.V2, "pids.max")); n != 9 {
			t.Errorf("after the update pids.max is %d", n)
		}
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
}

// delegate gives the account a group in every tree and makes f believe that the
// calling process lives in a group inside it.
func delegate(t *testing.T, f *Facts) (session []string) {
	name := "/delegated-" + testID(t)
	give := func(tr tree) tree {
		top := filepath.Join(tr.mount, name)
		dir := filepath.Join(top, "app.slice", "session")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := (&Group{Dirs: []string{top}}).Remove(); err != nil {
				t.Error(err)
			}
		})
		if tr == f.v2 {
			for _, c := range f.inHere {
				if err := enableBelow(tr.mount, filepath.Dir(top), c); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, d := range []string{top, filepath.Dir(dir), dir} {
			for _, file := range []string{"", "cgroup.procs", "cgroup.subtree_control"} {
				if p := filepath.Join(d, file); exists(p) {
					if err := os.Chown(p, account, account); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		session = append(session, dir)
		return tree{mount: tr.mount, own: name + "/app.slice/session"}
	}
	moved := map[tree]tree{}
	for c := range f.own {
		tr, ok := f.v1(c)
		if !ok || c == cpuset {
			continue
		}
		if _, ok := moved[tr]; !ok {
			moved[tr] = give(tr)
		}
		f.own[c] = moved[tr].own
	}
	if f.v2.mount != "" {
		f.v2 = give(f.v2)
	}
	return session
}

// TestRealDelegation: an ordinary account has limits in groups that are its own.
func TestRealDelegation(t *testing.T) {
	f := facts(t)
	f.UID = account
	session := delegate(t, &f)
	var g *Group
	var cmd *exec.Cmd
	var stdin interface {
		Write([]byte) (int, error)
		Close() error
	}
	asAccount(t, func() {
		if why := f.WhyNot(memory); why != "" {
			t.Errorf("WhyNot: %s", why)
		}
		var warnings []string
		var err error
		g, warnings, err = Prepare(testID(t), "", Limits{Memory: 32 << 20, MemorySwap: 32 << 20, PidsLimit: 10, NanoCPUs: 5e8}, f)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%q, %v", warnings, err)
			return
		}
		script := "read go; "
		for _, dir := range g.Dirs {
			script += fmt.Sprintf("echo 0 > %s/cgroup.procs || exit 9; ", dir)
		}
		cmd = exec.Command("sh", "-c", script+"tail /dev/zero; cat")
		cmd.Stderr = os.Stderr
		if stdin, err = cmd.StdinPipe(); err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		return
	}
	// The session's processes are in the session's groups.
	for _, dir := range session {
		if err := write(dir+"/cgroup.procs", fmt.Sprint(cmd.Process.Pid)); err != nil {
			t.Error(err)
		}
	}
	fmt.Fprintln(stdin, "go")
	waitFor(t, func() bool { return g.OOMKilled() || cmd.ProcessState != nil })
	waitFor(t, func() bool { return slices.Contains(g.Procs(), cmd.Process.Pid) })
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	asAccount(t, func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
}
