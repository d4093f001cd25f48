package escape

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"berth/test/lab"
)

// account is somebody with a data root of his own.
type account struct {
	uid  uint32
	home string
	env  []string
}

// crowd is how many containers each account runs at once.
const crowd = 20

func (a *account) run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = "/", a.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.uid}}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// TestTwoAccounts: two accounts run twenty containers each at once; neither can
// read, signal, enter or guess the state of the other's, and each learns of the
// other's what ps --all-users tells.
//
// Fails without the mode of the data root (state.Open), SO_PEERCRED at the shim's
// socket, and the shim's and the starting process's not being dumpable.
func TestTwoAccounts(t *testing.T) {
	if !lab.Root() {
		t.Skip("only root can be two accounts")
	}
	l := lab.Open(t)
	base := t.TempDir()
	for dir := base; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	accounts := []*account{{uid: lab.UID}, {uid: lab.UID + 1}}
	for _, a := range accounts {
		a.settle(t, l, base)
	}
	defer func() {
		for _, a := range accounts {
			a.run(l.Berth(), "system", "prune", "-af")
		}
	}()
	var wg sync.WaitGroup
	for _, a := range accounts {
		for i := range crowd {
			wg.Go(func() {
				if out, err := a.run(l.Berth(), "run", "-d", "--name", fmt.Sprintf("c%d", i), "-e", fmt.Sprintf("SECRET=hush%d", a.uid), "busybox", "sleep", "1000"); err != nil {
					t.Errorf("%d: %v: %s", a.uid, err, out)
				}
			})
		}
	}
	wg.Wait()
	for i, a := range accounts {
		defer func() {
			if out, err := a.run("/bin/sh", "-c", l.Berth()+" rm -f $("+l.Berth()+" ps -aq)"); err != nil {
				t.Errorf("%d: %v: %s", a.uid, err, out)
			}
		}()
		if out, err := a.run(l.Berth(), "ps", "-q"); err != nil || strings.Count(out, "\n") != crowd {
			t.Errorf("%d runs: %v: %s", a.uid, err, out)
		}
		a.intrude(t, l, accounts[1-i])
	}
}

func (a *account) settle(t *testing.T, l *lab.Lab, base string) {
	t.Helper()
	a.home = filepath.Join(base, fmt.Sprint(a.uid))
	conf := filepath.Join(a.home, "config.json")
	a.env = []string{"PATH=" + l.Bin() + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + a.home, "BERTH_ROOT=" + filepath.Join(a.home, "root"), "BERTH_CONFIG=" + conf}
	err := os.Mkdir(a.home, 0o755) // open, so that the data root alone must keep others out
	if err == nil {
		err = os.WriteFile(conf, []byte(`{"registry-mirrors": ["`+l.Mirror+`"]}`), 0o644)
	}
	if err == nil {
		err = os.Chown(a.home, int(a.uid), int(a.uid))
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := a.run(l.Berth(), "pull", "-q", "busybox"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// intrude tries what an account must not do to the other's containers.
func (a *account) intrude(t *testing.T, l *lab.Lab, other *account) {
	t.Helper()
	root := filepath.Join(other.home, "root")
	facts, err := other.run(l.Berth(), "inspect", "-f", "{{.Id}} {{.State.Pid}}", "c0")
	var id, pid string
	if _, serr := fmt.Sscan(facts, &id, &pid); err != nil || serr != nil {
		t.Fatalf("%v: %s", err, facts)
	}
	dir := filepath.Join(root, "containers", id)
	for _, args := range [][]string{
		{"/bin/ls", root}, {"/bin/ls", dir}, {"/bin/cat", filepath.Join(dir, "config.json")}, {"/bin/cat", filepath.Join(dir, "state.json")},
		{"/usr/bin/test", "-e", filepath.Join(dir, "shim.sock")},
		{"/bin/kill", "-0", pid}, {"/bin/kill", "-TERM", pid},
		{"/bin/ls", "/proc/" + pid + "/root/"}, {"/bin/cat", "/proc/" + pid + "/environ"}, {"/bin/readlink", "/proc/" + pid + "/exe"},
		{"/usr/bin/nsenter", "-t", pid, "-U", "-m", "true"}, {"/usr/bin/nsenter", "-t", pid, "-U", "-p", "true"},
		{l.Berth(), "--root", root, "ps"}, {l.Berth(), "--root", root, "exec", "c0", "true"}, {l.Berth(), "exec", id, "true"}, {l.Berth(), "stop", id},
	} {
		if out, err := a.run(args[0], args[1:]...); err == nil {
			t.Errorf("%d may to %d: %v: %s", a.uid, other.uid, args, out)
		}
	}
	out, err := a.run(l.Berth(), "ps", "--all-users", "--format", "{{.Owner}} {{.Names}}")
	if n := strings.Count(out, fmt.Sprintf("%d c", other.uid)); err != nil || n != crowd {
		t.Errorf("%d sees %d of %d's: %v: %s", a.uid, n, other.uid, err, out)
	}
	out, err = a.run(l.Berth(), "ps", "--all-users", "--no-trunc", "--format", "json")
	if err != nil || strings.Contains(out, "hush") || strings.Contains(out, "sleep") {
		t.Errorf("%d is told too much: %v: %s", a.uid, err, out)
	}
	if out, err := other.run(l.Berth(), "exec", "c0", "echo", "lives"); err != nil || out != "lives\n" {
		t.Errorf("%d's container: %v: %s", other.uid, err, out)
	}
}
