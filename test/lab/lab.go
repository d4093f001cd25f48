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

// UID is the ordinary account, RangesUID one that has ids beyond its own, from
// RangesFrom on, and is in the group RangesGroup. No machine is likely to know
// any of them.
const (
	UID         = 54321
	RangesUID   = 54322
	RangesFrom  = 1 << 30
	RangesGroup = 54399
)

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
	t.Run("user", func(t *testing.T) { l.again(t, UID, nil) })
}

// Account runs test as the ordinary account alone, for what root has no part in.
func Account(t *testing.T, test func(t *testing.T, l *Lab)) {
	l := Open(t)
	if !Root() {
		test(t, l)
		return
	}
	t.Run("user", func(t *testing.T) { l.again(t, UID, nil) })
}

// Ranges runs test as an account that has ids beyond its own: /etc/subuid and
// /etc/subgid grant it those from [RangesFrom] on, in a view of these files that
// only the test has. Beside them lies etc/of-group, for [RangesGroup] to read.
// What root has to make for it, prepare makes, which may be nil.
func Ranges(t *testing.T, prepare, test func(t *testing.T, l *Lab)) {
	l := Open(t)
	if !Root() {
		test(t, l)
		return
	}
	if prepare != nil {
		prepare(t, l)
	}
	for _, name := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("no %s: run test/packages.sh", name)
		}
	}
	l.Services(t)
	view := filepath.Join(l.Dir, "etc")
	if err := os.MkdirAll(view, 0o755); err != nil {
		t.Fatal(err)
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	id, grant := strconv.Itoa(RangesUID), fmt.Sprintf("ranged:%d:65536\n", RangesFrom)
	for name, text := range map[string]string{
		"passwd": string(passwd) + "ranged:x:" + id + ":" + id + "::/:/bin/sh\n", "subuid": grant, "subgid": grant,
	} {
		if err := os.WriteFile(filepath.Join(view, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(view, "of-group")
	if err := os.WriteFile(file, []byte("for the group\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 0, RangesGroup); err != nil {
		t.Fatal(err)
	}
	t.Run("ranges", func(t *testing.T) {
		const script = `for f in passwd subuid subgid; do mount --bind "$0/$f" /etc/$f || exit; done
exec setpriv --reuid="$ID" --regid="$ID" --groups="$G" "$@"`
		l.again(t, RangesUID, []string{"unshare", "--mount", "env", "ID=" + id, "G=" + strconv.Itoa(RangesGroup), "sh", "-c", script, view})
	})
}

// again runs the calling test once more, as the ordinary account, or with the
// words before it as another one.
func (l *Lab) again(t *testing.T, uid int, as []string) {
	top, _, _ := strings.Cut(t.Name(), "/")
	home := filepath.Join(l.Dir, "home")
	if as != nil {
		home += "-ranges"
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, uid, uid); err != nil {
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: UID, Gid: UID}}
	if as != nil {
		cmd = exec.Command(as[0], append(append(as[1:], self), args...)...)
	}
	cmd.Dir = l.Dir + "/pkg"
	cmd.Env = []string{
		Handed + "=" + string(b), "HOME=" + home, "TMPDIR=" + home, "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"BERTH_KILL_SEED=" + os.Getenv("BERTH_KILL_SEED"), "BERTH_KILL_ROUNDS=" + os.Getenv("BERTH_KILL_ROUNDS"),
		"BERTH_RACER=" + os.Getenv("BERTH_RACER"), "BERTH_SOAK=" + os.Getenv("BERTH_SOAK"),
	}
	out, err := cmd.CombinedOutput()
	t.Logf("as uid %d:\n%s", uid, out)
	if err != nil {
		t.Fatalf("as uid %d: %v", uid, err)
	}
	if strings.Contains(string(out), "no tests to run") {
		t.Fatalf("as uid %d: ran no test", uid)
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
