// Package usernstest lets tests be an ordinary account with id ranges.
//
// Such an account needs a line in /etc/passwd and some in /etc/subuid and
// /etc/subgid. A test that is run by root starts its program once more in a mount
// namespace of its own, where these files are others, and that one starts it as
// the account.
package usernstest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// ID is the account's user and group.
const ID = 54321

// The environment says which of the programs one is.
const (
	stage = "USERNS_TEST"
	files = "USERNS_FILES" // the folder with the lists
)

// Main is for TestMain: it becomes the account if this program was started to,
// and runs the tests else.
func Main(m *testing.M) {
	if os.Getenv(stage) != "lists" {
		os.Exit(m.Run())
	}
	code, err := become(os.Getenv(files))
	if err != nil {
		io.WriteString(os.Stderr, err.Error()+"\n")
	}
	os.Exit(code)
}

// become puts the lists in place and runs this program as the account.
func become(dir string) (code int, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 3, err
	}
	for _, name := range []string{"passwd", "subuid", "subgid"} {
		if err := unix.Mount(filepath.Join(dir, name), "/etc/"+name, "", unix.MS_BIND, ""); err != nil {
			return 3, err
		}
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), stage+"=account")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ID, Gid: ID, Groups: []uint32{}}}
	err = c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return c.ProcessState.ExitCode(), err
}

// As runs the calling test once more as the account, called "ranged", with what
// /etc/subuid and /etc/subgid are to say, and reports whether it is that account
// already.
func As(t *testing.T, uids, gids string) bool {
	t.Helper()
	if os.Getenv(stage) == "account" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make an account with ranges")
	}
	for _, name := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(name + " is not installed")
		}
	}
	dir := t.TempDir()
	os.Chmod(filepath.Dir(dir), 0o755)
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"passwd": string(passwd) + "ranged:x:54321:54321::/:/bin/sh\n", "subuid": uids, "subgid": gids} {
		if _, err := os.Stat("/etc/" + name); err != nil {
			t.Skip(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The account cannot reach the folder that go test has built this in.
	exe := filepath.Join(dir, "test")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v")
	c.Dir = "/"
	c.Env = append(os.Environ(), stage+"=lists", files+"="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}
