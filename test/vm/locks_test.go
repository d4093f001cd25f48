package vm

import (
	"strings"
	"testing"

	"berth/test/lab"
)

// locks switches user namespaces off in each way that this kernel knows: the
// command says in one line which it is, the doctor what to type, and what works
// without goes on working.
func locks(t *testing.T, m *machine) {
	root, alice, bob := m.login(t, "root"), m.login(t, "alice"), m.login(t, "bob")
	for _, s := range []*session{alice, bob} {
		s.must(mirrored + "berth pull -q busybox")
	}
	if r := bob.run("berth doctor"); r.code != 0 {
		t.Errorf("nothing is locked: the doctor ends with %d\n%s", r.code, r.out)
	}
	for _, lock := range []struct{ name, off string }{
		{"kernel.unprivileged_userns_clone", "0"},
		{"user.max_user_namespaces", "0"},
	} {
		t.Run(lock.name, func(t *testing.T) {
			was := root.must("sysctl -n " + lock.name)
			root.must("sysctl -qw " + lock.name + "=" + lock.off)
			defer root.must("rm -f /etc/sysctl.d/60-berth.conf; sysctl -qw " + lock.name + "=" + was)
			r := bob.run("berth run --rm busybox true")
			if r.code != 125 || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, lock.name) {
				t.Errorf("berth run: exit code %d, %q; want 125 and one line with %s", r.code, r.err, lock.name)
			}
			r = bob.run("berth doctor")
			if r.code != 1 {
				t.Errorf("the doctor ends with %d, want 1", r.code)
			}
			lab.Match(t, r.out, `^fail  user-namespaces .*`+lock.name+`.*Fix: .*/etc/sysctl\.d/`)
			lab.Match(t, bob.run("berth doctor --json").out, `"check": "user-namespaces",\n *"status": "fail"`)
			lab.Match(t, bob.must("berth doctor --letter"), `(?s)Subject: .*`+lock.name)
			lab.Match(t, bob.must("berth images"), "^busybox ")
			bob.must("berth create --name box busybox && berth ps -a && berth rm box")
			// Layers of one id are read and written without a user namespace.
			alice.must("berth save busybox | berth load")
			// Root may give accounts what they lack.
			lab.Match(t, root.must("berth doctor --fix"), "^fixed +user-namespaces ")
			if r := bob.run("berth run --rm busybox true"); r.code != 0 {
				t.Errorf("unlocked again, but: %s", r.err)
			}
		})
	}
}
