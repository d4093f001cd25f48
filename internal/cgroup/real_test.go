package cgroup

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests in this file use the kernel's control groups as they find them: on
// the machine that runs the tests, and once more, through TestMachines, in
// machines with version 1 alone and version 2 alone.

func facts(t *testing.T) Facts {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests make control groups: run them as root")
	}
	f, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	if f.Mode == None {
		t.Fatal("these tests need control groups mounted at /sys/fs/cgroup")
	}
	return f
}

func testID(t *testing.T) string {
	return "test-" + strings.ReplaceAll(strings.ToLower(t.Name()), "/", "-") + fmt.Sprint(os.Getpid())
}

// prepare makes a group that the test removes, and expects no warnings.
func prepare(t *testing.T, l Limits) *Group {
	t.Helper()
	g, warnings, err := Prepare(testID(t), "", l, facts(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
		for _, dir := range g.Dirs {
			if exists(dir) {
				t.Errorf("%s is still there", dir)
			}
		}
	})
	if len(warnings) > 0 {
		t.Fatalf("warnings: %q", warnings)
	}
	return g
}

func signalOf(err error) syscall.Signal {
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		if ws := ee.Sys().(syscall.WaitStatus); ws.Signaled() {
			return ws.Signal()
		}
	}
	return 0
}

func TestRealMemoryLimitKills(t *testing.T) {
	g := prepare(t, Limits{Memory: 32 << 20, MemorySwap: 32 << 20})
	if g.OOMKilled() {
		t.Error("OOMKilled before anything ran")
	}
	if out, err := inGroup(t, g, "eat", "4").Output(); err != nil || !strings.HasPrefix(string(out), "ate 4") {
		t.Fatalf("4 MiB of 32: %q, %v", out, err)
	}
	if g.OOMKilled() {
		t.Error("OOMKilled after a modest program")
	}
	if _, err := inGroup(t, g, "eat", "128").Output(); signalOf(err) != syscall.SIGKILL {
		t.Errorf("128 MiB of 32: %v, want death by SIGKILL", err)
	}
	if !g.OOMKilled() {
		t.Error("OOMKilled is false after the kernel killed")
	}
	if s := g.Stats(); s.MemoryLimit != 32<<20 || s.MemoryByProc {
		t.Errorf("stats: %+v", s)
	}
}

func TestRealPidsLimitStopsForks(t *testing.T) {
	g := prepare(t, Limits{PidsLimit: 12})
	cmd := inGroup(t, g, "sh", "-c", "for i in $(seq 60); do sleep 60 & done; wait")
	cmd.Stderr = nil
	if err := cmd.Run(); err == nil {
		t.Error("60 forks passed a limit of 12")
	}
	if s := g.Stats(); s.Pids > 12 || s.Pids < 5 || s.PidsLimit != 12 {
		t.Errorf("stats: %d of %d", s.Pids, s.PidsLimit)
	}
}

func TestRealCPUQuotaHoldsBack(t *testing.T) {
	g := prepare(t, Limits{NanoCPUs: 2e8})
	if err := inGroup(t, g, "spin").Run(); err != nil {
		t.Fatal(err)
	}
	s := g.Stats()
	if s.Throttled == 0 || s.ThrottledFor == 0 || s.Periods == 0 {
		t.Errorf("a spinning program was not held back: %+v", s)
	}
	if g.V2 != "" && s.CPU == 0 {
		t.Error("no processor time was counted")
	}
}

func TestRealSharesAreWritten(t *testing.T) {
	g := prepare(t, Limits{CPUShares: 512, CPUPeriod: 50000, CPUQuota: 25000, MemoryReservation: 8 << 20})
	want := map[string]string{"cpu.shares": "512", "cpu.cfs_period_us": "50000", "cpu.cfs_quota_us": "25000"}
	if g.isV2(cpu) {
		want = map[string]string{"cpu.weight": "59", "cpu.max": "25000 50000"}
	}
	for file, value := range want {
		if b, err := os.ReadFile(filepath.Join(g.Control[cpu], file)); err != nil || strings.TrimSpace(string(b)) != value {
			t.Errorf("%s holds %q (%v), want %q", file, b, err, value)
		}
	}
}

func TestRealCpuset(t *testing.T) {
	f := facts(t)
	if f.WhyNot(cpuset) != "" {
		g, warnings, err := Prepare(testID(t), "", Limits{CpusetCpus: "0"}, f)
		if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0], "--cpuset-cpus has no effect: ") {
			t.Fatalf("a kernel without cpuset: %q, %v", warnings, err)
		}
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
		return
	}
	g := prepare(t, Limits{CpusetCpus: "0", CpusetMems: "0"})
	out, err := inGroup(t, g, "grep", "Cpus_allowed_list", "/proc/self/status").Output()
	if fields := strings.Fields(string(out)); err != nil || len(fields) != 2 || fields[1] != "0" {
		t.Errorf("processors: %q, %v", out, err)
	}
	_, _, err = Prepare(testID(t)+"b", "", Limits{CpusetCpus: "0-4000"}, f)
	if err == nil || !strings.Contains(err.Error(), "requested CPUs are not available - requested 0-4000, available: ") {
		t.Errorf("processors that are not there: %v", err)
	}
	if exists(g.Dirs[0] + "b") {
		t.Error("a refused request left a group behind")
	}
}

func TestRealNoLimitsCostsOneDirectory(t *testing.T) {
	g := prepare(t, Limits{})
	if len(g.Dirs) != 1 {
		t.Fatalf("directories: %v", g.Dirs)
	}
	cmd := inGroup(t, g, "sh", "-c", "trap '' TERM; sleep 60 & sleep 60 & wait; wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(g.Procs()) == 3 })
	if !slices.Contains(g.Procs(), cmd.Process.Pid) {
		t.Errorf("processes %v lack %d", g.Procs(), cmd.Process.Pid)
	}
	if s := g.Stats(); s.Pids != 3 || s.Memory == 0 {
		t.Errorf("stats: %+v", s)
	}
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); signalOf(err) != syscall.SIGKILL {
		t.Errorf("after Remove: %v", err)
	}
	if err := g.Remove(); err != nil {
		t.Errorf("a second Remove: %v", err)
	}
}

func TestRealRemoveCatchesForkBomb(t *testing.T) {
	g := prepare(t, Limits{PidsLimit: 200})
	cmd := inGroup(t, g, "sh", "-c", "b() { b & b & }; while :; do b; done")
	cmd.Stderr = nil
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return g.Stats().Pids > 20 })
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	cmd.Wait()
}

func TestRealRemoveTakesInnerGroups(t *testing.T) {
	g := prepare(t, Limits{Memory: 64 << 20})
	for _, dir := range g.Dirs {
		if err := os.MkdirAll(filepath.Join(dir, "system.slice", "a.service"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	inner := filepath.Join(g.Dirs[0], "system.slice", "a.service")
	cmd := inGroup(t, &Group{Dirs: []string{inner}}, "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return slices.Contains(g.Procs(), cmd.Process.Pid) })
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	cmd.Wait()
}

func TestRealPrepareTakesOverLeftovers(t *testing.T) {
	g := prepare(t, Limits{PidsLimit: 50})
	cmd := inGroup(t, g, "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(g.Procs()) == 1 })
	again, _, err := Prepare(testID(t), "", Limits{PidsLimit: 60}, facts(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); signalOf(err) != syscall.SIGKILL {
		t.Errorf("the process of the earlier run: %v", err)
	}
	if n := again.Stats().PidsLimit; n != 60 {
		t.Errorf("limit is %d", n)
	}
}

func TestRealUpdate(t *testing.T) {
	g := prepare(t, Limits{})
	f := facts(t)
	g.Control = nil // as in a group without limits that was read back
	cmd := inGroup(t, g, "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(g.Procs()) == 1 })
	for _, l := range []Limits{
		{Memory: 64 << 20, MemorySwap: 64 << 20, PidsLimit: 40, NanoCPUs: 5e8},
		{Memory: 128 << 20, MemorySwap: 128 << 20},
		{Memory: 32 << 20, MemorySwap: 32 << 20},
		{CPUPeriod: 50000},
	} {
		warnings, err := g.Update(l, f)
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%+v: %q, %v", l, warnings, err)
		}
		if l.Memory != 0 && g.Stats().MemoryLimit != uint64(l.Memory) {
			t.Errorf("limit %d, want %d", g.Stats().MemoryLimit, l.Memory)
		}
	}
	for _, dir := range g.Dirs {
		if !slices.Contains(pidsIn(dir), cmd.Process.Pid) {
			t.Errorf("%s lacks the process", dir)
		}
	}
	if dir := g.Control[cpu]; g.isV2(cpu) {
		if w := words(dir + "/cpu.max"); !slices.Equal(w, []string{"50000", "50000"}) {
			t.Errorf("a new period and the old quota: %v", w)
		}
	}
	kept, _ := json.Marshal(g)
	var back Group
	if err := json.Unmarshal(kept, &back); err != nil || back.Stats().PidsLimit != 40 {
		t.Errorf("kept as %s: %+v, %v", kept, back.Stats(), err)
	}
}

func TestRealDevices(t *testing.T) {
	g := prepare(t, Limits{Devices: []Device{
		{Type: 'a', Major: -1, Minor: -1, Access: "rwm"},
		{Allow: true, Type: 'c', Major: 1, Minor: 3, Access: "rwm"},
		{Allow: true, Type: 'c', Major: 1, Minor: 5, Access: "r"},
	}})
	if !g.DevicesGuarded() {
		t.Fatal("not guarded")
	}
	dir := t.TempDir()
	for name, minor := range map[string]int{"null": 3, "zero": 5, "full": 7} {
		if err := syscall.Mknod(filepath.Join(dir, name), syscall.S_IFCHR|0o666, 1<<8|minor); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		script string
		ok     bool
	}{
		{": < null", true},
		{": > null", true},
		{": <> null", true},
		{": < zero", true},
		{": > zero", false},
		{": <> zero", false},
		{": < full", false},
	} {
		cmd := inGroup(t, g, "sh", "-c", "cd "+dir+"; "+c.script)
		cmd.Stderr = nil
		if err := cmd.Run(); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.script, err)
		}
	}
}

func TestRealParent(t *testing.T) {
	f := facts(t)
	g, warnings, err := Prepare(testID(t), "/berth-parent", Limits{PidsLimit: 5}, f)
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	for _, dir := range g.Dirs {
		if filepath.Base(filepath.Dir(dir)) != "berth-parent" {
			t.Errorf("directory %s", dir)
		}
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	for _, dir := range g.Dirs {
		if err := os.Remove(filepath.Dir(dir)); err != nil {
			t.Error(err)
		}
	}
}

func TestRealManyAtOnce(t *testing.T) {
	f := facts(t)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			g, warnings, err := Prepare(fmt.Sprintf("%s-%d", testID(t), i), "", Limits{PidsLimit: 10, Memory: 16 << 20, NanoCPUs: 1e9}, f)
			if err != nil || len(warnings) > 0 {
				t.Error(warnings, err)
				return
			}
			if err := inGroup(t, g, "true").Run(); err != nil {
				t.Error(err)
			}
			if err := g.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestRealSweep(t *testing.T) {
	f := facts(t)
	groups := map[string]*Group{}
	for _, name := range []string{"gone", "live", "busy", "young"} {
		g, _, err := Prepare(testID(t)+name, "", Limits{PidsLimit: 10}, f)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Remove()
		groups[name] = g
		if name != "young" {
			old := time.Now().Add(-time.Hour)
			for _, dir := range g.Dirs {
				if err := os.Chtimes(dir, old, old); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	cmd := inGroup(t, groups["busy"], "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return len(groups["busy"].Procs()) == 1 })
	// Other containers on this machine are not ours to sweep.
	Sweep(f, func(id string) bool {
		return !strings.HasPrefix(id, testID(t)) || id == testID(t)+"live"
	})
	for name, g := range groups {
		for _, dir := range g.Dirs {
			if exists(dir) != (name != "gone") {
				t.Errorf("%s: %s exists: %v", name, dir, exists(dir))
			}
		}
	}
	groups["busy"].Remove()
	cmd.Wait()
}

func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatal("waited 90 s in vain")
}
