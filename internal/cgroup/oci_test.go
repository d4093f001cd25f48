package cgroup

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// prepareAt is prepare for the way of an OCI runtime.
func prepareAt(t *testing.T, path string, l Limits) *Group {
	t.Helper()
	f := facts(t)
	f.Strict = true
	g, warnings, err := PrepareAt(path, l, f)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%q, %v", warnings, err)
	}
	t.Cleanup(func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
		for _, dir := range g.Dirs {
			os.Remove(filepath.Dir(dir)) // what was made above it
		}
	})
	return g
}

func TestRealPathIsInEveryTree(t *testing.T) {
	name := "/" + testID(t) + "/inner"
	g := prepareAt(t, name, Limits{PidsLimit: 50, Memory: 64 << 20, Rare: Rare{PlainSwap: true}})
	f := facts(t)
	trees := map[string]bool{}
	for c := range f.own {
		if tr, ok := f.v1(c); ok {
			trees[tr.mount] = true
		}
	}
	if f.v2.mount != "" {
		trees[f.v2.mount] = true
	}
	for mount := range trees {
		if dir := filepath.Join(mount, name); !slices.Contains(g.Dirs, dir) || !exists(dir) {
			t.Errorf("%s is not among %v", dir, g.Dirs)
		}
	}
	cmd := inGroup(t, g, "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Before it is sleep it is a Go program with several threads.
	waitFor(t, func() bool { return len(g.Procs()) == 1 && g.Stats().Pids == 1 })
	d := g.Detail()
	if d.PidsLimit != 50 || d.Pids != 1 || d.MemoryUse.Limit != 64<<20 || d.MemoryUse.Usage == 0 || len(d.MemoryStat) < 5 {
		t.Errorf("%+v", d)
	}
	if cpuDir := g.Control[cpuacct]; cpuDir != "" && len(d.CPUs) == 0 {
		t.Error("no times of single processors")
	}
	if _, _, err := PrepareAt(name, Limits{}, f); !errors.Is(err, errNotEmpty) {
		t.Errorf("a group with a process in it was taken over: %v", err)
	}
	if len(g.Procs()) != 1 {
		t.Error("and the process is gone")
	}
	if err := g.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); signalOf(err) != unix.SIGTERM {
		t.Errorf("after a signal: %v", err)
	}
}

func TestRealPathTakesOverWhatIsEmpty(t *testing.T) {
	name := "/" + testID(t)
	g := prepareAt(t, name, Limits{})
	if err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	if !g.Frozen() {
		t.Error("not frozen")
	}
	again := prepareAt(t, name, Limits{PidsLimit: 9})
	if !slices.Equal(g.Dirs, again.Dirs) || again.Stats().PidsLimit != 9 {
		t.Errorf("%+v, then %+v", g, again)
	}
	if again.Frozen() {
		t.Error("a group was taken over frozen")
	}
	if err := inGroup(t, again, "true").Run(); err != nil {
		t.Error(err)
	}
}

func TestRealPathMustBeOwn(t *testing.T) {
	for _, path := range []string{"", "/", "..", "/a/.."} {
		if _, _, err := PrepareAt(path, Limits{}, facts(t)); err == nil {
			t.Errorf("%q was taken for a group", path)
		}
	}
}

func TestRealRelativePath(t *testing.T) {
	g := prepareAt(t, testID(t), Limits{})
	f := facts(t)
	want := filepath.Join(f.v2.mount, filepath.Dir(f.v2.own), testID(t))
	if f.v2.mount == "" {
		tr, _ := f.v1(freezer)
		want = filepath.Join(tr.mount, tr.own, testID(t))
	}
	if !slices.Contains(g.Dirs, want) {
		t.Errorf("%s is not among %v", want, g.Dirs)
	}
}

// TestRealStrict: with OCI a limit that cannot be had is an error that names
// its file, and nothing stays behind.
func TestRealStrict(t *testing.T) {
	f := facts(t)
	f.Strict = true
	name := "/" + testID(t)
	for file, l := range map[string]Limits{
		"nosuch.max":        {Rare: Rare{Unified: map[string]string{"nosuch.max": "1"}}},
		"memory.nosuchfile": {Rare: Rare{Unified: map[string]string{"memory.nosuchfile": "1"}}},
	} {
		_, _, err := PrepareAt(name, l, f)
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
		for c := range f.own {
			if tr, ok := f.v1(c); ok && exists(filepath.Join(tr.mount, name)) {
				t.Errorf("%s: %s is left", file, filepath.Join(tr.mount, name))
			}
		}
		if f.v2.mount != "" && exists(filepath.Join(f.v2.mount, name)) {
			t.Errorf("%s: %s is left", file, filepath.Join(f.v2.mount, name))
		}
		f := f
		f.Strict = false
		g, warnings, err := PrepareAt(name, l, f)
		if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0], file+" has no effect: ") {
			t.Errorf("%s: %q, %v", file, warnings, err)
		} else if err := g.Remove(); err != nil {
			t.Error(err)
		}
	}
}

func TestRealUnified(t *testing.T) {
	f := facts(t)
	if f.Mode != V2 {
		g, _, err := PrepareAt("/"+testID(t), Limits{Rare: Rare{Unified: map[string]string{"memory.high": "1048576"}}}, Facts{Mode: f.Mode, Strict: true, v2: f.v2, inHere: f.inHere, own: f.own, root: f.root, fsType: f.fsType})
		if err == nil {
			g.Remove()
			t.Fatal("a file of version 2 was written where version 1 has the controller")
		}
		if !strings.Contains(err.Error(), "memory.high") {
			t.Error(err)
		}
		return
	}
	g := prepareAt(t, "/"+testID(t), Limits{Rare: Rare{Unified: map[string]string{"memory.high": "1048576", "cgroup.max.depth": "7"}}})
	for file, want := range map[string]string{"memory.high": "1048576", "cgroup.max.depth": "7"} {
		if w := words(filepath.Join(g.V2, file)); !slices.Equal(w, []string{want}) {
			t.Errorf("%s: %v", file, w)
		}
	}
}

func TestRealCheckBeforeUpdate(t *testing.T) {
	g := prepareAt(t, "/"+testID(t), Limits{})
	cmd := inGroup(t, g, "sh", "-c", "head -c 20000000 /dev/zero | tail | sleep 60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return g.Stats().Memory > 10<<20 })
	f := facts(t)
	f.Strict = true
	_, err := g.Update(Limits{Memory: 1 << 20, Rare: Rare{PlainSwap: true, CheckBeforeUpdate: true}}, f)
	if err == nil {
		t.Error("a limit below what is in use was taken")
	}
	if g.OOMKilled() {
		t.Error("and processes were killed")
	}
	g.Kill()
	cmd.Wait()
	waitFor(t, func() bool { return len(g.Procs()) == 0 })
}

func TestRealWatchOOM(t *testing.T) {
	g := prepare(t, Limits{Memory: 16 << 20, MemorySwap: 16 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	kills, err := g.WatchOOM(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for want := uint64(1); want <= 2; want++ {
		if _, err := inGroup(t, g, "eat", "64").Output(); signalOf(err) != unix.SIGKILL {
			t.Errorf("64 MiB of 16: %v", err)
		}
		select {
		case n := <-kills:
			if n != want {
				t.Errorf("%d kills, want %d", n, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("nobody told of the kill")
		}
	}
	cancel()
	for range kills {
		t.Error("told of a kill that was none")
	}
	if _, err := (&Group{}).WatchOOM(t.Context()); !errors.Is(err, ErrNoMemoryController) {
		t.Error(err)
	}
}

// TestRealOOMKillDisable: version 1 can hold a process instead of killing it,
// and that is told as well; version 2 cannot, and says so.
func TestRealOOMKillDisable(t *testing.T) {
	f := facts(t)
	g, warnings, err := Prepare(testID(t), "", Limits{Memory: 16 << 20, MemorySwap: 16 << 20, OOMKillDisable: true}, f)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Remove()
	if g.isV2(memory) {
		if len(warnings) != 1 || warnings[0] != "--oom-kill-disable has no effect: cgroup version 2 has no such limit" {
			t.Errorf("%q", warnings)
		}
		return
	}
	kills, err := g.WatchOOM(t.Context())
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	cmd := inGroup(t, g, "eat", "64")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case n := <-kills:
		if n != 0 {
			t.Errorf("%d kills", n)
		}
	case <-time.After(30 * time.Second):
		t.Error("nobody told of the want of memory")
	}
	if cmd.ProcessState != nil || len(g.Procs()) != 1 {
		t.Error("the process is not held")
	}
	g.Kill()
	cmd.Wait()
}

func TestRealNet(t *testing.T) {
	list, err := Net(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		if i.Name == "" || i.Name == "lo" {
			t.Errorf("%+v", i)
		}
	}
	if _, err := Net(math.MaxInt32); err == nil {
		t.Error("counters of no process")
	}
}

func TestRealPressure(t *testing.T) {
	g := prepareAt(t, "/"+testID(t), Limits{})
	d := g.Detail()
	// The kernel may be built or started without.
	if has := g.V2 != "" && exists(filepath.Join(g.V2, "cpu.pressure")); has != (d.CPUPressure != nil) {
		t.Errorf("there is pressure information: %v; Detail has %+v", has, d.CPUPressure)
	}
}
