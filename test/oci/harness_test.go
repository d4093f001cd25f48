package oci

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"berth/test/lab"
)

// TestMain lets more tests run at once than there are cores: nearly all their
// time is waiting.
func TestMain(m *testing.M) {
	flag.Parse()
	if !given("test.parallel") {
		flag.Set("test.parallel", "4")
	}
	os.Exit(m.Run())
}

func given(name string) bool {
	found := false
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// runc is the runtime under test, by the name under which engines know it, and
// a state folder of its own.
type runc struct {
	path string
	root string
}

func newRunc(t *testing.T, l *lab.Lab) runc {
	t.Helper()
	r := runc{path: filepath.Join(t.TempDir(), "runc"), root: filepath.Join(t.TempDir(), "state")}
	if err := os.Symlink(l.Berth(), r.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.clean(t) })
	return r
}

func (r runc) command(args ...string) *exec.Cmd {
	return exec.Command(r.path, append([]string{"--root", r.root}, args...)...)
}

// script writes a program that is the runtime with its state folder, for
// callers that pass no global flags.
func (r runc) script(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "runc")
	text := fmt.Sprintf("#!/bin/sh\nexec %s --root %s \"$@\"\n", r.path, r.root)
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// clean removes what a failed test has left.
func (r runc) clean(t *testing.T) {
	out, _ := r.command("list", "-q").Output()
	for _, id := range strings.Fields(string(out)) {
		if out, err := r.command("delete", "--force", id).CombinedOutput(); err != nil {
			t.Errorf("delete --force %s: %v\n%s", id, err, out)
		}
	}
}

// left lists the containers that the runtime still keeps anything of.
func (r runc) left() []string {
	var names []string
	entries, _ := os.ReadDir(r.root)
	for _, e := range entries {
		if e.IsDir() && e.Name()[0] != '.' { // those are the runtime's own, such as its cache of filters
			names = append(names, e.Name())
		}
	}
	return names
}

// empty fails the test unless all that the runtime kept is gone, or goes soon:
// an engine may clean up behind our back.
func (r runc) empty(t *testing.T) {
	t.Helper()
	var left []string
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(100 * time.Millisecond) {
		if left = r.left(); len(left) == 0 {
			return
		}
	}
	t.Errorf("left in the runtime's state folder: %v", left)
}

// tool is a command line that drives containers.
type tool struct {
	t       *testing.T
	command func(args ...string) *exec.Cmd
}

// result is how a command ended.
type result struct {
	out, err string
	code     int
}

// patience is how long one command of an engine may take on a slow machine.
const patience = 90 * time.Second

func (o tool) run(args ...string) result {
	o.t.Helper()
	cmd := o.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// Who keeps our pipe open after the command has ended is not waited for.
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Wait()
	return result{strings.TrimSpace(strings.ReplaceAll(out.String(), "\r", "")), strings.TrimSpace(errs.String()), lab.ExitCode(cmd.ProcessState)}
}

// must is run for a command that has to succeed; it returns its output.
func (o tool) must(args ...string) string {
	o.t.Helper()
	r := o.run(args...)
	if r.code != 0 {
		o.t.Fatalf("%s: exit code %d\n%s\n%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r.out
}

// says fails the test unless the command succeeds and its output matches.
func (o tool) says(pattern string, args ...string) {
	o.t.Helper()
	if out := o.must(args...); !regexp.MustCompile(pattern).MatchString(out) {
		o.t.Errorf("%s: want %q, got %q", strings.Join(args, " "), pattern, out)
	}
}

// ends fails the test unless the command ends with the code and its errors
// match.
func (o tool) ends(code int, pattern string, args ...string) {
	o.t.Helper()
	r := o.run(args...)
	if r.code != code || !regexp.MustCompile(pattern).MatchString(r.err) {
		o.t.Errorf("%s: want exit code %d and %q, got %d and %q", strings.Join(args, " "), code, pattern, r.code, r.err)
	}
}

// terminal runs a command in a terminal of 33 rows and 101 columns.
func (o tool) terminal(args ...string) *window {
	o.t.Helper()
	cmd := o.command(args...)
	term, err := lab.StartTerminal(cmd, 33, 101)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() {
		term.Hangup()
		cmd.Process.Kill()
	})
	return &window{o.t, term}
}

// window is somebody in front of a terminal.
type window struct {
	t    *testing.T
	term *lab.Terminal
}

func (w *window) expect(pattern string) {
	w.t.Helper()
	if _, err := w.term.Expect(pattern, lab.Patience); err != nil {
		w.t.Fatal(err)
	}
}

func (w *window) send(text string) {
	w.t.Helper()
	if err := w.term.Send(text); err != nil {
		w.t.Fatal(err)
	}
}

func (w *window) ends(code int) {
	w.t.Helper()
	got, err := w.term.Wait(lab.Patience)
	if err != nil {
		w.t.Fatal(err)
	}
	if got != code {
		w.t.Errorf("the terminal ended with %d, want %d; shown: %q", got, code, w.term.Seen())
	}
}

// limit returns what stands in a file of a process's control group: one name
// for version 1 in its hierarchy, another for version 2.
func limit(t *testing.T, pid, hierarchy, v1, v2 string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	var file string
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case f[1] == "" && file == "":
			file = filepath.Join("/sys/fs/cgroup", f[2], v2)
		case f[1] == hierarchy || strings.HasPrefix(f[1], hierarchy+",") || strings.HasSuffix(f[1], ","+hierarchy):
			file = filepath.Join("/sys/fs/cgroup", hierarchy, f[2], v1)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// program fails the test if the machine lacks one that test/packages.sh
// installs.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v; run test/packages.sh", err)
	}
	return path
}
