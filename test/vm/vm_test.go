package vm

import (
	"os"
	"strings"
	"testing"

	"berth/test/lab"
)

// scripts are those of package script whose outcome hangs on the kernel and on
// what kind of account runs them; servers those of an account with id ranges.
const (
	scripts = "^TestScripts$/^(hello|exec|run_user|run_rm|run_namespaces|run_bind|lifecycle)$"
	servers = "^TestRanges$/^ids_services$"
)

// mirrored makes a configuration with the lab's registry in place of Docker's.
const mirrored = `mkdir -p ~/.config/berth && sed 's/.*"Mirror":"\([^"]*\)".*/{"registry-mirrors": ["\1"]}/' /bench/lab.json > ~/.config/berth/config.json && `

// TestMachines runs the tests on a server of today, and asks what berth says on
// one of yesterday. It boots one machine after the other, from one disk.
func TestMachines(t *testing.T) {
	if testing.Short() {
		t.Skip("left out: boots emulated machines")
	}
	o := options{image: openImage(t), lab: lab.Open(t)}
	if os.Getenv("BERTH_VM") == "all" {
		o.lab.Services(t)
	}
	o.disk = pack(t, o.lab, t.TempDir(), "test/tutorial", "test/script", "internal/cgroup")
	t.Run("6.1", func(t *testing.T) {
		o.kernel = "6.1"
		m := boot(t, o)
		t.Run("tests", func(t *testing.T) { packages(t, m) })
		t.Run("confined", func(t *testing.T) { confined(t, m) })
		t.Run("limits", func(t *testing.T) { limits(t, m) })
		t.Run("oci", func(t *testing.T) { ociScopes(t, m) })
		t.Run("survival", func(t *testing.T) { survival(t, m) })
		t.Run("locks", func(t *testing.T) { locks(t, m) })
	})
	t.Run("5.10", func(t *testing.T) {
		o.kernel = "5.10"
		old(t, boot(t, o))
	})
}

// packages runs tests of other packages as each of the accounts, all at once:
// what they wait for is not always the processor.
func packages(t *testing.T, m *machine) {
	// The tutorial has a server on a port: one account at a time.
	port := make(chan struct{}, 1)
	tutorial := func(t *testing.T, s *session) {
		port <- struct{}{}
		defer func() { <-port }()
		s.tests(t, "test/tutorial", "^TestTutorial$", "BERTH_TEST_ACCOUNT=root")
	}
	t.Run("alice", func(t *testing.T) {
		t.Parallel()
		s := m.login(t, "alice")
		t.Run("tutorial", func(t *testing.T) { tutorial(t, s) })
		t.Run("scripts", func(t *testing.T) { s.tests(t, "test/script", scripts) })
	})
	t.Run("bob", func(t *testing.T) {
		t.Parallel()
		s := m.login(t, "bob")
		t.Run("ranges", func(t *testing.T) { ranged(t, s) })
		if os.Getenv("BERTH_VM") == "all" { // to unpack them takes many minutes here
			t.Run("servers", func(t *testing.T) { s.tests(t, "test/script", servers) })
		}
	})
	t.Run("root", func(t *testing.T) {
		t.Parallel()
		s := m.login(t, "root")
		t.Run("cgroup", func(t *testing.T) { s.tests(t, "internal/cgroup", "^TestReal") })
		t.Run("tutorial", func(t *testing.T) { tutorial(t, s) })
	})
}

// ranged: an account that useradd has made has the ids which that granted.
func ranged(t *testing.T, s *session) {
	s.must(mirrored + "berth pull -q busybox")
	lab.Match(t, s.must("berth run --rm busybox cat /proc/self/uid_map"), `^0 +\d+ +1\n +1 +231072 +65536$`)
	lab.Match(t, s.must(`berth run --rm busybox sh -c 'touch f; chown 7:8 f; stat -c %u:%g f; su -s /bin/sh www-data -c "id -u"'`), `^7:8\n33$`)
	if r := s.run("berth run --rm --memory 64m -u 1000 busybox true"); r.code != 0 || r.err != "" {
		t.Errorf("lingers, with a limit: exit code %d, %q", r.code, r.err)
	}
}

// old is a kernel that berth cannot run containers on. It says so in one line,
// and what needs no container works.
func old(t *testing.T, m *machine) {
	for _, account := range []string{"root", "alice"} {
		t.Run(account, func(t *testing.T) {
			s := m.login(t, account)
			s.must(mirrored + "berth pull -q busybox")
			r := s.run("berth run --rm busybox true")
			lines := strings.Split(strings.TrimSpace(r.err), "\n")
			if r.code != 125 || !strings.Contains(lines[len(lines)-1], "needs Linux 5.12 or newer") {
				t.Errorf("berth run: exit code %d, %q; want 125 and the kernel that is needed", r.code, r.err)
			}
			r = s.run("berth doctor")
			if r.code != 1 {
				t.Errorf("the doctor ends with %d, want 1", r.code)
			}
			lab.Match(t, r.out, `^fail  kernel .*5\.12`)
			lab.Match(t, s.must("berth images"), "^busybox ")
			s.must("berth save busybox | berth load")
			s.must("berth rmi busybox")
		})
	}
}
