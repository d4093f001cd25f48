package script

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"berth/test/lab"
)

func TestScripts(t *testing.T) {
	before := lab.Cgroups()
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) { testscript.Run(t, params(l, "testdata")) })
	for _, path := range lab.AbandonedCgroups(before) {
		t.Errorf("control group left behind: %s", path)
	}
}

// TestRanges runs the scripts for an account that has ids beyond its own.
func TestRanges(t *testing.T) {
	lab.Ranges(t, nil, func(t *testing.T, l *lab.Lab) { testscript.Run(t, params(l, "testdata/ranges")) })
}

func params(l *lab.Lab, dir string) testscript.Params {
	return testscript.Params{
		Dir:       dir,
		Setup:     func(e *testscript.Env) error { return setup(l, e) },
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit": cmdExit, "pty": cmdPty, "waitfor": cmdWaitfor, "httpget": cmdHTTPGet,
			"set": cmdSet, "clean": cmdClean, "noleak": cmdNoleak, "nowrite": cmdNowrite,
		},
		RequireUniqueNames: true,
		ContinueOnError:    true, // one run shows all that is wrong
	}
}

type placeKey struct{}

func setup(l *lab.Lab, e *testscript.Env) error {
	t, ok := e.T().(testing.TB)
	if !ok {
		return errors.New("no testing.TB")
	}
	// Other accounts' programs in containers walk through here.
	if err := os.Chmod(e.WorkDir, 0o755); err != nil {
		return err
	}
	p := l.Place(t, e.WorkDir)
	e.Vars = append(e.Vars, p.Env...)
	e.Vars = append(e.Vars, "UID="+strconv.Itoa(os.Getuid()), "TMPDIR="+filepath.Join(e.WorkDir, ".tmp"))
	e.Values[placeKey{}] = p
	e.Defer(func() {
		failed := t.Failed()
		if left := p.Clean(); len(left) > 0 && !failed {
			t.Errorf("after the script:\n%s", strings.Join(left, "\n"))
		}
		if _, err := os.Stat(p.Root); err == nil {
			exec.Command(l.Berth(), "--root", p.Root, "image", "prune", "-af").Run()
		}
	})
	return nil
}

func condition(c string) (bool, error) {
	switch c {
	case "root":
		return lab.Root(), nil
	case "user":
		return !lab.Root(), nil
	case "cgroup":
		// An ordinary account without a session manager owns no group.
		return lab.Root(), nil
	}
	return false, fmt.Errorf("unknown condition %q", c)
}

func place(ts *testscript.TestScript) *lab.Place { return ts.Value(placeKey{}).(*lab.Place) }

func cmdExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit N cmd args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = lab.ExitCode(exit.ProcessState)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func cmdWaitfor(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: waitfor pattern cmd args...")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var out []byte
	for start := time.Now(); time.Since(start) < lab.Patience; time.Sleep(50 * time.Millisecond) {
		cmd := exec.Command(args[1], args[2:]...)
		if p, err := lookPath(ts, args[1]); err == nil {
			cmd.Path, cmd.Err = p, nil
		}
		cmd.Dir = ts.MkAbs(".")
		cmd.Env = environ(ts)
		out, _ = cmd.CombinedOutput()
		if re.Match(out) != neg {
			return
		}
	}
	ts.Fatalf("waited in vain for %q; last output:\n%s", args[0], out)
}

// environ rebuilds the script's environment, which testscript keeps to itself.
func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TERM", "BERTH_ROOT", "BERTH_CONFIG", "DOCKER_CONFIG", "TMPDIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "TOKEN"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func lookPath(ts *testscript.TestScript, name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if p := filepath.Join(dir, name); isProgram(p) {
			return p, nil
		}
	}
	return "", exec.ErrNotFound
}

func isProgram(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func cmdHTTPGet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: httpget url pattern")
	}
	body, err := lab.Get(args[0], lab.Patience)
	ts.Check(err)
	if ok, err := regexp.MatchString(args[1], body); err != nil || !ok {
		ts.Fatalf("%s answers %q, which does not match %q (%v)", args[0], body, args[1], err)
	}
}

func cmdSet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: set NAME")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

func cmdClean(ts *testscript.TestScript, neg bool, args []string) {
	if left := place(ts).Clean(); len(left) > 0 {
		ts.Fatalf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

func cmdNoleak(ts *testscript.TestScript, neg bool, args []string) {
	if left := lab.Leaks(place(ts).Root); len(left) > 0 {
		ts.Fatalf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

func cmdNowrite(ts *testscript.TestScript, neg bool, args []string) {
	for _, p := range args {
		if _, err := os.Lstat(p); err == nil {
			ts.Fatalf("%s exists: something wrote outside", p)
		}
	}
}
