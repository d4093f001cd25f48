package logopt

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/internal/logs"
)

type config = map[string]string

// TestCheck: in the words of dockerd 28 where it has any.
func TestCheck(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "file")
	if f, err := os.OpenFile(plain, os.O_CREATE, 0o600); err != nil {
		t.Fatal(err)
	} else {
		f.Close()
	}
	for _, c := range []struct {
		driver string
		config config
		want   string // of the error; empty for none
	}{
		{"", nil, ""},
		{"json-file", config{"max-size": "10m", "max-file": "3", "compress": "true"}, ""},
		{"json-file", config{"labels": "a,b", "env": "X", "labels-regex": "^x", "env-regex": ".", "tag": "{{.Name}}"}, ""},
		{"json-file", config{"max-size": "-1"}, ""},
		{"local", config{"max-size": "1k", "max-file": "1"}, ""},
		{"none", config{"whatever": "1"}, ""},
		{"journald", config{"tag": "x", "cache-disabled": "true"}, ""},
		{"syslog", config{"syslog-facility": "local3", "syslog-format": "rfc5424micro", "syslog-address": "udp://h:1"}, ""},
		{"json-file", config{"mode": "non-blocking", "max-buffer-size": "4m"}, ""},

		{"gelf", nil, "logger: no log driver named 'gelf' is registered"},
		{"json-file", config{"foo": "1"}, "unknown log opt 'foo' for json-file log driver"},
		{"", config{"foo": "1"}, "unknown log opt 'foo' for json-file log driver"},
		{"local", config{"syslog-address": "udp://h"}, "unknown log opt 'syslog-address' for local log driver"},
		{"json-file", config{"max-size": "ten"}, "invalid size: 'ten'"},
		{"json-file", config{"max-size": "0"}, "should be a positive number"},
		{"json-file", config{"max-file": "0"}, "cannot be less than 1"},
		{"json-file", config{"max-file": "x"}, `invalid number "x"`},
		{"json-file", config{"compress": "perhaps"}, "invalid boolean"},
		{"json-file", config{"compress": "true"}, "compress cannot be true when max-file is less than 2 or max-size is not set"},
		{"json-file", config{"mode": "fast"}, "logger: logging mode not supported: fast"},
		{"json-file", config{"max-buffer-size": "1m"}, "max-buffer-size option is only supported with 'mode=non-blocking'"},
		{"json-file", config{"tag": "{{.Nmae}}"}, "cannot expand"},
		{"json-file", config{"tag": "{{.Name"}, "cannot expand"},
		{"json-file", config{"env-regex": "("}, "missing closing )"},
		{"syslog", config{"syslog-facility": "local8"}, `invalid syslog facility "local8"`},
		{"syslog", config{"syslog-facility": ""}, ""},
		{"syslog", config{"syslog-format": "x"}, `invalid syslog format "x"`},
		{"syslog", config{"syslog-address": "tcp+tls://h:1"}, "encrypted syslog is not supported"},
		{"syslog", config{"syslog-tls-ca-cert": "f"}, "encrypted syslog is not supported"},
		{"syslog", config{"syslog-address": "ftp://h"}, "unsupported scheme: 'ftp'"},
		{"syslog", config{"syslog-address": "tcp://h:99999"}, "invalid port"},
		{"syslog", config{"syslog-address": "unix://" + plain}, "is not the absolute path of a socket"},
		{"syslog", config{"syslog-address": "unix:///none"}, "no such file"},
	} {
		_, err := Check(c.driver, c.config)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s %v: %v, want %q", c.driver, c.config, err, c.want)
		}
	}
}

func TestResolve(t *testing.T) {
	s := Source{
		ID: "0123456789abcdef0123", Name: "web", ImageID: "sha256:fedcba98765432100000", Image: "busybox:1", Command: []string{"sh", "-c"},
		Labels: map[string]string{"a": "1", "b": "2", "xy": "3"}, Env: []string{"A=one", "HOME=/", "B=two=2"},
	}
	sock := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		driver string
		config config
		want   string // the options as they travel
	}{
		{"json-file", nil, `{"maxFiles":1}`},
		{"json-file", config{"max-size": "1k", "tag": "{{.Name}}-{{ .ImageID }}"},
			`{"maxSize":1024,"maxFiles":1,"container":{"tag":"web-fedcba987654","attrs":{"tag":"web-fedcba987654"}}}`},
		{"json-file", config{"labels": "a,none", "labels-regex": "^x", "env": "B"},
			`{"maxFiles":1,"container":{"attrs":{"B":"two=2","a":"1","xy":"3"}}}`},
		{"local", nil, `{"driver":"local","maxSize":20971520,"maxFiles":5,"compress":true}`},
		{"local", config{"max-file": "1"}, `{"driver":"local","maxSize":20971520,"maxFiles":1}`},
		{"none", nil, `{"driver":"none"}`},
		{"json-file", config{"mode": "non-blocking"}, `{"maxFiles":1,"buffer":1048576}`},
		{"journald", config{"cache-max-size": "1m"},
			`{"driver":"journald","maxSize":1048576,"maxFiles":5,"compress":true,"container":{"id":"0123456789abcdef0123","name":"web","image":"busybox:1","tag":"0123456789ab"}}`},
		{"syslog", config{"syslog-address": "udp://localhost", "cache-disabled": "1", "tag": "{{.FullID}}"},
			`{"driver":"syslog","maxSize":20971520,"maxFiles":5,"compress":true,"noCopy":true,"container":{"id":"0123456789abcdef0123","name":"web","image":"busybox:1","tag":"0123456789abcdef0123"},` +
				`"syslog":{"network":"udp","address":"127.0.0.1:514","facility":3}}`},
		{"syslog", config{"syslog-address": "unix://" + sock, "syslog-facility": "23", "tag": "t"},
			`{"driver":"syslog","maxSize":20971520,"maxFiles":5,"compress":true,"container":{"id":"0123456789abcdef0123","name":"web","image":"busybox:1","tag":"t"},` +
				`"syslog":{"network":"unix","address":"` + sock + `","facility":23}}`},
	} {
		o, err := Resolve(c.driver, c.config, s)
		b, jerr := json.Marshal(o)
		got := strings.Replace(string(b), "[::1]:514", "127.0.0.1:514", 1)
		if err != nil || jerr != nil || got != c.want {
			t.Errorf("%s %v: %v\ngot  %s\nwant %s", c.driver, c.config, err, got, c.want)
		}
	}
	if _, err := Resolve(logs.SyslogD, config{"syslog-address": "udp://name.invalid:1"}, s); err == nil ||
		!strings.HasPrefix(err.Error(), "failed to initialize logging driver: ") {
		t.Errorf("a server that does not exist: %v", err)
	}
}
