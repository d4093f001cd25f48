package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

// etc is a root file system of small files.
type etc map[string]string

func (e etc) ReadFile(path string, limit int64) ([]byte, error) {
	text, ok := e[path]
	switch {
	case !ok:
		return nil, fs.ErrNotExist
	case int64(len(text)) > limit:
		return nil, fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return []byte(text), nil
}

const passwdFile = `# accounts
root:x:0:0:root:/root:/bin/bash

daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
  alice:x:1000:1001:Alice:/home/alice:/bin/sh
1234:x:0:0:a number for a name:/root:/bin/sh
4294967296:x:0:0:and a larger one:/root:/bin/sh
evil:x:four:4:not a number:/:/bin/sh
wrap:x:4294967296:0:wraps round to root:/:/bin/sh
minus:x:-1:0:below root:/:/bin/sh
short:x:77:78
bob:x:1002:1002
:x:5:5::/:
bob:x:0:0:a second bob:/root:/bin/sh
`

const groupFile = `root:x:0:
bin:x:1:root,daemon
video:x:44:alice
audio:x:29:bob,alice
staff:x:50:malice,alicex
huge:x:4294967296:alice
users:x:100
# comment:x:9:alice
`

func TestLookup(t *testing.T) {
	files := etc{"/etc/passwd": passwdFile, "/etc/group": groupFile}
	tests := []struct {
		spec   string
		want   string // uid gid groups home
		err    string
		noFile bool
	}{
		{spec: "", want: "0 0 [1] /root"},
		{spec: "", want: "0 0 [] ", noFile: true},
		{spec: "root", want: "0 0 [1] /root"},
		{spec: "0", want: "0 0 [1] /root"},
		{spec: "alice", want: "1000 1001 [44 29] /home/alice"},
		{spec: "1000", want: "1000 1001 [44 29] /home/alice"},
		{spec: "01000", want: "1000 1001 [44 29] /home/alice"},
		{spec: "alice:", want: "1000 1001 [44 29] /home/alice"},
		{spec: "alice:video", want: "1000 44 [] /home/alice"},
		{spec: "alice:44", want: "1000 44 [] /home/alice"},
		{spec: "alice:4711", want: "1000 4711 [] /home/alice"},
		{spec: ":video", want: "0 44 [] /root"},
		{spec: "5000", want: "5000 0 [] "},
		{spec: "5000:6000", want: "5000 6000 [] "},
		{spec: "5000:6000", want: "5000 6000 [] ", noFile: true},
		{spec: "bob", want: "1002 1002 [29] "},
		{spec: "short", want: "77 78 [] "},
		{spec: "2147483647:2147483647", want: "2147483647 2147483647 [] "},

		// Numbers are numbers, whatever the image calls them.
		{spec: "1234", want: "1234 0 [] "},
		{spec: "4294967296", err: "uids and gids must be in range 0-2147483647"},
		{spec: "4294967295", err: "uids and gids must be in range 0-2147483647"},
		{spec: "2147483648", err: "uids and gids must be in range 0-2147483647"},
		{spec: "99999999999999999999999", err: "uids and gids must be in range 0-2147483647"},
		{spec: "-1", err: "uids and gids must be in range 0-2147483647"},
		{spec: "0:4294967296", err: "uids and gids must be in range 0-2147483647"},

		// Damaged lines belong to nobody.
		{spec: "evil", err: "unable to find user evil: no matching entries in passwd file"},
		{spec: "wrap", err: "unable to find user wrap: no matching entries in passwd file"},
		{spec: "minus", err: "unable to find user minus: no matching entries in passwd file"},
		{spec: "0:huge", err: "unable to find group huge: no matching entries in group file"},
		{spec: "alice", noFile: true, err: "unable to find user alice: no matching entries in passwd file"},
		{spec: "0:video", noFile: true, err: "unable to find group video: no matching entries in group file"},
		{spec: "# accounts", err: "unable to find user # accounts"},
		{spec: "0x10", err: "unable to find user 0x10"},
		{spec: "1e3", err: "unable to find user 1e3"},
	}
	for _, tt := range tests {
		a := accounts{files: files}
		if tt.noFile {
			a.files = nil
		}
		id, err := a.lookup(tt.spec, true)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: got %v, want error %q", tt.spec, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.spec, err)
			continue
		}
		if got := fmt.Sprint(id.uid, " ", id.gid, " ", id.groups, " ", id.home); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.spec, got, tt.want)
		}
	}
}

// TestLookupUnreadable: who asks for a number needs no file, who asks for a
// name hears why the file could not be read.
func TestLookupUnreadable(t *testing.T) {
	a := accounts{files: etc{"/etc/passwd": strings.Repeat("x", maxAccountFile+1), "/etc/group": strings.Repeat("x", maxAccountFile+1)}}
	if id, err := a.lookup("7:8", true); err != nil || id.uid != 7 || id.gid != 8 {
		t.Errorf("numbers: %+v, %v", id, err)
	}
	for _, spec := range []string{"alice", "0:video"} {
		if _, err := a.lookup(spec, true); err == nil || !strings.Contains(err.Error(), "is longer than") {
			t.Errorf("%s: got %v", spec, err)
		}
	}
}

func TestReadsEachFileOnce(t *testing.T) {
	count := make(counting)
	in := root()
	in.Config.User = "alice:video"
	in.HostConfig.GroupAdd = []string{"audio", "bin"}
	in.Users = count
	if _, _, err := Build(in); err != nil {
		t.Fatal(err)
	}
	if count["/etc/passwd"] != 1 || count["/etc/group"] != 1 {
		t.Errorf("read %v", count)
	}
	// An ordinary account's container needs no groups.
	count = make(counting)
	in = rootless()
	in.Users = count
	if _, _, err := Build(in); err != nil {
		t.Fatal(err)
	}
	if count["/etc/group"] != 0 {
		t.Errorf("read %v", count)
	}
}

type counting map[string]int

func (c counting) ReadFile(path string, limit int64) ([]byte, error) {
	c[path]++
	return etc{"/etc/passwd": passwdFile, "/etc/group": groupFile}.ReadFile(path, limit)
}

func TestTooManyGroups(t *testing.T) {
	var b strings.Builder
	for i := range maxGroups {
		fmt.Fprintf(&b, "g%d:x:%d:alice\n", i, i)
	}
	in := root()
	in.Config.User = "alice"
	in.Users = etc{"/etc/passwd": passwdFile, "/etc/group": b.String()}
	if _, _, err := Build(in); err == nil || !strings.Contains(err.Error(), "is in more than 65536 groups") {
		t.Errorf("got %v", err)
	}
}

func FuzzLookup(f *testing.F) {
	f.Add("alice", passwdFile, groupFile)
	f.Add("0:video", passwdFile, groupFile)
	f.Add("4294967296:1", "4294967296:x:0:0::/:\n", "1:x:0:")
	f.Fuzz(func(t *testing.T, spec, passwd, group string) {
		a := accounts{files: etc{"/etc/passwd": passwd, "/etc/group": group}}
		id, err := a.lookup(spec, true)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a missing file is no answer: %v", err)
			}
			return
		}
		user, _, _ := strings.Cut(spec, ":")
		// No one becomes root unless they, or the account file, said so
		// in so many words.
		if id.uid == 0 && user != "" && strings.Trim(user, "+-0") != "" {
			named := func(line string) bool {
				fs := strings.Split(strings.TrimSpace(line), ":")
				return fs[0] == user && len(fs) > 2 && strings.Trim(fs[2], "+-0") == ""
			}
			if !slices.ContainsFunc(strings.Split(passwd, "\n"), named) {
				t.Errorf("%q became root", spec)
			}
		}
		if id.uid > 1<<31-1 || id.gid > 1<<31-1 {
			t.Errorf("%q: id out of range: %+v", spec, id)
		}
	})
}
