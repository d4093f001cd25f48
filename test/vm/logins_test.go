package vm

import (
	"strings"
	"testing"

	"berth/test/lab"
)

// survival: what an account started goes on after its logout, or a warning has
// said that it will not: alice does not linger, and systemd ends the manager
// that holds her limits.
func survival(t *testing.T, m *machine) {
	m.login(t, "alice").must(mirrored + "berth pull -q busybox")
	t.Run("plain", func(t *testing.T) {
		s := m.login(t, "alice")
		if r := s.run("berth run -d --name plain busybox sleep 5000"); r.code != 0 || r.err != "" {
			t.Errorf("without limits: exit code %d, %q", r.code, r.err)
		}
		// While it runs logind calls her session closing, and her systemd stays.
		away(t, s)
		s = m.login(t, "alice")
		lab.Match(t, s.must("berth ps --format '{{.Names}} {{.State}}'"), "^plain running$")
		s.must("berth exec plain true && berth rm -f plain")
	})
	t.Run("limited", func(t *testing.T) {
		s := m.login(t, "alice")
		r := s.run(forget + "berth run -d --name limited --memory 64m busybox sleep 5000")
		if r.code != 0 || !strings.Contains(r.err, remedy) {
			t.Errorf("with a limit: exit code %d, %q; want a warning with the remedy", r.code, r.err)
		}
		s = again(t, s)
		lab.Match(t, s.must("berth ps -a --format '{{.Names}} {{.State}}'"), "^limited exited$")
		s.must("berth rm limited")
	})
	t.Run("killed", func(t *testing.T) { killed(t, m) })
	t.Run("lingering", func(t *testing.T) {
		root, s := m.login(t, "root"), m.login(t, "alice")
		root.must("loginctl enable-linger alice")
		defer root.must("loginctl disable-linger alice")
		r := s.run(forget + "berth run -d --name plain busybox sleep 5000 && berth run -d --name limited --memory 64m busybox sleep 5000")
		if r.code != 0 || r.err != "" {
			t.Errorf("exit code %d, %q", r.code, r.err)
		}
		away(t, s)
		s = m.login(t, "alice")
		lab.Match(t, s.must("berth ps --format '{{.Names}} {{.State}}' | sort"), "^limited running\nplain running$")
		s.must("berth exec limited true && berth rm -f plain limited")
	})
	t.Run("runtime-folder", func(t *testing.T) {
		root, s := m.login(t, "root"), m.login(t, "alice")
		s.must("berth run -d --name kept --memory 64m busybox sh -c 'echo here; exec sleep 5000'")
		root.must("find /run/user/$(id -u alice) -mindepth 1 -delete")
		lab.Match(t, s.must("berth ps --format '{{.Names}} {{.State}}'; berth exec kept echo inside; berth logs kept"), "^kept running\ninside\nhere$")
		s.must("berth restart -t 0 kept && berth exec kept true && berth rm -f kept")
		s.must("berth run --rm busybox true")
		again(t, s) // and with it the folder
	})
}

// remedy is what the warning of an end at logout says, once until forget.
const (
	remedy = "loginctl enable-linger alice"
	forget = "rm -rf ~/.local/share/berth/told; "
)

// killed: where logind kills what a session leaves, the container is with the
// account's systemd, and that ends, too.
func killed(t *testing.T, m *machine) {
	root := m.login(t, "root")
	root.must("mkdir -p /etc/systemd/logind.conf.d && printf '[Login]\\nKillUserProcesses=yes\\n' > /etc/systemd/logind.conf.d/kill.conf && systemctl restart systemd-logind")
	defer root.must("rm /etc/systemd/logind.conf.d/kill.conf && systemctl restart systemd-logind")
	s := m.login(t, "alice")
	r := s.run(forget + "berth run -d --name plain busybox sleep 5000")
	if r.code != 0 || !strings.Contains(r.err, remedy) {
		t.Errorf("exit code %d, %q; want a warning with the remedy", r.code, r.err)
	}
	lab.Match(t, s.must(groupOf("plain")), `/user@\d+\.service/.*\.scope`)
	s = again(t, s)
	lab.Match(t, s.must("berth ps -a --format '{{.Names}} {{.State}}'"), "^plain exited$")
	s.must("berth rm plain")
}

// away logs an account out, and waits until nothing of its login runs.
func away(t *testing.T, s *session) {
	t.Helper()
	root := s.m.login(t, "root")
	defer root.logout()
	s.logout()
	root.must("while pgrep -u " + s.account + " -x sshd >/dev/null; do sleep 1; done")
}

// again logs an account out, waits until its systemd has ended, some ten
// seconds later, and logs it in.
func again(t *testing.T, s *session) *session {
	t.Helper()
	away(t, s)
	root := s.m.login(t, "root")
	defer root.logout()
	root.must("while case $(systemctl is-active user@$(id -u " + s.account + ")) in active|deactivating) ;; *) false ;; esac; do sleep 1; done")
	return s.m.login(t, s.account)
}

// groupOf is a command that prints the control group of a container.
func groupOf(name string) string {
	return "cut -d: -f3 /proc/$(berth inspect -f '{{.State.Pid}}' " + name + ")/cgroup"
}
