package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/test/lab"
)

// toolsModule is the suite, at the newest version that a module proxy has.
// Nothing of it is kept in this repository.
const toolsModule = "github.com/opencontainers/runtime-tools@v0.9.1-0.20251114084447-edf4cb3d2116"

// TestValidation runs the suite against the runtime; see the table in
// validations_test.go.
func TestValidation(t *testing.T) {
	l := lab.Open(t)
	suite := buildSuite(t)
	known := map[string]bool{}
	for _, v := range validations() {
		known[v.name] = true
	}
	for _, name := range suite.names() {
		if !known[name] {
			t.Errorf("the suite has %s, and the table says nothing about it", name)
		}
	}
	r := newRunc(t, l)
	place := suite.place(t)
	script := r.script(t)
	var group sync.Mutex
	for _, v := range validations() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			if v.lacks != nil {
				if why := v.lacks(); why != "" {
					t.Skipf("does not apply on this machine: %s", why)
				}
			}
			if v.group {
				// They all use the control group /cgrouptest.
				group.Lock()
				defer group.Unlock()
				freeGroup(t)
			}
			out, errs, code := suite.run(t, place, script, v.name)
			for i := 0; i < 9 && v.racy != "" && len(complaints(out, errs, code)) > 0; i++ {
				t.Logf("once more: %s", v.racy)
				out, errs, code = suite.run(t, place, script, v.name)
			}
			verdict(t, v, out, errs, code)
		})
	}
	t.Cleanup(func() {
		removeParents()
		// Before the runtime's own folder goes: everything is deleted.
		if left := r.left(); len(left) > 0 {
			t.Logf("left in the state folder (some tests of the suite do not delete): %v", left)
		}
	})
}

// verdict fails the test for each complaint that the table does not explain.
func verdict(t *testing.T, v validation, out, errs string, code int) {
	t.Helper()
	explained := map[string]bool{}
	for _, c := range complaints(out, errs, code) {
		why := ""
		for part, reason := range v.except {
			if strings.Contains(c, part) {
				explained[part], why = true, reason
			}
		}
		if why == "" {
			t.Errorf("%s\n%s", c, context(out, errs))
		} else {
			t.Logf("%s: %s", c, why)
		}
	}
	for part := range v.except {
		if !explained[part] {
			t.Logf("the table explains %q, which did not happen", part)
		}
	}
}

// complaints reads what a test of the suite says: TAP, where a failed check is
// a line; some of the tests say what went wrong in the diagnostics only, and
// have no check at all.
func complaints(out, errs string, code int) []string {
	var found []string
	checks := 0
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "not ok"):
			found = append(found, line)
			checks++
		case strings.HasPrefix(line, "ok"):
			checks++
		}
	}
	if checks == 0 {
		for line := range strings.Lines(out) {
			if s := strings.TrimSpace(line); strings.HasPrefix(s, `"error": "`) {
				found = append(found, s)
			}
		}
	}
	if code != 0 {
		found = append(found, fmt.Sprintf("exit code %d: %s", code, strings.ReplaceAll(strings.TrimSpace(errs), "\n", "; ")))
	}
	return found
}

// context is what helps to understand a complaint.
func context(out, errs string) string {
	if len(out) > 6000 {
		var lines []string
		for line := range strings.Lines(out) {
			if len(line) > 2000 {
				line = line[:2000] + "…\n"
			}
			lines = append(lines, line)
		}
		// The failed lines of a test inside the container stand in the middle.
		var kept []string
		for i, line := range lines {
			if strings.HasPrefix(line, "not ok") {
				kept = append(kept, lines[i:min(i+10, len(lines))]...)
			}
		}
		out = strings.Join(kept, "")
	}
	return out + errs
}

// TestComplaints: what the suite says is understood, above all where it says
// badly that something is wrong.
func TestComplaints(t *testing.T) {
	for _, c := range []struct {
		name, out, errs string
		code            int
		want            []string
	}{
		{name: "all is well", out: "TAP version 13\nok 1 - one\nok 2 # SKIP two\n1..2\n"},
		{name: "a check fails", out: "ok 1 - one\nnot ok 2 - two\n  ---\n  {\n    \"error\": \"x\"\n  }\n  ...\n1..2\n", want: []string{"not ok 2 - two"}},
		{name: "an error of a check that was expected", out: "ok 1 - it fails\n  ---\n  {\n    \"error\": \"exit status 1\"\n  }\n", want: nil},
		{name: "no check and an error", out: "TAP version 13\n  ---\n  {\n    \"error\": \"hooks\"\n  }\n  ...\n1..0\n", want: []string{`"error": "hooks"`}},
		{name: "it ends early", out: "TAP version 13\nok 1 - one\n", errs: "no\nway\n", code: 1, want: []string{"exit code 1: no; way"}},
	} {
		if got := complaints(c.out, c.errs, c.code); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// suite is the built suite: a folder of programs, and the source they are from.
type suite struct{ bin, source string }

// buildSuite builds the suite once; what it has built lies in the tests' cache.
func buildSuite(t *testing.T) suite {
	t.Helper()
	cache := os.Getenv("BERTH_TEST_CACHE")
	if cache == "" {
		cache = filepath.Join("..", "tmp")
	}
	cache, err := filepath.Abs(cache)
	if err == nil {
		err = os.MkdirAll(cache, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(toolsModule, "@")
	s := suite{bin: filepath.Join(cache, "runtime-tools-"+version)}
	s.source = moduleDir(t)
	lock, err := os.OpenFile(s.bin+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.bin); err == nil {
		return s
	}
	half, err := os.MkdirTemp(cache, "runtime-tools-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(half)
	path, version, _ := strings.Cut(toolsModule, "@")
	cmd := exec.Command("go", "install", "-ldflags=-s -w", path+"/validation/...@"+version, path+"/cmd/runtimetest@"+version)
	cmd.Dir = half // outside our module
	cmd.Env = append(os.Environ(), "GOBIN="+half, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		// Its modules come from the proxy, too.
		t.Skipf("cannot build the suite: %v\n%s", err, out)
	}
	if err := os.Rename(half, s.bin); err != nil {
		t.Fatal(err)
	}
	return s
}

// moduleDir has the go command fetch the suite's source and returns its folder.
func moduleDir(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", toolsModule)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	out, err := cmd.Output()
	var module struct{ Dir, Error string }
	if json.Unmarshal(out, &module) != nil || err != nil || module.Error != "" {
		t.Skipf("cannot fetch the suite, which needs the Go module proxy: %v %s", err, module.Error)
	}
	return module.Dir
}

// names lists the tests of the suite.
func (s suite) names() []string {
	entries, _ := os.ReadDir(s.bin)
	var names []string
	for _, e := range entries {
		if e.Name() != "runtimetest" {
			names = append(names, e.Name())
		}
	}
	return names
}

// place makes the folder that the tests want to be started in.
func (s suite) place(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	rootfs := fmt.Sprintf("rootfs-%s.tar.gz", runtime.GOARCH)
	err := os.Symlink(filepath.Join(s.source, rootfs), filepath.Join(dir, rootfs))
	if err == nil {
		err = os.Link(filepath.Join(s.bin, "runtimetest"), filepath.Join(dir, "runtimetest"))
	}
	if err != nil {
		var b []byte
		if b, err = os.ReadFile(filepath.Join(s.bin, "runtimetest")); err == nil {
			err = os.WriteFile(filepath.Join(dir, "runtimetest"), b, 0o755)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// freeGroup fails the test if somebody else uses, or has left, the control
// group that the suite uses.
func freeGroup(t *testing.T) {
	t.Helper()
	removeParents()
	for _, pattern := range []string{"*/cgrouptest", "*/testdir/cgrouptest"} {
		if found, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", pattern)); len(found) > 0 {
			t.Fatalf("somebody has left %s; remove it", found[0])
		}
	}
}

// removeParents removes what is above the relative control group of the suite,
// testdir/cgrouptest/container, if it is empty: runtimes remove the group that
// they were given only.
func removeParents() {
	for _, pattern := range []string{"*/testdir/cgrouptest", "*/testdir"} {
		found, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", pattern))
		for _, dir := range found {
			os.Remove(dir)
		}
	}
}

// openDir makes a folder whose way every account can go: in some tests the
// container's root is another account.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run runs one test of the suite, in a mount namespace of its own: some change
// how mounts are propagated.
func (s suite) run(t *testing.T, place, runtime, name string) (out, errs string, code int) {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "--propagation", "slave", filepath.Join(s.bin, name))
	cmd.Dir = place
	cmd.Env = append(os.Environ(), "RUNTIME="+runtime, "TMPDIR="+openDir(t))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(4*time.Minute, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer timer.Stop()
	cmd.Wait()
	return stdout.String(), stderr.String(), lab.ExitCode(cmd.ProcessState)
}
