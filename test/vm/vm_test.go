package vm

import (
	"strings"
	"testing"

	"berth/test/lab"
)

// scripts are those of package script whose outcome hangs on the kernel and on
// what kind of account runs them.
const scripts = "^TestScripts$/^(hello|exec|run_user|run_rm|run_namespaces|run_bind|lifecycle)$"

// TestServer runs the tests on a server of today.
func TestServer(t *testing.T) {
	l := lab.Open(t)
	dir := t.TempDir()
	disk := pack(t, l, dir, "test/tutorial", "test/script", "internal/cgroup")
	m := boot(t, dir, options{kernel: "6.1", lab: l, disk: disk})
	t.Run("tests", func(t *testing.T) {
		// The tutorial has a server on a port: one account at a time.
		port := make(chan struct{}, 1)
		tutorial := func(t *testing.T, s *session) {
			port <- struct{}{}
			defer func() { <-port }()
			s.tests(t, "test/tutorial", "^TestTutorial$", "BERTH_TEST_ACCOUNT=root")
		}
		t.Run("alice", func(t *testing.T) {
			t.Parallel()
			s := m.login("alice")
			t.Run("tutorial", func(t *testing.T) { tutorial(t, s) })
			t.Run("scripts", func(t *testing.T) { s.tests(t, "test/script", scripts) })
		})
		t.Run("root", func(t *testing.T) {
			t.Parallel()
			s := m.login("root")
			t.Run("cgroup", func(t *testing.T) { s.tests(t, "internal/cgroup", "^TestReal") })
			t.Run("tutorial", func(t *testing.T) { tutorial(t, s) })
		})
	})
	t.Run("survival", func(t *testing.T) { survival(t, m) })
	t.Run("locks", func(t *testing.T) { locks(t, m) })
}

// locks switches user namespaces off in each way that this kernel knows: the
// command says in one line which it is, and what works without goes on working.
func locks(t *testing.T, m *machine) {
	root, bob := m.login("root"), m.login("bob")
	bob.must(mirrored + "berth pull -q busybox")
	for _, lock := range []struct{ file, off string }{
		{"/proc/sys/kernel/unprivileged_userns_clone", "0"},
		{"/proc/sys/user/max_user_namespaces", "0"},
	} {
		t.Run(lock.file[strings.LastIndex(lock.file, "/")+1:], func(t *testing.T) {
			was := root.must("cat " + lock.file)
			root.must("echo " + lock.off + " > " + lock.file)
			defer root.must("echo " + was + " > " + lock.file)
			r := bob.run("berth run --rm busybox true")
			name := strings.ReplaceAll(strings.TrimPrefix(lock.file, "/proc/sys/"), "/", ".")
			if r.code != 125 || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, name) {
				t.Errorf("berth run: exit code %d, %q; want 125 and one line with %s", r.code, r.err, name)
			}
			lab.Match(t, bob.must("berth images"), "^busybox ")
		})
		if r := bob.run("berth run --rm busybox true"); r.code != 0 {
			t.Errorf("unlocked again, but: %s", r.err)
		}
	}
}

// TestOld boots a kernel that berth cannot run containers on. It says so in one
// line, and what needs no container works.
func TestOld(t *testing.T) {
	l := lab.Open(t)
	dir := t.TempDir()
	m := boot(t, dir, options{kernel: "5.10", lab: l, disk: pack(t, l, dir)})
	for _, account := range []string{"root", "alice"} {
		t.Run(account, func(t *testing.T) {
			s := m.login(account)
			s.must(mirrored + "berth pull -q busybox")
			r := s.run("berth run --rm busybox true")
			lines := strings.Split(strings.TrimSpace(r.err), "\n")
			if r.code != 125 || !strings.Contains(lines[len(lines)-1], "needs Linux 5.12 or newer") {
				t.Errorf("berth run: exit code %d, %q; want 125 and the kernel that is needed", r.code, r.err)
			}
			lab.Match(t, s.must("berth images"), "^busybox ")
			s.must("berth save busybox | berth load")
			s.must("berth rmi busybox")
		})
	}
}

// survival: what an account started goes on after its logout, or a warning has
// said that it will not: alice does not linger, and systemd ends the manager
// that holds her limits.
func survival(t *testing.T, m *machine) {
	s := m.login("alice")
	s.must(mirrored + "berth pull -q busybox")
	if r := s.run("berth run -d --name plain busybox sleep 5000"); r.code != 0 || r.err != "" {
		t.Errorf("without limits: exit code %d, %q", r.code, r.err)
	}
	s.logout()
	s = m.login("alice")
	lab.Match(t, s.must("berth ps --format '{{.Names}} {{.State}}'"), "^plain running$")
	s.must("berth exec plain true && berth rm -f plain")

	r := s.run("berth run -d --name limited --memory 64m busybox sleep 5000")
	if r.code != 0 || !strings.Contains(r.err, "loginctl enable-linger alice") {
		t.Errorf("with a limit: exit code %d, %q; want a warning with the remedy", r.code, r.err)
	}
	lab.Match(t, s.must("cat /sys/fs/cgroup$(cut -d: -f3 /proc/$(berth inspect -f '{{.State.Pid}}' limited)/cgroup)/memory.max"), "^67108864$")
	s.logout()
	m.login("root").must("while systemctl is-active -q user@$(id -u alice) || [ $(systemctl is-active user@$(id -u alice)) = deactivating ]; do sleep 1; done")
	s = m.login("alice")
	lab.Match(t, s.must("berth ps -a --format '{{.Names}} {{.State}}'"), "^limited exited$")
	s.must("berth rm limited")
}

// mirrored makes a configuration with the lab's registry in place of Docker's.
const mirrored = `mkdir -p ~/.config/berth && sed 's/.*"Mirror":"\([^"]*\)".*/{"registry-mirrors": ["\1"]}/' /bench/lab.json > ~/.config/berth/config.json && `
