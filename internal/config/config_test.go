package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"berth/internal/host"
)

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Config
		err        string // end of the message, after the file's name
	}{
		{name: "empty", text: " \n"},
		{name: "empty object", text: "{}"},
		{
			name: "all", text: `{"registry-mirrors": ["http://127.0.0.1:5001/", "https://m.example/hub//"],
				"mirrors": {"ghcr.io": ["https://m.example"]}, "insecure-registries": ["lab:5000", "10.0.0.0/8"], "proxies": {"a.example": "direct", "b.example": "http://p:3128"},
				"storage": "copy", "keep-blobs": true, "data-root": "/data/berth", "local-root": "/scratch",
				"runtimes": {"gvisor": {"path": "runsc", "runtimeArgs": ["--network=host"]}}}`,
			want: Config{
				RegistryMirrors: []string{"http://127.0.0.1:5001", "https://m.example/hub"},
				Mirrors:         map[string][]string{"ghcr.io": {"https://m.example"}}, InsecureRegistries: []string{"lab:5000", "10.0.0.0/8"},
				Proxies: map[string]string{"a.example": "direct", "b.example": "http://p:3128"},
				Storage: "copy", KeepBlobs: true, DataRoot: "/data/berth", LocalRoot: "/scratch",
				Runtimes: map[string]Runtime{"gvisor": {Path: "runsc", Args: []string{"--network=host"}}},
			},
		},
		{name: "proxies of containers", text: `{"container-proxies": {"httpProxy": "http://p:1", "noProxy": "lan"}}`, want: Config{ContainerProxies: map[string]string{"httpProxy": "http://p:1", "noProxy": "lan"}}},
		{name: "no proxies of containers", text: `{"container-proxies": {}}`, want: Config{ContainerProxies: map[string]string{}}},
		{name: "unknown proxy", text: `{"container-proxies": {"http": "http://p:1"}}`, err: `unknown key "container-proxies.http" (known: httpProxy, httpsProxy, noProxy, ftpProxy, allProxy)`},
		{name: "unknown key", text: "{\n  \"storage\": \"auto\",\n  \"storge\": 1\n}", err: `:3:3: unknown key "storge" (known: registry-mirrors, mirrors, insecure-registries, proxies, container-proxies, storage, keep-blobs, strict-limits, data-root, local-root, runtimes, name-pattern, shm-size, mounts, limits, image-stores, publish)`},
		{name: "twice", text: `{"storage":"auto","storage":"copy"}`, err: `:1:19: the key "storage" comes twice`},
		{name: "comma", text: "{\n  \"storage\": \"auto\"\n  \"data-root\": \"/x\"\n}", err: ":3:3: not valid JSON: invalid character '\"' after object key:value pair"},
		{name: "cut off", text: `{"storage": "auto"`, err: ":1:19: not valid JSON: the file ends too early"},
		{name: "cut off in a value", text: `{"storage": "au`, err: ":1:16: not valid JSON: the file ends too early"},
		{name: "bad value", text: "{\"storage\":\n  auto}", err: ":2:3: not valid JSON: invalid character 'a' looking for beginning of value"},
		{name: "garbage", text: "storage: auto", err: ":1:1: not valid JSON: invalid character 's' looking for beginning of value"},
		{name: "list", text: "[]", err: ":1:1: a JSON object is expected"},
		{name: "more", text: "{}\n{}", err: ":2:1: not valid JSON: invalid character '{' after top-level value"},
		{name: "type", text: `{"storage": 5}`, err: ":1:2: storage must be a string"},
		{name: "proxy without scheme", text: `{"proxies": {"a.example": "p:3128"}}`, err: `:1:2: proxies: "p:3128" must be "direct" or begin with http://, https:// or socks5://`},
		{name: "no truth", text: `{"keep-blobs": "yes"}`, err: ":1:2: keep-blobs must be true or false"},
		{name: "list of numbers", text: `{"registry-mirrors": [1]}`, err: ":1:2: registry-mirrors must be a list of addresses"},
		{name: "storage", text: `{"storage": "zfs"}`, err: `:1:2: storage is "zfs", but must be auto, overlay or copy`},
		{name: "relative root", text: `{"data-root": "berth"}`, err: `:1:2: data-root is "berth", but must be an absolute path`},
		{name: "relative local root", text: `{"local-root": "berth"}`, err: `:1:2: local-root is "berth", but must be an absolute path`},
		{name: "runtime without path", text: `{"runtimes": {"x": {}}}`, err: ":1:2: runtimes: x has no path"},
		{name: "our own runtime", text: `{"runtimes": {"berth": {"path": "/x"}}}`, err: `:1:2: runtimes: the name "berth" is berth's own`},
		{name: "path for a runtime's name", text: `{"runtimes": {"/x": {"path": "/x"}}}`, err: `:1:2: runtimes: "/x" is not a name`},
		{name: "mirror without scheme", text: `{"registry-mirrors": ["m.example"]}`, err: `:1:2: registry-mirrors: "m.example" must begin with http:// or https://`},
		{name: "mirror without host", text: `{"mirrors": {"ghcr.io": ["https:///x"]}}`, err: `:1:2: mirrors: "https:///x" is not the address of a registry`},
		{name: "insecure with scheme", text: `{"insecure-registries": ["http://x"]}`, err: `:1:2: insecure-registries: "http://x" must be a host or host:port without http://`},
	} {
		path := put(t, filepath.Join(t.TempDir(), "config.json"), c.text)
		got, err := Load(path)
		if c.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), "configuration "+path+":") || !strings.HasSuffix(err.Error(), c.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want …%s", c.name, err, c.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

func TestConfigFiles(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("BERTH_CONFIG", "")
	put(t, filepath.Join(home, ".config", "berth", "config.json"), `{"storage": "copy"}`)
	if c, err := Load(""); err != nil || c.Storage != "copy" {
		t.Errorf("~/.config: %+v, %v", c, err)
	}
	xdg := filepath.Join(home, "xdg")
	t.Setenv("XDG_CONFIG_HOME", xdg)
	if c, err := Load(""); err != nil || c.Storage != "" {
		t.Errorf("an empty $XDG_CONFIG_HOME: %+v, %v", c, err)
	}
	put(t, filepath.Join(xdg, "berth", "config.json"), `{"storage": "overlay"}`)
	if c, err := Load(""); err != nil || c.Storage != "overlay" {
		t.Errorf("$XDG_CONFIG_HOME: %+v, %v", c, err)
	}
	t.Setenv("BERTH_CONFIG", filepath.Join(home, "missing.json"))
	if _, err := Load(""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing $BERTH_CONFIG: %v", err)
	}
	t.Setenv("BERTH_CONFIG", put(t, filepath.Join(home, "own.json"), `{"data-root": "/own"}`))
	if c, err := Load(""); err != nil || c.DataRoot != "/own" || c.Storage != "" {
		t.Errorf("$BERTH_CONFIG alone: %+v, %v", c, err)
	}
	if _, err := Load(filepath.Join(home, "no.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestConfigLayers(t *testing.T) {
	var c Config
	for _, text := range []string{
		`{"storage": "copy", "registry-mirrors": ["http://a"], "mirrors": {"x.io": ["http://b"]}}`,
		`{"registry-mirrors": ["http://c"], "mirrors": {"docker.io": ["http://d"]}}`,
	} {
		if _, err := c.parse([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	want := Config{Storage: "copy", RegistryMirrors: []string{"http://c"}, Mirrors: map[string][]string{"docker.io": {"http://d"}}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("key by key: %+v", c)
	}
	if m := c.RegistryMirrorsByDomain(); !reflect.DeepEqual(m, map[string][]string{"docker.io": {"http://c", "http://d"}}) {
		t.Errorf("mirrors: %v", m)
	}
}

func TestChooseRoot(t *testing.T) {
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	ann := host.Host{Rootless: true, UID: 1000, Home: "/home/ann"}
	for _, c := range []struct {
		name, flag, env, xdg string
		cfg                  Config
		host                 host.Host
		want                 string
	}{
		{name: "root", want: "/var/lib/berth"},
		{name: "root ignores XDG", xdg: "/x", want: "/var/lib/berth"},
		{name: "user", host: ann, want: "/home/ann/.local/share/berth"},
		{name: "user with XDG", host: ann, xdg: "/x/data", want: "/x/data/berth"},
		{name: "relative XDG does not count", host: ann, xdg: "data", want: "/home/ann/.local/share/berth"},
		{name: "configuration", host: ann, cfg: Config{DataRoot: "/big"}, want: "/big"},
		{name: "environment", env: "/env", cfg: Config{DataRoot: "/big"}, want: "/env"},
		{name: "flag", flag: "/flag", env: "/env", want: "/flag"},
		{name: "relative flag", flag: "here", want: filepath.Join(cwd, "here")},
	} {
		t.Setenv("BERTH_ROOT", c.env)
		t.Setenv("XDG_DATA_HOME", c.xdg)
		if got, err := ChooseRoot(c.flag, c.cfg, c.host); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	t.Setenv("BERTH_ROOT", "")
	t.Setenv("XDG_DATA_HOME", "")
	if _, err := ChooseRoot("", Config{}, host.Host{Rootless: true, UID: 1234}); err == nil || !strings.Contains(err.Error(), "--root") {
		t.Errorf("an account without a home: %v", err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"registry-mirrors": ["http://127.0.0.1:5001/"], "mirrors": {"a": []}, "storage": "auto"}`))
	f.Add([]byte(`{"data-root": "/x"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Config
		at, err := c.parse(b)
		if err != nil {
			if line, col := position(b, at); line < 1 || col < 1 {
				t.Errorf("position %d:%d", line, col)
			}
		}
	})
}
