package prelude_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// build links testdata/probe as `make build` links the programs.
func build(t *testing.T, path, program, arch string) {
	t.Helper()
	flags := "-E berth/internal/prelude.entry"
	if program != "" {
		flags += " -X berth/internal/prelude.program=" + program
	}
	cmd := exec.Command("go", "build", "-ldflags", flags, "-o", path, "./testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
}

// start starts a probe by way of prefix, with a name and arguments, and returns
// what it printed.
func start(t *testing.T, prefix []string, program string, argv ...string) string {
	t.Helper()
	args := append(append(prefix, program), "exec", program)
	cmd := exec.Command(args[0], append(args[1:], argv...)...)
	cmd.Env = []string{"BEFORE=1", "GOMAXPROCS=3", "AFTER=2"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
	return string(out)
}

func TestEntry(t *testing.T) {
	dir := t.TempDir()
	small := filepath.Join(dir, "small")
	build(t, small, "", runtime.GOARCH)
	big := filepath.Join(dir, "big")
	build(t, big, small, runtime.GOARCH)
	lonely := filepath.Join(dir, "lonely")
	build(t, lonely, filepath.Join(dir, "none"), runtime.GOARCH)
	long := filepath.Join(dir, "long")
	build(t, long, "/"+strings.Repeat("x", 300), runtime.GOARCH)

	type result struct{ procs, program string }
	ours := func(p string) result { return result{"1", p} }
	others := func(p string) result { return result{"3", p} }
	for _, c := range []struct {
		program string
		argv    []string
		want    result
	}{
		{big, []string{"runc"}, ours(small)},
		{big, []string{"/usr/sbin/runc", "--root", "x", "run"}, ours(small)},
		{big, []string{"./runc", ""}, ours(small)},
		{big, []string{"berth", "oci"}, ours(small)},
		{big, []string{"", "oci", "list"}, ours(small)},
		{big, []string{"berth"}, others(big)},
		{big, []string{"berth", "ps", "oci"}, others(big)},
		{big, []string{"berth", "oc"}, others(big)},
		{big, []string{"berth", "ocis"}, others(big)},
		{big, []string{"runcs", "x"}, others(big)},
		{big, []string{"/bin/runc/"}, others(big)},
		{big, []string{"/runc/crun"}, others(big)},
		{big, []string{"", ""}, others(big)},
		{small, []string{"runc", "a", "b", "c", "d"}, ours(small)},
		{small, []string{"crun"}, others(small)},
		{lonely, []string{"runc", "state"}, ours(lonely)},
		{long, []string{"berth", "oci"}, ours(long)},
	} {
		got := start(t, nil, c.program, c.argv...)
		lines := strings.Split(got, "\n")
		first := fmt.Sprintf("%q %s %q", c.argv, c.want.procs, c.want.procs)
		if len(lines) != 4 || lines[0] != first || !strings.HasPrefix(lines[1], "<nil> 2 2 ") || lines[2] != c.want.program {
			t.Errorf("%s as %q:\n%swant %s in %s", filepath.Base(c.program), c.argv, got, first, c.want.program)
		}
	}
}

// The other processor's assembler, where an emulator is installed.
func TestEntryEmulated(t *testing.T) {
	arch, emulator := "arm64", "qemu-aarch64"
	if runtime.GOARCH == "arm64" {
		arch, emulator = "amd64", "qemu-x86_64"
	}
	qemu, err := exec.LookPath(emulator)
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	// The emulator would execute another program natively, so there is none.
	build(t, program, filepath.Join(dir, "none"), arch)
	for _, c := range []struct {
		argv  []string
		procs string
	}{
		{[]string{"runc"}, "1"},
		{[]string{"/usr/sbin/runc", "run", "x"}, "1"},
		{[]string{"berth", "oci", "x", "y"}, "1"},
		{[]string{"berth", "ocis"}, "3"},
		{[]string{"runcs"}, "3"},
		{[]string{"", ""}, "3"},
	} {
		cmd := exec.Command(qemu, append([]string{"-0", c.argv[0], program}, c.argv[1:]...)...)
		cmd.Env = []string{"BEFORE=1", "GOMAXPROCS=3", "AFTER=2"}
		out, err := cmd.CombinedOutput()
		want := fmt.Sprintf("%q %s %q\n<nil> 2 2 ", c.argv, c.procs, c.procs)
		if err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("%q: %v\n%swant %s", c.argv, err, out, want)
		}
	}
}
