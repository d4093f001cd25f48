package logind

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"berth/internal/state"
)

// Session is what a process lives in.
type Session struct {
	UID   int
	Name  string // of the account; may be unknown
	Login bool   // a login session's own group
	User  bool   // below the account's systemd
	Kills bool   // what is left in a session is killed at its end
	Stays bool   // the account's systemd does not end with the last session
}

// Detect describes the session of the calling process. It opens a handful of
// small files, and none for root, whose containers are in no session.
func Detect() Session {
	if os.Geteuid() == 0 {
		return Session{}
	}
	b, _ := os.ReadFile("/proc/self/cgroup")
	return detect("/", os.Geteuid(), string(b))
}

func detect(root string, uid int, cgroups string) Session {
	s := Session{UID: uid}
	number := strconv.Itoa(uid)
	for line := range strings.Lines(cgroups) {
		// hierarchy number : controllers : path
		part := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(part) != 3 || part[0] != "0" && part[1] != "name=systemd" {
			continue
		}
		for elem := range strings.SplitSeq(path.Clean(part[2]), "/") {
			s.User = s.User || elem == "user@"+number+".service"
			s.Login = s.Login || strings.HasPrefix(elem, "session-") && strings.HasSuffix(elem, ".scope")
		}
	}
	// What logind knows of the account, also of one that no file lists.
	s.Name = setting(filepath.Join(root, "run/systemd/users", number), "NAME")
	if s.Name == "" {
		s.Name = accountName(root, number)
	}
	if s.Name != "" && !strings.Contains(s.Name, "/") {
		_, err := os.Stat(filepath.Join(root, "var/lib/systemd/linger", s.Name))
		s.Stays = err == nil
	}
	if s.Login {
		s.Kills = kills(root, s.Name)
	}
	return s
}

func accountName(root, uid string) string {
	b, _ := os.ReadFile(filepath.Join(root, "etc/passwd"))
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(line, ":"); len(f) > 3 && f[2] == uid {
			return f[0]
		}
	}
	return ""
}

// setting reads one line KEY=value; the last one counts.
func setting(file, key string) string {
	b, _ := os.ReadFile(file)
	found := ""
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.TrimSpace(k) == key {
			found = strings.TrimSpace(v)
		}
	}
	return found
}

// kills reports whether logind kills what an account leaves in a session
// (logind.conf(5): KillUserProcesses, KillOnlyUsers, KillExcludeUsers).
func kills(root, name string) bool {
	yes, only, exclude := false, []string(nil), []string{"root"}
	for i, file := range logindFiles(root) {
		b, _ := os.ReadFile(file)
		for line := range strings.Lines(string(b)) {
			key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			if i == 0 && ok && strings.TrimLeft(key, "# ") == "KillUserProcesses" {
				// The file as it comes shows what was built in.
				key = "KillUserProcesses"
			}
			switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
			case "KillUserProcesses":
				yes = slices.Contains([]string{"yes", "true", "on", "1"}, strings.ToLower(value))
			case "KillOnlyUsers":
				only = listed(only, value)
			case "KillExcludeUsers":
				exclude = listed(exclude, value)
			}
		}
	}
	if name == "" || !yes {
		return yes
	}
	return !slices.Contains(exclude, name) && (len(only) == 0 || slices.Contains(only, name))
}

// listed adds words to a list, which an empty value empties.
func listed(list []string, value string) []string {
	if value == "" {
		return nil
	}
	return append(list, strings.Fields(value)...)
}

// logindFiles are the files of logind's configuration, a later one over an
// earlier one: the first of the main files that is there (or none), then those
// of the folders beside it by their names, of which a folder that comes first
// hides the others'.
func logindFiles(root string) []string {
	places := []string{"etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd", "lib/systemd"}
	out := []string{""}
	parts := map[string]string{}
	for _, place := range places {
		main := filepath.Join(root, place, "logind.conf")
		if _, err := os.Stat(main); err == nil && out[0] == "" {
			out[0] = main
		}
		found, _ := filepath.Glob(filepath.Join(main+".d", "*.conf"))
		for _, f := range found {
			if parts[filepath.Base(f)] == "" {
				parts[filepath.Base(f)] = f
			}
		}
	}
	names := make([]string, 0, len(parts))
	for n := range parts {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		out = append(out, parts[n])
	}
	return out
}

// Ends says why what runs here ends when the account logs out, and the remedy;
// nothing if it does not.
func (s Session) Ends() string {
	name := s.Name
	if name == "" {
		name = strconv.Itoa(s.UID)
	}
	const remedy = "; to keep containers running: loginctl enable-linger "
	switch {
	case s.User && !s.Stays:
		return "this container ends when you log out, as systemd then ends what an account has running" + remedy + name
	case !s.User && s.Login && s.Kills:
		return "this container ends when you log out, as this machine kills what a session leaves (KillUserProcesses=yes in logind.conf)" + remedy + name
	}
	return ""
}

// Once returns text for the first caller since the machine was started, as the
// folder told in the data root has it, and nothing for others. It is for what a
// person has to hear once, not with every container.
func Once(dir *state.Dir, text string) string {
	if text == "" {
		return ""
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	sum := sha256.Sum256([]byte(text))
	file := dir.Path("told", hex.EncodeToString(sum[:8]))
	if old, err := os.ReadFile(file); err == nil && string(old) == string(boot) {
		return ""
	}
	os.Mkdir(filepath.Dir(file), 0o700)
	_ = state.WriteVolatile(file, boot, 0o600) // then it is said again
	return text
}
