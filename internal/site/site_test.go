package site

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"berth/internal/config"
)

func TestNames(t *testing.T) {
	accounts := func(name string) bool { return name == "bob" || name == "ann" || name == "ann-lee" }
	for _, c := range []struct{ pattern, user, name, want, err string }{
		{"", "ann", "web", "web", ""},
		{"{user}-{name}", "ann", "", "", ""},
		{"{user}-{name}", "ann", "web", "ann-web", ""},
		{"{user}-{name}", "ann", "ann-web", "ann-web", ""},
		{"{user}-{name}", "ann", "ann-", "ann-ann-", ""},
		{"{user}-{name}", "ann", "web-1", "ann-web-1", ""},
		{"{user}-{name}", "ann", "bob-web", "", `the name "bob-web" would be bob's: names on this machine are {user}-{name}, so use "ann-NAME", or NAME alone`},
		{"{user}-{name}", "bob", "ann-lee-web", "", `would be ann's`},
		{"{user}-{name}", "ann-lee", "ann-lee-web", "ann-lee-web", ""},
		{"{name}.{user}", "ann", "web", "web.ann", ""},
		{"{name}.{user}", "ann", "web.bob", "", `would be bob's`},
		{"lab_{name}", "ann", "web", "lab_web", ""},
		{"lab_{name}", "ann", "lab_web", "lab_web", ""},
		{"{user}-{name}", `LAB\ann`, "web", "LAB_ann-web", ""},
		{"{user}-{name}", "_www", "web", "uwww-web", ""},
	} {
		got, err := NewNames(c.pattern, c.user, accounts).Complete(c.name)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s, %s, %q: %q, %v", c.pattern, c.user, c.name, got, err)
		}
	}
}

func TestFillLimits(t *testing.T) {
	hundred, unlimited := int64(100), int64(-1)
	s := &config.Site{ShmSize: 1 << 30, Limits: config.Limits{Memory: 8 << 30, NanoCPUs: 2e9, Pids: 100,
		Ulimits: []*units.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}, {Name: "core"}}}}
	var hc container.HostConfig
	FillLimits(&hc, s)
	var want container.HostConfig
	want.ShmSize, want.Memory, want.NanoCPUs, want.PidsLimit, want.Ulimits = 1<<30, 8<<30, 2e9, &hundred, s.Limits.Ulimits
	if !reflect.DeepEqual(hc, want) {
		t.Errorf("nothing asked for: %+v", hc)
	}
	own := container.HostConfig{ShmSize: 1}
	own.Memory, own.CPUQuota, own.PidsLimit, own.Ulimits = 2, 3, &unlimited, []*units.Ulimit{{Name: "nofile", Soft: 5, Hard: 5}}
	want = own
	want.Ulimits = []*units.Ulimit{{Name: "nofile", Soft: 5, Hard: 5}, {Name: "core"}}
	if FillLimits(&own, s); !reflect.DeepEqual(own, want) {
		t.Errorf("all asked for: %+v", own)
	}
	FillLimits(&own, &config.Site{})
	if !reflect.DeepEqual(own, want) {
		t.Errorf("no site: %+v", own)
	}
}

func TestMounts(t *testing.T) {
	home := filepath.Join(t.TempDir(), "ann")
	base := filepath.Dir(home)
	binds, warnings := Mounts([]string{base + ":/models:ro", "~/..:/home", "/nonexistent/{user}:/x"}, "ann", base)
	if want := []string{base + ":/models:ro", base + "/..:/home"}; !reflect.DeepEqual(binds, want) {
		t.Errorf("%q", binds)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "/nonexistent/ann:/x is left out") {
		t.Errorf("%q", warnings)
	}
	if binds, warnings := Mounts([]string{"~:/home"}, "ann", ""); len(binds) != 0 || len(warnings) != 1 {
		t.Errorf("%q, %q", binds, warnings)
	}
}
