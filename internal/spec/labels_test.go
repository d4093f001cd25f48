package spec

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
)

func fedora() SELinux {
	return SELinux{Process: "system_u:system_r:container_t:s0", File: "system_u:object_r:container_file_t:s0"}
}

func TestLabels(t *testing.T) {
	in := root()
	own := ownCategories(in.ID)
	for _, c := range []struct {
		options       string // with blanks between
		edit          func(*container.HostConfig)
		process, file string
	}{
		{"", nil, "system_u:system_r:container_t:s0:" + own, "system_u:object_r:container_file_t:s0:" + own},
		{"label=disable", nil, "", "system_u:object_r:container_file_t:s0:c1022,c1023"},
		{"disable", nil, "", "system_u:object_r:container_file_t:s0:c1022,c1023"},
		{"label=type:spc_t", nil, "system_u:system_r:spc_t:s0:" + own, "system_u:object_r:container_file_t:s0:" + own},
		{"label:level:s0:c100,c200", nil, "system_u:system_r:container_t:s0:c100,c200", "system_u:object_r:container_file_t:s0:c100,c200"},
		{"label=user:u label=role:r label=filetype:f", nil, "u:r:container_t:s0:" + own, "u:object_r:f:s0:" + own},
		{"", func(hc *container.HostConfig) { hc.Privileged = true }, "", "system_u:object_r:container_file_t:s0:c1022,c1023"},
		{"", func(hc *container.HostConfig) { hc.PidMode = "host" }, "", "system_u:object_r:container_file_t:s0:c1022,c1023"},
		{"", func(hc *container.HostConfig) { hc.IpcMode = "host" }, "", "system_u:object_r:container_file_t:s0:c1022,c1023"},
		{"label=type:x_t", func(hc *container.HostConfig) { hc.Privileged = true }, "system_u:system_r:x_t:s0:" + own, "system_u:object_r:container_file_t:s0:" + own},
	} {
		in := root()
		in.Host.SELinux = fedora()
		in.HostConfig.SecurityOpt = strings.Fields(c.options)
		if c.edit != nil {
			c.edit(in.HostConfig)
		}
		process, file, err := Labels(in)
		if err != nil || process != c.process || file != c.file {
			t.Errorf("%s: %q, %q, %v, want %q, %q", c.options, process, file, err, c.process, c.file)
		}
		s, _, err := Build(in)
		if err != nil || s.Process.SelinuxLabel != process || s.Linux.MountLabel != file {
			t.Errorf("%s: the specification has %q and %q: %v", c.options, s.Process.SelinuxLabel, s.Linux.MountLabel, err)
		}
		p, err := BuildProcess(in, ExecRequest{Args: []string{"x"}})
		if err != nil || p.SelinuxLabel != process {
			t.Errorf("%s: exec has %q: %v", c.options, p.SelinuxLabel, err)
		}
		in.Host.SELinux = SELinux{}
		if process, file, err := Labels(in); process+file != "" || err != nil {
			t.Errorf("%s, without SELinux: %q, %q, %v", c.options, process, file, err)
		}
	}
	in.Host.SELinux = SELinux{Process: "a:b", File: "c"}
	if _, _, err := Labels(in); err == nil {
		t.Error("a policy's nonsense passes")
	}
}

func TestOwnCategories(t *testing.T) {
	seen := map[string]bool{}
	for i := range 3000 {
		c := ownCategories(fmt.Sprint(i))
		var a, b int
		if n, err := fmt.Sscanf(c, "c%d,c%d", &a, &b); n != 2 || err != nil || a >= b || a < 0 || b >= categories {
			t.Fatalf("%q", c)
		}
		seen[c] = true
	}
	if len(seen) < 2950 {
		t.Errorf("3000 containers have %d pairs", len(seen))
	}
	if ownCategories("x") != ownCategories("x") {
		t.Error("not the same twice")
	}
}

func TestSharedLabels(t *testing.T) {
	for in, want := range map[string]string{
		"u:object_r:container_file_t:s0:c1,c2": "u:object_r:container_file_t:s0",
		"u:object_r:container_file_t:s0":       "u:object_r:container_file_t:s0",
		"x":                                    "x",
	} {
		if got := SharedLabel(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
	got := WithLabel([]string{"seccomp=unconfined", "label=type:x", "disable"}, "u:r:t:s0:c1,c2")
	want := []string{"seccomp=unconfined", "label=user:u", "label=role:r", "label=type:t", "label=level:s0:c1,c2"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := WithLabel(nil, ""); !slices.Equal(got, []string{"label=disable"}) {
		t.Errorf("%q", got)
	}
	// What one container has by options is what the other computed.
	in := root()
	in.Host.SELinux = fedora()
	process, file, _ := Labels(in)
	in.HostConfig.SecurityOpt = WithLabel(nil, process)
	in.ID = "another"
	if p, f, err := Labels(in); p != process || f != file || err != nil {
		t.Errorf("%q, %q, %v", p, f, err)
	}
}

// TestLabelOptions: an option becomes part of a label, which becomes a mount
// option in quotes.
func TestLabelOptions(t *testing.T) {
	for opt, ok := range map[string]bool{
		"label=type:a_t":          true,
		"label=level:s0:c1,c2":    true,
		"label=disable":           true,
		"label=type:":             false,
		"label=type":              false,
		"label=sort:x":            false,
		"label=type:x:y":          false,
		"label=level:s0\",x":      false,
		"label=user:a b":          false,
		"label=role:a\nb":         false,
		"label=filetype:a\\b":     false,
		"label:level:s0-s0:c0.c1": true,
	} {
		hc := &container.HostConfig{SecurityOpt: []string{opt}}
		if err := Validate(&container.Config{}, hc); (err == nil) != ok {
			t.Errorf("%q: %v", opt, err)
		}
	}
}

func TestAppArmorProfile(t *testing.T) {
	for _, c := range []struct {
		opt        string
		privileged bool
		host       Host
		want       string
		warning    string
	}{
		{host: Host{}},
		{host: Host{AppArmor: true, AppArmorDefault: "berth-default"}, want: "berth-default"},
		{host: Host{AppArmor: true, AppArmorDefault: "berth-default"}, privileged: true, want: "unconfined"},
		{host: Host{AppArmor: true, AppArmorDefault: "berth-default"}, opt: "apparmor=unconfined", want: "unconfined"},
		{host: Host{AppArmor: true, AppArmorDefault: "berth-default"}, opt: "apparmor:mine", privileged: true, want: "mine"},
		{host: Host{AppArmor: true, AppArmorProblem: "there is no parser"}, warning: "The container runs without an AppArmor profile: there is no parser"},
		{host: Host{AppArmor: true, AppArmorProblem: "there is no parser"}, opt: "apparmor=mine", want: "mine"},
		{host: Host{AppArmor: true, Rootless: true}},
		{host: Host{AppArmor: true, Rootless: true}, privileged: true},
		{host: Host{AppArmor: true, Rootless: true}, opt: "apparmor=mine", want: "mine"},
		{opt: "apparmor=mine", warning: "AppArmor is not enabled on this machine. Profile mine discarded."},
		{opt: "apparmor=unconfined"},
	} {
		in := root()
		if c.host.Rootless {
			in = rootless()
		}
		in.Host.AppArmor, in.Host.AppArmorDefault, in.Host.AppArmorProblem = c.host.AppArmor, c.host.AppArmorDefault, c.host.AppArmorProblem
		in.HostConfig.Privileged = c.privileged
		if c.opt != "" {
			in.HostConfig.SecurityOpt = []string{c.opt}
		}
		s, warnings, err := Build(in)
		if err != nil || s.Process.ApparmorProfile != c.want || strings.Join(warnings, ";") != c.warning {
			t.Errorf("%+v: %q, %q, %v", c, s.Process.ApparmorProfile, warnings, err)
		}
	}
}
