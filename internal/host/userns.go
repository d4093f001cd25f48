package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ExplainUserns says why a user namespace was refused, in one line with the
// remedy: err is what clone(2) answered, or what the first mount in the new
// namespace did. It returns nil for nil, and what it cannot explain unchanged
// but for the object.
func ExplainUserns(err error) error {
	if err == nil {
		return nil
	}
	exe, e := os.Executable()
	if e != nil {
		exe = "berth"
	}
	return usernsError(err, explainUserns("/", exe, err))
}

func usernsError(err error, why string) error {
	if why == "" {
		return fmt.Errorf("cannot make a user namespace: %w", err)
	}
	return fmt.Errorf("cannot make a user namespace (%w): %s", err, why)
}

// explainUserns looks for the lock that is on, in the file system below root.
func explainUserns(root, exe string, err error) string {
	read := func(path string) string {
		b, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	has := func(path string) bool {
		_, err := os.Lstat(filepath.Join(root, path))
		return err == nil
	}
	switch {
	case !has("proc/self/ns/user"):
		return "this kernel is built without user namespaces; berth needs another one, or root"
	case read("proc/sys/user/max_user_namespaces") == "0":
		return "user.max_user_namespaces is 0 on this machine; an administrator allows them with: sudo sysctl -w user.max_user_namespaces=15000"
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS):
		return "too many are in use, or they are nested too deeply; raise the limit with: sudo sysctl -w user.max_user_namespaces=63000"
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES):
		return ""
	case read("proc/sys/kernel/unprivileged_userns_clone") == "0":
		return "kernel.unprivileged_userns_clone is 0 on this machine; an administrator allows them with: sudo sysctl -w kernel.unprivileged_userns_clone=1"
	case read("proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor restricts them on this machine; an administrator allows berth to make them with: " + apparmorRemedy(exe)
	case has(".dockerenv") || has("run/.containerenv") || read("run/systemd/container") != "":
		return "the container around this one forbids them; start it with --privileged, or with --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
	}
	return "a security policy of this machine (seccomp, SELinux or a chroot) forbids them; ask its administrator to allow user namespaces"
}

// apparmorRemedy is the command that installs a profile for berth. The profile
// names the program by its path, and one that every account may replace would
// give the permission to all: it has to lie in a folder of root's.
func apparmorRemedy(exe string) string {
	install := ""
	if !strings.HasPrefix(exe, "/usr/") && !strings.HasPrefix(exe, "/opt/") {
		install = fmt.Sprintf("sudo install %s /usr/local/bin/berth && ", shellQuote(exe))
		exe = "/usr/local/bin/berth"
	}
	return install + fmt.Sprintf(
		`printf 'abi <abi/4.0>,\ninclude <tunables/global>\nprofile berth %s flags=(unconfined) {\n  userns,\n}\n' | sudo tee /etc/apparmor.d/berth && sudo apparmor_parser -r /etc/apparmor.d/berth`, exe)
}

// shellQuote makes a word of a path for a POSIX shell.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
