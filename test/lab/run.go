package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Place is one account's corner: home, data root and configuration, with
// nothing of the host's own.
type Place struct {
	Lab  *Lab
	Home string
	Root string
	Env  []string
}

// Place prepares a corner below dir. Whatever runs there at the end of the test
// is ended, for a test that failed and for the folder, which goes.
func (l *Lab) Place(t T, dir string) *Place {
	t.Helper()
	p := &Place{Lab: l, Home: filepath.Join(dir, "home"), Root: filepath.Join(dir, "root")}
	if err := os.MkdirAll(filepath.Join(p.Home, ".docker"), 0o700); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "config.json")
	if err := os.WriteFile(conf, []byte(`{"registry-mirrors": ["`+l.Mirror+`"]}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Env = []string{
		"PATH=" + l.Bin() + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + p.Home, "TERM=xterm",
		"BERTH_ROOT=" + p.Root, "BERTH_CONFIG=" + conf, "DOCKER_CONFIG=" + filepath.Join(p.Home, ".docker"),
		"LAB=" + l.Dir, "OPEN=" + l.Open, "AUTH=" + l.Auth, "TLS=" + l.TLS, "TRICKY=" + l.Tricky, "FAR=" + l.Far, "SCRATCH=" + l.Scratch,
	}
	t.Cleanup(func() {
		p.Clean()
		exec.Command("chmod", "-R", "u+rwX", p.Root).Run()
	})
	return p
}

// Command returns a command in the place. Relative names are looked up in the
// place's PATH.
func (p *Place) Command(name string, args ...string) *exec.Cmd {
	if name == "berth" || name == "docker" {
		name = filepath.Join(p.Lab.Bin(), name)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = p.Env
	cmd.Dir = p.Home
	return cmd
}

// Result is how a command ended.
type Result struct {
	Out, Err string
	Code     int
}

// Run runs berth and waits. A command that takes longer than [Patience] is
// killed and answers code -1.
func (p *Place) Run(args ...string) Result { return p.RunFor(Patience, args...) }

// RunFor is Run with another patience.
func (p *Place) RunFor(patience time.Duration, args ...string) Result {
	cmd := p.Command("berth", args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		return Result{Err: err.Error(), Code: -1}
	}
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Wait()
	return Result{Out: out.String(), Err: errs.String(), Code: ExitCode(cmd.ProcessState)}
}

// Must is Run for a command that has to succeed; it returns the trimmed
// output.
func (p *Place) Must(t T, args ...string) string {
	t.Helper()
	r := p.Run(args...)
	if r.Code != 0 {
		t.Fatalf("berth %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Out, r.Err)
	}
	return strings.TrimSpace(r.Out)
}

// Clean removes all containers and volumes and reports what is left then.
func (p *Place) Clean() []string {
	if _, err := os.Stat(p.Root); err != nil && os.Getenv("BERTH_TEST_PROGRAM") == "" {
		return nil // berth was never called
	}
	var out []string
	if ids := strings.Fields(p.Run("ps", "-aq", "--no-trunc").Out); len(ids) > 0 {
		if r := p.Run(append([]string{"rm", "-f", "-v"}, ids...)...); r.Code != 0 {
			out = append(out, "rm -f: "+r.Err)
		}
	}
	return append(out, Leaks(p.Root)...)
}

// ExitCode returns the exit code as a shell shows it: 128+n for signal n.
func ExitCode(s *os.ProcessState) int {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}
