package nsinit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// bounce ends a program like sh does, by way of a trampoline.
func bounce(path string, argv ...string) []Op {
	return []Op{
		{Call: "dup3", Args: []Arg{Ref(RegStdout), Int(1), Int(0)}},
		{Call: CallClose},
		{Call: CallTrampoline, Args: []Arg{Vec(append([]string{"\x03", path}, argv...)), Vec([]string{"A=b", "C=d"})}, What: "run " + path},
	}
}

// The program gets its arguments, its environment and no descriptor of ours.
func TestTrampoline(t *testing.T) {
	out, ws, err := spawn(t, &Program{Ops: bounce("/bin/sh", "sh", "-c", `echo "$0:$A:$C:$#"; ls /proc/self/fd | tr '\n' ' '; exit 7`, "zero", "one")})
	if err != nil {
		t.Fatal(err)
	}
	if out != "zero:b:d:1\n0 1 2 3 " || ws.ExitStatus() != 7 { // 3 is ls's own
		t.Errorf("output %q, status %d", out, ws.ExitStatus())
	}
}

// The process that a clone has made may be through before its maker has told of
// it.
func TestTrampolineAfterClone(t *testing.T) {
	for range 100 {
		ops := append([]Op{{Call: CallClone, Args: []Arg{Flags(0)}}}, bounce("/bin/sh", "sh", "-c", "exit 7")...)
		if _, ws, err := spawn(t, &Program{Ops: ops}); err != nil || ws.ExitStatus() != 7 {
			t.Fatalf("status %v, %v", ws, err)
		}
	}
}

// What execve has to say is heard although it was called by another program.
func TestTrampolineFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, []byte{0x7f, 'E', 'L', 'F', 0}, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]unix.Errno{"/nonexistent": unix.ENOENT, "/etc/passwd": unix.EACCES, file: unix.ENOEXEC} {
		_, _, err := spawn(t, &Program{Ops: bounce(path, "x")})
		var oe *OpError
		if !errors.As(err, &oe) || oe.Errno != want || oe.Op.What != "run "+path {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

// A program that has itself interpreted by /proc/self/exe gets the trampoline,
// not us, and may not write to it.
func TestTrampolineHidesUs(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/proc/self/exe\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, ws, err := spawn(t, &Program{Ops: bounce(script, "x")})
	if err != nil || out != "" || ws.ExitStatus() != 127 {
		t.Errorf("it said %q and ended with %v (%v)", out, ws, err)
	}
	f, err := trampoline()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := unix.Write(int(f.Fd()), []byte("x")); err != unix.EPERM {
		t.Errorf("writing to it: %v", err)
	}
	if self, _ := os.Readlink("/proc/self/exe"); strings.Contains(self, "memfd") {
		t.Error("the test proves nothing")
	}
}
