package engine

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"berth/internal/version"
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
	if in.ServerVersion != version.Docker || in.OSType != "linux" || in.OperatingSystem == "" || in.KernelVersion == "" || in.NCPU < 1 || in.MemTotal < 1 {
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
