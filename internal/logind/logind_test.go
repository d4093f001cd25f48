package logind

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/internal/state"
)

// tree writes files below a new root.
func tree(t *testing.T, files map[string]string) string {
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestDetect(t *testing.T) {
	const (
		login = "0::/user.slice/user-1000.slice/session-3.scope\n"
		user  = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n"
		old   = "12:pids:/user.slice\n1:name=systemd:/user.slice/user-1000.slice/session-c1.scope\n0::/\n"
		other = "0::/user.slice/user-7.slice/user@7.service/app.slice\n"
	)
	kills := map[string]string{"etc/systemd/logind.conf": "[Login]\nKillUserProcesses=yes\n"}
	for _, c := range []struct {
		name    string
		files   map[string]string
		cgroups string
		want    Session
		ends    string
	}{
		{"ssh", nil, login, Session{Login: true}, ""},
		{"ssh, named by logind", map[string]string{"run/systemd/users/1000": "# private\nNAME=alice\nSTATE=active\n"}, login, Session{Name: "alice", Login: true}, ""},
		{"ssh, killed", kills, login, Session{Login: true, Kills: true}, "loginctl enable-linger 1000"},
		{"version 1, killed", kills, old, Session{Login: true, Kills: true}, "KillUserProcesses=yes"},
		{"no session", kills, "0::/system.slice/cron.service\n", Session{}, ""},
		{"desktop", map[string]string{"etc/passwd": "root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n"}, user, Session{Name: "alice", User: true}, "loginctl enable-linger alice"},
		{"desktop, lingering", map[string]string{"etc/passwd": "alice:x:1000:1000::/:/bin/sh\n", "var/lib/systemd/linger/alice": ""}, user, Session{Name: "alice", User: true, Stays: true}, ""},
		{"another's systemd", nil, other, Session{}, ""},
		{"a name that leads elsewhere", map[string]string{"run/systemd/users/1000": "NAME=../../x\n", "var/x": ""}, login, Session{Name: "../../x", Login: true}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := detect(tree(t, c.files), 1000, c.cgroups)
			c.want.UID = 1000
			if got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if e := got.Ends(); (e == "") != (c.ends == "") || !strings.Contains(e, c.ends) {
				t.Errorf("ends: %q, want %q", e, c.ends)
			}
		})
	}
}

// TestKills: the files of logind, of which a later one wins, and who is meant.
func TestKills(t *testing.T) {
	const yes, no = "[Login]\nKillUserProcesses=yes\n", "[Login]\nKillUserProcesses=no\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  bool
	}{
		{"nothing", nil, false},
		{"what was built in", map[string]string{"usr/lib/systemd/logind.conf": "[Login]\n#KillUserProcesses=yes\n"}, true},
		{"the machine's hides the package's", map[string]string{"usr/lib/systemd/logind.conf": yes, "etc/systemd/logind.conf": no}, false},
		{"a part", map[string]string{"etc/systemd/logind.conf": no, "usr/lib/systemd/logind.conf.d/50-x.conf": yes}, true},
		{"a part of the same name in /etc", map[string]string{"usr/lib/systemd/logind.conf.d/50-x.conf": yes, "etc/systemd/logind.conf.d/50-x.conf": no}, false},
		{"a part that comes later", map[string]string{"etc/systemd/logind.conf.d/10.conf": yes, "run/systemd/logind.conf.d/20.conf": no}, false},
		{"a comment in a part", map[string]string{"etc/systemd/logind.conf.d/10.conf": "#KillUserProcesses=yes\n"}, false},
		{"excepted", map[string]string{"etc/systemd/logind.conf": yes + "KillExcludeUsers=bob alice\n"}, false},
		{"excepted no more", map[string]string{"etc/systemd/logind.conf": yes + "KillExcludeUsers=alice\nKillExcludeUsers=\n"}, true},
		{"only others", map[string]string{"etc/systemd/logind.conf": yes + "KillOnlyUsers=bob\n"}, false},
		{"only her", map[string]string{"etc/systemd/logind.conf": yes + "KillOnlyUsers=bob alice\n"}, true},
	} {
		if got := kills(tree(t, c.files), "alice"); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestOnce(t *testing.T) {
	dir, err := state.Open(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range [][2]string{{"a", "a"}, {"a", ""}, {"b", "b"}, {"", ""}, {"a", ""}} {
		if got := Once(dir, c[0]); got != c[1] {
			t.Errorf("%d: %q, want %q", i, got, c[1])
		}
	}
	files, _ := filepath.Glob(dir.Path("told", "*"))
	for _, f := range files {
		os.WriteFile(f, []byte("an earlier start of the machine"), 0o600)
	}
	if got := Once(dir, "a"); got != "a" || len(files) != 2 {
		t.Errorf("after a restart: %q, %d files", got, len(files))
	}
}

func TestSlice(t *testing.T) {
	for in, want := range map[string]string{"": "", "work.slice": "work.slice", "/work": "", "a/b.slice": ""} {
		if got := slice(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
