package engine

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"strings"
	"testing"
)

func TestInfo(t *testing.T) {
	root := t.TempDir()
	e, err := Open(Options{Root: root, Config: put(t, filepath.Join(t.TempDir(), "c.json"),
		`{"storage":"copy","registry-mirrors":["http://127.0.0.1:5001"],"mirrors":{"ghcr.io":["https://m.example"]},"insecure-registries":["lab:5000","10.1.0.0/16"]}`)})
	if err != nil {
		t.Fatal(err)
	}
	withContainer(t, e, strings.Repeat("a", 64))
	in, err := e.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if in.Containers != 1 || in.ContainersStopped != 1 || in.Images != 0 || in.Driver != "copy" || in.DockerRootDir != root {
		t.Errorf("%+v", in)
	}
	if in.ServerVersion != DockerVersion || in.OSType != "linux" || in.OperatingSystem == "" || in.KernelVersion == "" || in.NCPU < 1 || in.MemTotal < 1 {
		t.Errorf("%+v", in)
	}
	if in.Runtimes["nvidia"].Path != "nvidia-container-runtime" || in.DefaultRuntime != "berth" || in.Runtimes["berth"].Path == "" {
		t.Errorf("runtimes %+v", in.Runtimes)
	}
	if in.ID == "" || in.ID != e.identity() || len(in.ID) != 36 {
		t.Errorf("identity %q", in.ID)
	}
	rc := in.RegistryConfig
	if !reflect.DeepEqual(rc.Mirrors, []string{"http://127.0.0.1:5001/"}) || rc.IndexConfigs["lab:5000"].Secure || !rc.IndexConfigs["docker.io"].Official ||
		!reflect.DeepEqual(rc.IndexConfigs["ghcr.io"].Mirrors, []string{"https://m.example/"}) || len(rc.InsecureRegistryCIDRs) != 3 {
		b, _ := json.Marshal(rc)
		t.Errorf("registries %s", b)
	}
	if in.MemoryLimit != (in.CgroupDriver == "cgroupfs") && in.PidsLimit == false {
		t.Errorf("memory limit %v with driver %s", in.MemoryLimit, in.CgroupDriver)
	}
	if !in.MemoryLimit && len(in.Warnings) == 0 {
		t.Error("no memory limit and no warning")
	}
}

func TestProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "")
	for in, want := range map[string]string{
		"": "", "http://proxy:3128": "http://proxy:3128",
		"http://ann:secret@proxy:3128/x": "http://xxxxx:xxxxx@proxy:3128/x",
	} {
		t.Setenv("http_proxy", in)
		if got := proxy("HTTP_PROXY"); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestVersion(t *testing.T) {
	v := Version()
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
		v := VersionInfo{Version: c.linked}
		bi.Main.Version = c.module
		v.fillFrom(bi, true)
		if v.Version != c.want || v.GitCommit != "0123456-dirty" || v.BuildTime != "2026-01-02T03:04:05Z" {
			t.Errorf("%+v: %+v", c, v)
		}
	}
}
