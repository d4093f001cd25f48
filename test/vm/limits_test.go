package vm

import (
	"strings"
	"testing"

	"berth/test/lab"
)

// limits: what an account of a directory service has of control groups, by the
// systemd of its session.
func limits(t *testing.T, m *machine) {
	s := m.login(t, "alice")
	s.must(mirrored + "berth pull -q busybox")
	r := s.run(forget + "berth run -d --name box --memory 64m --cpus 0.5 --pids-limit 30 busybox sleep 5000")
	if r.code != 0 || strings.Count(r.err, "WARNING") != 1 || !strings.Contains(r.err, remedy) {
		t.Fatalf("exit code %d, %q", r.code, r.err)
	}
	group := s.must(groupOf("box"))
	lab.Match(t, group, `^/user\.slice/user-\d+\.slice/user@\d+\.service/.*\.scope/`)
	inGroup := "cd /sys/fs/cgroup" + group + " && "
	lab.Match(t, s.must(inGroup+"cat memory.max cpu.max pids.max"), "^67108864\n50000 100000\n30$")
	s.must("berth update --memory 96m --memory-swap 96m box")
	lab.Match(t, s.must(inGroup+"cat memory.max"), "^100663296$")
	lab.Match(t, s.must("berth stats --no-stream --format '{{.MemUsage}}' box"), "/ 96MiB$")
	s.must("berth pause box")
	lab.Match(t, s.must("berth ps --format '{{.Status}}'; "+inGroup+"cat cgroup.events"), `(?s)\(Paused\)\n.*frozen 1`)
	s.must("berth unpause box && berth exec box true")
	s.must("berth restart -t 0 box")
	lab.Match(t, s.must("cat /sys/fs/cgroup$("+groupOf("box")+")/memory.max"), "^100663296$")
	lab.Match(t, s.must("systemctl --user list-units --plain --no-legend 'berth-*'"), `^berth-\S+\.scope +loaded active running`)
	s.must("berth rm -f box")

	r = s.run("berth run --name big --memory 16m --memory-swap 16m busybox tail /dev/zero")
	if r.code != 137 {
		t.Errorf("16 MB are not enough: exit code %d, %s", r.code, r.err)
	}
	lab.Match(t, s.must("berth inspect -f '{{.State.OOMKilled}}' big && berth rm big"), "^true\n")
	if left := s.must("systemctl --user list-units --all --plain --no-legend 'berth-*'; find /sys/fs/cgroup/user.slice -name '*berth*'"); left != "" {
		t.Errorf("left behind: %s", left)
	}
	lab.Match(t, s.must("berth doctor"), "^ok    cgroups ")
}

// bundle makes a bundle with busybox whose limits are systemd's to keep.
const bundle = `rm -rf b && mkdir -p b/rootfs && cd b && berth create --name from busybox >/dev/null && berth export from | tar -C rootfs -xf - && berth rm from >/dev/null && ` +
	`berth oci spec $(test $(id -u) = 0 || echo --rootless) && sed -i 's,"terminal": true,"terminal": false,; s,"sh"$,"sleep"\, "5000",; ` +
	`s,"linux": {,"linux": {"cgroupsPath": ":berth:made"\, "resources": {"memory": {"limit": 33554432}}\,,' config.json && `

// ociScopes: as other engines have it with --systemd-cgroup, by the systemd of
// the machine and by that of an account.
func ociScopes(t *testing.T, m *machine) {
	for _, c := range []struct{ account, systemctl, slice string }{
		{"root", "systemctl", `^/system\.slice/berth-made\.scope`},
		{"alice", "systemctl --user", `^/user\.slice/.*/user@\d+\.service/user\.slice/berth-made\.scope`},
	} {
		t.Run(c.account, func(t *testing.T) {
			s := m.login(t, c.account)
			oci := "berth oci --systemd-cgroup "
			s.must(mirrored + "berth pull -q busybox")
			// Nobody may keep a pipe to the ssh session open.
			s.must(bundle + oci + "create --bundle . made </dev/null >/dev/null 2>err || { cat err >&2; exit 1; }; " + oci + "start made")
			group := s.must("cut -d: -f3 /proc/$(" + oci + `state made | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')/cgroup`)
			lab.Match(t, group, c.slice)
			lab.Match(t, s.must("cat /sys/fs/cgroup"+group+"/memory.max"), "^33554432$")
			unit := c.systemctl + " show -P MemoryMax -P ActiveState berth-made.scope"
			lab.Match(t, s.must(unit), "^active\n33554432$|^33554432\nactive$")
			s.must(oci + "update --memory 67108864 made && " + c.systemctl + " daemon-reload")
			lab.Match(t, s.must("cat /sys/fs/cgroup"+group+"/memory.max; "+unit), "^67108864\n(active\n67108864|67108864\nactive)$")
			s.must(oci + "pause made && " + oci + "resume made && " + oci + "exec made true")
			s.must(oci + "delete --force made")
			s.must("while [ $(" + c.systemctl + " show -P LoadState berth-made.scope) != not-found ]; do sleep 1; done")
			if left := s.must("find /sys/fs/cgroup -name '*berth-made*'"); left != "" {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

// confined: the kernel has AppArmor on, and root's containers run under the
// profile; those of an account, which may load none, run without.
func confined(t *testing.T, m *machine) {
	for account, want := range map[string]string{"root": `^berth-default \(enforce\)$`, "alice": `^unconfined$`} {
		s := m.login(t, account)
		s.must(mirrored + "berth pull -q busybox")
		lab.Match(t, s.must("berth run --rm busybox cat /proc/self/attr/current"), want)
	}
}
