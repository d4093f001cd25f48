package version

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	v := Get()
	if v.Version == "" || v.DockerVersion != "29.0.0" || v.APIVersion != "1.52" || v.GoVersion == "" || v.Os != "linux" || v.KernelVersion == "" {
		t.Errorf("%+v", v)
	}
	bi := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}, {Key: "vcs.modified", Value: "true"},
	}}
	for _, c := range []struct {
		linked, module string
		want           string
	}{{"", "v1.2.3", "1.2.3"}, {"unknown", "v1.2.3", "1.2.3"}, {"v9-2-gabc", "v1.2.3", "v9-2-gabc"}, {"", "(devel)", ""}} {
		v := Info{Version: c.linked}
		bi.Main.Version = c.module
		v.fillFrom(bi, true)
		if v.Version != c.want || v.GitCommit != "0123456-dirty" || v.BuildTime != "2026-01-02T03:04:05Z" {
			t.Errorf("%+v: %+v", c, v)
		}
	}
}
