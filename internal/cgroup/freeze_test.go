package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestFreeze: what is frozen does nothing, and goes on afterwards.
func TestFreeze(t *testing.T) {
	g := prepare(t, Limits{})
	file := t.TempDir() + "/count"
	cmd := exec.Command("/bin/sh", "-c", `while :; do echo >> "$1"; done`, "sh", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for _, dir := range g.Dirs {
		if err := write(dir+"/cgroup.procs", itoa(int64(cmd.Process.Pid))); err != nil {
			t.Fatal(err)
		}
	}
	size := func() int64 {
		fi, err := os.Stat(file)
		if err != nil {
			return 0
		}
		return fi.Size()
	}
	grows := func() bool {
		for start, old := time.Now(), size(); time.Since(start) < 10*time.Second; time.Sleep(time.Millisecond) {
			if size() > old {
				return true
			}
		}
		return false
	}
	if !grows() {
		t.Fatal("the process does not run")
	}
	if err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	old := size()
	time.Sleep(100 * time.Millisecond)
	if now := size(); now != old {
		t.Errorf("it wrote %d bytes while it was frozen", now-old)
	}
	if err := g.Freeze(); err != nil {
		t.Errorf("once more: %v", err)
	}
	if err := g.Thaw(); err != nil {
		t.Fatal(err)
	}
	if !grows() {
		t.Error("it stands still after the thaw")
	}
}

func TestFreezeWithout(t *testing.T) {
	g := &Group{}
	if err := g.Freeze(); !errors.Is(err, ErrNoFreezer) {
		t.Error(err)
	}
	if err := g.Thaw(); !errors.Is(err, ErrNoFreezer) {
		t.Error(err)
	}
}
