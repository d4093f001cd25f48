package cgroup

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMachines runs the tests of the real kernel again where version 2 has all
// controllers, and where there is no version 2. A machine has one arrangement
// only, so this boots others: User-mode Linux is a whole kernel that runs as an
// ordinary program, sees the files of its host, and has this test program for
// its init.
func TestMachines(t *testing.T) {
	uml, err := exec.LookPath("linux.uml")
	if err != nil {
		t.Fatal("these tests boot User-mode Linux: install the Debian package user-mode-linux")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, arrangement := range []string{"v2", "v1"} {
		t.Run(arrangement, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			// The kernel hands words that it does not know to init.
			cmd := exec.CommandContext(ctx, uml, "mem=512M", "rootfstype=hostfs", "ro", "quiet", "panic=1",
				"con0=null,fd:1", "con=null", "init="+self, roleVar+"=machine", "ARRANGEMENT="+arrangement)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
			// It consists of many processes, and none may stay.
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
			cmd.WaitDelay = time.Second
			out, err := cmd.CombinedOutput()
			text := string(bytes.ReplaceAll(out, []byte("\r"), nil))
			if !strings.Contains(text, "\nMACHINE DONE: PASS\n") {
				t.Fatalf("%v\n%s", err, text)
			}
			if n := strings.Count(text, "--- PASS: TestReal"); n < 10 {
				t.Errorf("only %d tests ran:\n%s", n, text)
			}
		})
	}
}

// machine is the first process of such a machine.
func machine() {
	verdict := "FAIL"
	if err := arrange(os.Getenv("ARRANGEMENT")); err != nil {
		fmt.Println(err)
	} else {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestReal", "-test.v")
		cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR=/run", "HOME=/run"}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
		if err := cmd.Run(); err != nil {
			fmt.Println(err)
		} else {
			verdict = "PASS"
		}
	}
	fmt.Printf("\nMACHINE DONE: %s\n", verdict)
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_HALT)
	select {}
}

// arrange mounts what a system has, with control groups in the given manner.
func arrange(how string) error {
	type mount struct{ what, where, data string }
	mounts := []mount{{"proc", "/proc", ""}, {"sysfs", "/sys", ""}, {"tmpfs", "/run", "mode=755"}}
	if how == "v2" {
		mounts = append(mounts, mount{"cgroup2", mountPoint, ""})
	} else {
		mounts = append(mounts, mount{"tmpfs", mountPoint, ""})
		for _, c := range []string{"cpu,cpuacct", "memory", "pids", "freezer", "devices"} {
			mounts = append(mounts, mount{"cgroup", mountPoint + "/" + c, c})
		}
	}
	for _, m := range mounts {
		os.Mkdir(m.where, 0o755)
		if err := syscall.Mount(m.what, m.where, m.what, 0, m.data); err != nil {
			return fmt.Errorf("cannot mount %s: %w", m.where, err)
		}
	}
	if how != "v2" {
		for _, c := range []string{"cpu", "cpuacct"} {
			if err := os.Symlink("cpu,cpuacct", mountPoint+"/"+c); err != nil {
				return err
			}
		}
	}
	return nil
}
