package lab

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestTerminal: the person at the terminal sees, types and is told the exit
// code.
func TestTerminal(t *testing.T) {
	term, err := StartTerminal(exec.Command("sh", "-c", `printf 'name? \033[1m'; read n; echo "hello $n"; stty size; exit 7`), 30, 90)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []func() error{
		func() error { _, err := term.Expect(`name\? $`, time.Minute); return err },
		func() error { return term.Send("berth\n") },
		func() error { _, err := term.Expect("hello berth\r\n30 90", time.Minute); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := term.Expect("never shown", time.Minute); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("waiting for what never comes says %v", err)
	}
	if code, err := term.Wait(time.Minute); code != 7 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}

// TestHangup: closing the window of a silent program ends it.
func TestHangup(t *testing.T) {
	term, err := StartTerminal(exec.Command("sleep", "1000"), 24, 80)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if err := term.Resize(10, 20); err != nil {
		t.Error(err)
	}
	if err := term.Hangup(); err != nil {
		t.Fatal(err)
	}
	if code, err := term.Wait(10 * time.Second); code != 128+1 || err != nil {
		t.Errorf("exit code %d, %v; want SIGHUP", code, err)
	}
}

// TestLeaksSees: a look under the carpet finds what is there.
func TestLeaksSees(t *testing.T) {
	root := t.TempDir()
	if left := Leaks(root); len(left) > 0 {
		t.Fatalf("an empty root has leaks: %v", left)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.Dir = root
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	left := Leaks(root)
	cmd.Process.Kill()
	cmd.Wait()
	if len(left) != 1 || !strings.Contains(left[0], "sleep 1000") {
		t.Errorf("a process in the root is reported as %v", left)
	}
	if !longHex("memory-" + strings.Repeat("0a", 32) + ".scope") {
		t.Error("a container's control group is not recognised")
	}
}
