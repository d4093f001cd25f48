package userns

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// account is who the lists may speak of: by number, or by any of its names.
type account struct {
	uid   int
	names []string
}

// accountOf finds the names of a uid. Those of a directory service (LDAP) are
// not in /etc/passwd; getent(1) asks for them, since a static program cannot.
func accountOf(uid int) account {
	a := account{uid: uid}
	b, _ := os.ReadFile("/etc/passwd")
	if a.names = namesIn(string(b), uid); len(a.names) == 0 {
		a.names = namesIn(output("getent", "passwd", strconv.Itoa(uid)), uid)
	}
	return a
}

func namesIn(passwd string, uid int) (names []string) {
	want := strconv.Itoa(uid)
	for line := range strings.Lines(passwd) {
		if f := strings.Split(line, ":"); len(f) >= 7 && f[0] != "" && f[2] == want {
			names = append(names, f[0])
		}
	}
	return names
}

func (a account) is(who string) bool {
	return who == strconv.Itoa(a.uid) || slices.Contains(a.names, who)
}

// key is what to write into a list.
func (a account) key() string {
	if len(a.names) > 0 {
		return a.names[0]
	}
	return strconv.Itoa(a.uid)
}

func (a account) name() string {
	if len(a.names) > 0 {
		return fmt.Sprintf("%s (uid %d)", a.names[0], a.uid)
	}
	return fmt.Sprintf("uid %d", a.uid)
}

// elsewhere asks the source that nsswitch.conf(5) names for "subid", if it is
// not the files: getsubids(1) prints "0: name first count" for each range.
func (a account) elsewhere(flag string) []Range {
	b, _ := os.ReadFile("/etc/nsswitch.conf")
	if len(a.names) == 0 || !asked(string(b)) {
		return nil
	}
	args := []string{a.names[0]}
	if flag == "-g" {
		args = []string{"-g", a.names[0]}
	}
	var list strings.Builder
	for line := range strings.Lines(output("getsubids", args...)) {
		if f := strings.Fields(line); len(f) == 4 {
			fmt.Fprintf(&list, "%s:%s:%s\n", f[1], f[2], f[3])
		}
	}
	return parse(list.String(), a.is)
}

// asked reports whether nsswitch.conf names a source of ids.
func asked(nsswitch string) bool {
	for line := range strings.Lines(nsswitch) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "subid:"); ok {
			return strings.TrimSpace(rest) != "files"
		}
	}
	return false
}

// output runs a program of the host's and returns what it prints, nothing if it
// fails.
func output(name string, args ...string) string {
	path := find(os.DirFS("/"), helperFolders(), name)
	if path == "" {
		return ""
	}
	var out bytes.Buffer
	if err := run("/"+path, args, &out, nil); err != nil {
		return ""
	}
	return out.String()
}
