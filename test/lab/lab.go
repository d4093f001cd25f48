package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// UID is the ordinary account. No machine is likely to know it.
const UID = 54321

// Lab is what a test needs to know of its surroundings.
type Lab struct {
	Dir     string // reachable by every account; holds bin and testdata
	Mirror  string // http://host:port of the registry that stands for Docker Hub
	Open    string // host:port of the same registry, for names that spell it out
	Auth    string // host:port, user tester, password secret
	TLS     string // host:port, https with a certificate nobody knows
	Tricky  string // host:port of a registry in front of Open that misbehaves
	Far     string // host:port of Open behind a long, slow line: see [Far]
	Scratch string // host:port of an empty registry
}

// Handed names the variable that hands a lab to a second run of a test: as the
// ordinary account, or on another machine.
const Handed = "BERTH_TEST_LAB"

// Bin is the folder with berth and its symlink docker.
func (l *Lab) Bin() string { return filepath.Join(l.Dir, "bin") }

// Berth is the program.
func (l *Lab) Berth() string { return filepath.Join(l.Bin(), "berth") }

// Root reports whether the tests run as root.
func Root() bool { return os.Geteuid() == 0 }

// Open prepares the lab, or finds the one that the root run has prepared. A
// machine that lacks something fails the test: nothing is skipped.
func Open(t T) *Lab {
	t.Helper()
	if s := os.Getenv(Handed); s != "" {
		var l Lab
		if err := json.Unmarshal([]byte(s), &l); err != nil {
			t.Fatal(err)
		}
		return &l
	}
	if !Root() {
		t.Fatal("run these tests as root: they start containers as root and as another account")
	}
	l := &Lab{}
	var err error
	if l.Dir, err = os.MkdirTemp("", "berth-lab-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(l.Dir) })
	// MkdirTemp makes a folder for its owner alone; everybody must reach it.
	if err := os.Chmod(l.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l.build(t)
	l.startRegistries(t)
	return l
}

// Repo returns the folder with go.mod.
func Repo(t T) string {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

// build compiles berth. BERTH_TEST_PROGRAM puts another program in its place:
// with docker and a daemon that has the mirror, a script that fails tells what
// it misunderstood of Docker.
func (l *Lab) build(t T) {
	t.Helper()
	if err := os.Mkdir(l.Bin(), 0o755); err != nil {
		t.Fatal(err)
	}
	if other := os.Getenv("BERTH_TEST_PROGRAM"); other != "" {
		t.Logf("BERTH_TEST_PROGRAM: the tests run %s in place of berth", other)
		for _, name := range []string{"berth", "docker"} {
			if err := os.Symlink(other, filepath.Join(l.Bin(), name)); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	cmd := exec.Command("make", "-s", "build")
	cmd.Dir = Repo(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build berth: %v\n%s", err, out)
	}
	program, err := os.ReadFile(filepath.Join(Repo(t), "bin", "berth"))
	if err == nil {
		err = os.WriteFile(l.Berth(), program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("berth", filepath.Join(l.Bin(), "docker")); err != nil {
		t.Fatal(err)
	}
}

// Accounts runs test as the account that runs now and, when that is root, the
// whole test function once more as the ordinary account.
func Accounts(t *testing.T, test func(t *testing.T, l *Lab)) {
	l := Open(t)
	if !Root() {
		test(t, l)
		return
	}
	t.Run("root", func(t *testing.T) { test(t, l) })
	if only := os.Getenv("BERTH_TEST_ACCOUNT"); only == "root" {
		t.Log("BERTH_TEST_ACCOUNT=root: the ordinary account was left out")
		return
	}
	t.Run("user", func(t *testing.T) { l.again(t) })
}

// again runs the calling test once more, as the ordinary account.
func (l *Lab) again(t *testing.T) {
	top, _, _ := strings.Cut(t.Name(), "/")
	home := filepath.Join(l.Dir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, UID, UID); err != nil {
		t.Fatal(err)
	}
	// The test binary and the package folder lie where only root may look.
	self := filepath.Join(l.Dir, "again.test")
	for _, step := range [][]string{{"cp", os.Args[0], self}, {"rm", "-rf", l.Dir + "/pkg"}, {"cp", "-r", ".", l.Dir + "/pkg"}, {"cp", "-r", Repo(t) + "/docs", l.Dir + "/"}, {"chmod", "-R", "a+rX", self, l.Dir + "/pkg", l.Dir + "/docs"}} {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", step, err, out)
		}
	}
	b, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.run=^" + top + "$" + second(), "-test.timeout=" + left(t), "-test.parallel=" + strconv.Itoa(2)}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = l.Dir + "/pkg"
	cmd.Env = []string{
		Handed + "=" + string(b), "HOME=" + home, "TMPDIR=" + home, "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"BERTH_KILL_SEED=" + os.Getenv("BERTH_KILL_SEED"), "BERTH_KILL_ROUNDS=" + os.Getenv("BERTH_KILL_ROUNDS"),
		"BERTH_RACER=" + os.Getenv("BERTH_RACER"), "BERTH_SOAK=" + os.Getenv("BERTH_SOAK"),
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: UID, Gid: UID}}
	out, err := cmd.CombinedOutput()
	t.Logf("as uid %d:\n%s", UID, out)
	if err != nil {
		t.Fatalf("as uid %d: %v", UID, err)
	}
	if strings.Contains(string(out), "no tests to run") {
		t.Fatalf("as uid %d: ran no test", UID)
	}
}

// second hands a filter of one script, "go test -run TestX/root/name", to the
// run as the ordinary account.
func second() string {
	for _, a := range os.Args {
		if f, ok := strings.CutPrefix(a, "-test.run="); ok {
			if parts := strings.Split(f, "/"); len(parts) > 2 {
				return "/" + strings.Join(parts[2:], "/")
			}
		}
	}
	return ""
}

func left(t *testing.T) string {
	if d, ok := t.Deadline(); ok {
		if s := d.Unix() - now().Unix() - 10; s > 0 {
			return fmt.Sprintf("%ds", s)
		}
	}
	return "0"
}

// T is the part of [testing.TB] that the lab uses, so that the benchmark, a
// program, can use the lab too.
type T interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Cleanup(func())
}
