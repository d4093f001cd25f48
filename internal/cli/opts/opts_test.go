package opts

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestOwnErrors covers what a docker client leaves to its daemon, or what
// berth says in other words.
func TestOwnErrors(t *testing.T) {
	for line, want := range map[string]string{
		"-v|a|b":                           `invalid volume specification: 'a': invalid mount config for type "volume": invalid mount path: 'a' mount path must be absolute`,
		"-v|ab:cd|b":                       `invalid volume specification: 'ab:cd': invalid mount config for type "volume": invalid mount path: 'cd' mount path must be absolute`,
		"-v|/a:b|b":                        `invalid volume specification: '/a:b': invalid mount config for type "bind": invalid mount path: 'b' mount path must be absolute`,
		"-v|/a:/|b":                        `invalid volume specification: '/a:/': invalid mount config for type "bind": invalid specification: destination can't be '/'`,
		"-v|/a:/b:foo|b":                   `invalid volume specification: '/a:/b:foo': invalid mode: foo`,
		"-v|/a:/b:ro,rw|b":                 `invalid volume specification: '/a:/b:ro,rw': invalid mode: ro,rw`,
		"-v|/a:/b:nocopy|b":                `invalid volume specification: '/a:/b:nocopy': invalid mode: nocopy`,
		"-v|/a:ro|b":                       `invalid volume specification: '/a:ro'`,
		"-v|ab:/x:shared|b":                `invalid volume specification: 'ab:/x:shared': invalid mode: shared`,
		"-v|a:|b":                          `invalid spec: a:: empty section between colons`,
		"-v|a::/b|b":                       `invalid spec: a::/b: empty section between colons`,
		"-v|v:/y|b":                        `volume name is too short, names should be at least two alphanumeric characters`,
		"-v|x/y:/z|b":                      `"x/y" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
		"-v|~/models:/z|b":                 `the shell has not expanded "~/models": write "$HOME/models", or leave the quotes away`,
		"--mount||b":                       `invalid argument "" for "--mount" flag: value is empty`,
		"--mount|type=foo,target=/x|b":     `invalid argument "type=foo,target=/x" for "--mount" flag: invalid mount config for type "foo": mount type unknown`,
		"--mount|type=bind,dst=/x|b":       `invalid argument "type=bind,dst=/x" for "--mount" flag: invalid mount config for type "bind": field Source must not be empty`,
		"--mount|type=bind,src=a,dst=/x|b": `invalid argument "type=bind,src=a,dst=/x" for "--mount" flag: invalid mount config for type "bind": invalid mount path: 'a' mount path must be absolute`,
		"--mount|type=bind,src=/a,dst=/x,bind-propagation=foo|b":       `invalid argument "type=bind,src=/a,dst=/x,bind-propagation=foo" for "--mount" flag: invalid propagation mode: foo`,
		"--mount|type=bind,src=/a,dst=/x,ro,bind-recursive=readonly|b": `invalid argument "type=bind,src=/a,dst=/x,ro,bind-recursive=readonly" for "--mount" flag: option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction`,
		"--mount|type=bind,src=/a,dst=/x,bind-recursive=writable|b":    `invalid argument "type=bind,src=/a,dst=/x,bind-recursive=writable" for "--mount" flag: option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction`,
		"--tmpfs|x|b":                 `invalid mount path: 'x' mount path must be absolute`,
		"--security-opt|foo|b":        `invalid --security-opt: "foo"`,
		"-p|foo=bar|b":                `invalid field key foo`,
		"-m|9999999999999g|b":         `invalid argument "9999999999999g" for "-m, --memory" flag: invalid size: '9999999999999g': too large`,
		"--restart|foo|b":             `invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
		"--restart|always:3|b":        `invalid restart policy: maximum retry count can only be used with 'on-failure'`,
		"--gpus|all|b":                `--gpus is not supported yet by this berth`,
		"--isolation|hyperv|b":        `--isolation is not supported yet by this berth`,
		"--runtime|nvidia|b":          `--runtime nvidia is not supported yet by this berth`,
		"--device|nvidia.com/gpu=0|b": `--device nvidia.com/gpu=0 (a CDI device) is not supported yet by this berth`,
		"--network|x|--ip|zz|b":       `invalid IPv4 address: zz`,
		"--network|x|--ip6|1.2.3.4|b": `invalid IPv6 address: 1.2.3.4`,
		"--network|x|--link||b":       `invalid argument "" for "--link" flag: empty string specified for links`,
		"--network|name=|b":           `invalid argument "name=" for "--network" flag: network name/id is not specified`,
		"--network|name=x,ip|b":       `invalid argument "name=x,ip" for "--network" flag: invalid key/value pair format in ip`,
		"--network|container:|b":      `invalid container format container:<name|id>`,
	} {
		if _, err := build(strings.Split(line, "|")); err == nil || err.Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", line, err, want)
		}
	}
}

// TestHarmless accepts options that ask for nothing berth lacks.
func TestHarmless(t *testing.T) {
	line := "--isolation|default|--volume-driver|local|--kernel-memory|0|--cpu-count|0|" +
		"--disable-content-trust=false|--use-api-socket=false|--runtime|runc|b"
	if _, err := build(strings.Split(line, "|")); err != nil {
		t.Error(err)
	}
}

func TestSystemPaths(t *testing.T) {
	r, err := build([]string{"--security-opt", "systempaths=unconfined", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if hc := r.HostConfig; hc.MaskedPaths == nil || hc.ReadonlyPaths == nil || len(hc.MaskedPaths)+len(hc.ReadonlyPaths)+len(hc.SecurityOpt) != 0 {
		t.Errorf("masked %v, read-only %v, options %v: want two empty lists and no option", hc.MaskedPaths, hc.ReadonlyPaths, hc.SecurityOpt)
	}
}

func TestPublishedOnOneAddress(t *testing.T) {
	for line, want := range map[string]int{
		"-p|8080:8080|b":                          0,
		"-p|0.0.0.0:8080:8080|b":                  0,
		"-p|127.0.0.1:8080:8080|b":                1,
		"-p|127.0.0.1:80:80|-p|[::1]:443:443|b":   2,
		"--network|none|-p|127.0.0.1:8080:8080|b": 0,
	} {
		r, err := build(strings.Split(line, "|"))
		if err != nil || len(r.Warnings) != want {
			t.Errorf("%s: %v, warnings %q, want %d", line, err, r.Warnings, want)
		}
	}
}

func TestEnvFileInHome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(path, []byte("\xff=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Environment([]string{path}, nil, callerEnv)
	if err == nil || !strings.Contains(err.Error(), "invalid utf8 bytes at line 1") {
		t.Errorf("got %v", err)
	}
}

func FuzzPairs(f *testing.F) {
	f.Add([]byte("A=1\n#x\n\xef\xbb\xbfB\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pairs, err := parsePairs(data, nil)
		if err == nil && slices.ContainsFunc(pairs, func(p string) bool { return p == "" || p[0] == '=' }) {
			t.Errorf("a pair without a name: %q", pairs)
		}
	})
}

func FuzzCommandLine(f *testing.F) {
	for _, l := range commandLines() {
		f.Add(l)
	}
	f.Fuzz(func(t *testing.T, line string) {
		// It must not panic, and must not read files on the way.
		if strings.Contains(line, "file") || strings.Contains(line, "seccomp") {
			return
		}
		build(append(strings.Split(line, "|"), "b"))
	})
}

func TestTime(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for in, want := range map[string]string{
		"42m":                       "2026-03-04T04:24:07Z",
		"1h30m":                     "2026-03-04T03:36:07Z",
		"2013-01-02T13:23:37Z":      "2013-01-02T13:23:37Z",
		"2013-01-02T13:23:37.5Z":    "2013-01-02T13:23:37.5Z",
		"2013-01-02T13:23:37+02:00": "2013-01-02T11:23:37Z",
		"2013-01-02T13:23:37":       "2013-01-02T13:23:37Z",
		"2013-01-02T13:23":          "2013-01-02T13:23:00Z",
		"2013-01-02":                "2013-01-02T00:00:00Z",
		"1136073600":                "2006-01-01T00:00:00Z",
		"1136073600.25":             "2006-01-01T00:00:00.25Z",
	} {
		got, err := Time(in, now)
		if err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("Time(%q) = %v, %v; want %s", in, got, err, want)
		}
	}
	if got, err := Time("", now); err != nil || !got.IsZero() {
		t.Errorf("an empty time is %v, %v", got, err)
	}
	for _, bad := range []string{"yesterday", "1.x", "12:30", "1.1234567890"} {
		if _, err := Time(bad, now); err == nil {
			t.Errorf("Time(%q) has no error", bad)
		}
	}
}

func TestFilters(t *testing.T) {
	var f Filters
	for _, s := range []string{"label=a=b", "Label = c", "status=exited", ""} {
		if err := f.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(f["label"], []string{"a=b", "c"}) || !slices.Equal(f["status"], []string{"exited"}) {
		t.Errorf("got %v", f)
	}
	if err := f.Set("x"); err == nil || err.Error() != "invalid filter 'x'" {
		t.Errorf("got %v", err)
	}
}
