package lsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// roleVar tells the test program which part it plays: itself, the first process
// of a machine, or a program under the profile.
const roleVar = "BERTH_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "machine":
		boot() // does not return
	case "confined":
		confined()
	default:
		os.Exit(m.Run())
	}
}

// TestProfileHolds boots User-mode Linux with AppArmor, loads the profile there
// and tries from under it, as root with all capabilities, what it is to refuse.
func TestProfileHolds(t *testing.T) {
	uml, err := exec.LookPath("linux.uml")
	if err != nil {
		t.Fatal("this test boots User-mode Linux: install the Debian package user-mode-linux")
	}
	if _, err := os.Stat("/usr/sbin/apparmor_parser"); err != nil {
		t.Fatal("this test loads an AppArmor profile: install the Debian package apparmor")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, uml, "mem=256M", "rootfstype=hostfs", "ro", "quiet", "panic=1", "security=apparmor",
		"con0=null,fd:1", "con=null", "init="+self, roleVar+"=machine")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	text := string(bytes.ReplaceAll(out, []byte("\r"), nil))
	if !strings.Contains(text, "\nMACHINE DONE: PASS\n") {
		t.Fatalf("%v\n%s", err, text)
	}
	if n := strings.Count(text, "\nok: "); n != len(attempts)+5 {
		t.Errorf("%d things were tried, want %d:\n%s", n, len(attempts)+5, text)
	}
}

// boot is the first process of the machine.
func boot() {
	verdict := "PASS"
	check := func(what string, err error) {
		if err != nil {
			verdict = "FAIL"
			fmt.Printf("\n%s: %v\n", what, err)
		} else {
			fmt.Printf("\nok: %s\n", what)
		}
	}
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"securityfs", "/sys/kernel/security"}, {"tmpfs", "/run"}} {
		if err := syscall.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			check("mount "+m[1], err)
		}
	}
	a := NewAppArmor()
	if !a.Enabled() {
		check("AppArmor", errors.New("it is off"))
	}
	check("load", a.LoadDefault())
	// This file has something to read whenever a profile is loaded.
	news, err := syscall.Open("/sys/kernel/security/apparmor/revision", syscall.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		_, err = syscall.Read(news, make([]byte, 20)) // how it is now
	}
	check("watch the profiles", err)
	check("load again", a.LoadDefault())
	if _, err := syscall.Read(news, make([]byte, 20)); err != syscall.EAGAIN {
		check("leave the profile as it is", fmt.Errorf("it was loaded again (%v)", err))
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{roleVar + "=confined"}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	err = cmd.Start()
	if err == nil {
		// As the shim does, again and again: at first nobody listens.
		done := make(chan error)
		go func() { done <- cmd.Wait() }()
		for tick := time.Tick(100 * time.Millisecond); ; {
			select {
			case <-tick:
				cmd.Process.Signal(syscall.SIGWINCH)
				continue
			case err = <-done:
			}
			break
		}
	}
	check("a program under the profile", err)
	fmt.Printf("\nMACHINE DONE: %s\n", verdict)
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_HALT)
	select {}
}

// attempts are what a program under the profile tries, and whether it may.
var attempts = []struct {
	what string
	ok   bool
	try  func() error
}{
	{"write a file", true, func() error { return os.WriteFile("/run/x", nil, 0o600) }},
	{"read /proc/kcore", false, open("/proc/kcore", os.O_RDONLY)},
	{"write /proc/sysrq-trigger", false, open("/proc/sysrq-trigger", os.O_WRONLY)},
	{"read /proc/sys/kernel/core_pattern", true, open("/proc/sys/kernel/core_pattern", os.O_RDONLY)},
	{"write /proc/sys/kernel/core_pattern", false, open("/proc/sys/kernel/core_pattern", os.O_WRONLY)},
	{"write /proc/sys/kernel/shmmax", true, open("/proc/sys/kernel/shmmax", os.O_WRONLY)},
	{"write /proc/sys/vm/drop_caches", false, open("/proc/sys/vm/drop_caches", os.O_WRONLY)},
	{"write /proc/tty/drivers", false, open("/proc/tty/drivers", os.O_WRONLY)},
	{"write to its own /proc/PID", true, open("/proc/self/comm", os.O_WRONLY)},
	{"write a module's parameter", false, open("/sys/module/printk/parameters/time", os.O_WRONLY)},
	{"read /sys/kernel/security", false, open("/sys/kernel/security/apparmor/profiles", os.O_RDONLY)},
	{"mount", false, func() error { return syscall.Mount("tmpfs", "/run", "tmpfs", 0, "") }},
	{"unmount", true, func() error { return syscall.Unmount("/sys", syscall.MNT_DETACH) }},
	{"signal itself", true, func() error { return syscall.Kill(os.Getpid(), 0) }},
	{"signal a process outside", false, func() error { return syscall.Kill(1, syscall.SIGCONT) }},
}

func open(path string, flags int) func() error {
	return func() error {
		f, err := os.OpenFile(path, flags, 0)
		if err == nil {
			f.Close()
		}
		return err
	}
}

// confined takes the profile on, as package runtime does it, and tries.
func confined() {
	if os.Getenv("UNDER") == "" {
		os.Setenv("UNDER", "1")
		// The attribute is of the thread that executes.
		err := os.WriteFile("/proc/thread-self/attr/apparmor/exec", []byte("exec "+DefaultProfile), 0)
		if err == nil {
			err = syscall.Exec("/proc/self/exe", []string{"confined"}, os.Environ())
		}
		fmt.Println(err)
		os.Exit(1)
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGWINCH)
	code := 0
	if b, _ := os.ReadFile("/proc/self/attr/apparmor/current"); string(b) != DefaultProfile+" (enforce)\n" {
		fmt.Printf("under %q\n", b)
		code = 1
	}
	for _, a := range attempts {
		switch err := a.try(); {
		case a.ok && err != nil:
			fmt.Printf("\ncannot %s: %v\n", a.what, err)
			code = 1
		case !a.ok && !errors.Is(err, syscall.EACCES):
			fmt.Printf("\n%s: %v, want a refusal\n", a.what, err)
			code = 1
		default:
			fmt.Printf("\nok: %s, %v\n", a.what, err)
		}
	}
	select {
	case <-told:
		fmt.Printf("\nok: a signal from outside\n")
	case <-time.After(time.Minute):
		fmt.Printf("\nno signal came\n")
		code = 1
	}
	os.Exit(code)
}
