package shim

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/internal/nsinit"
)

// orphan makes a process whose maker has ended, and returns its pid.
func orphan(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!").Output()
	pid, aerr := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || aerr != nil {
		t.Fatal(err, aerr)
	}
	return pid
}

func gone(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return err != nil
}

// TestBrood: orphans come to the shim, which reaps those that end and kills what
// is left, but not what it has made itself and reaps itself.
func TestBrood(t *testing.T) {
	var b brood
	b.end(nil) // without a shared pid namespace nothing is looked at
	if err := b.adopt(); err != nil {
		t.Fatal(err)
	}
	left := orphan(t)
	if !slices.Contains(children(), left) {
		t.Fatalf("orphan %d is not among our children %v", left, children())
	}
	// It ends by itself, and is reaped.
	ended := orphan(t)
	if err := exec.Command("kill", "-9", strconv.Itoa(ended)).Run(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); !gone(ended); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("an orphan that has ended is not reaped")
		}
	}
	// While a process is made nothing is reaped: it could be that one.
	b.expect()
	own := exec.Command("true")
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	b.born(&nsinit.Child{Pid: own.Process.Pid})
	time.Sleep(50 * time.Millisecond)
	b.reap()
	if err := own.Wait(); err != nil {
		t.Errorf("our own process was reaped by another: %v", err)
	}
	b.forget(own.Process.Pid)
	b.end(nil)
	if !gone(left) {
		t.Error("an orphan outlives the end")
	}
}

// TestKillIn: only what is in the mount namespace is killed.
func TestKillIn(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	proc := "/proc/" + strconv.Itoa(cmd.Process.Pid)
	if killIn(proc, "mnt:[1]") || gone(cmd.Process.Pid) {
		t.Error("a process of another namespace is killed")
	}
	if killIn("/proc/0", "mnt:[1]") {
		t.Error("a process that is not there is killed")
	}
	mounts, err := os.Readlink(proc + "/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	if !killIn(proc, mounts) {
		t.Error("it is not killed")
	}
}
