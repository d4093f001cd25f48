package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Lock is what keeps an account from a user namespace of its own. Machines have
// four of them that an administrator turns, and a few that lie elsewhere.
type Lock struct {
	Name LockName
	Why  string // what is, in one clause
	Fix  string // a command for whoever may, or advice; one line
	// Setting is the sysctl(8) line that opens it, where there is one.
	Setting string
}

// LockName tells locks apart.
type LockName string

// The locks. NotALock is an error of another kind.
const (
	NotALock      LockName = ""
	LockKernel    LockName = "kernel"                    // built without user namespaces
	LockMax       LockName = "max_user_namespaces"       // sysctl, 0
	LockUsedUp    LockName = "used-up"                   // the same sysctl, reached
	LockClone     LockName = "unprivileged_userns_clone" // sysctl of Debian's and Arch's hardened kernels
	LockAppArmor  LockName = "apparmor"                  // Ubuntu since 23.10
	LockContainer LockName = "container"                 // the seccomp filter of a container around us
	LockSeccomp   LockName = "seccomp"                   // a filter from somewhere else
	LockChroot    LockName = "chroot"                    // the kernel makes none for a process in a chroot(2)
	LockPolicy    LockName = "policy"                    // something we do not know
)

// ExplainUserns says why a user namespace was refused, in one line with the
// remedy: err is what clone(2) answered, or what the first mount in the new
// namespace did. It returns nil for nil, and what it cannot explain unchanged
// but for the object.
func ExplainUserns(err error) error {
	if err == nil {
		return nil
	}
	if os.Geteuid() == 0 {
		return rootError(err)
	}
	return usernsError(err, FindLock("/", Executable(), err))
}

// rootError is for root, who needs no user namespace but the right to make the
// others: in a container of another engine it mostly has none (CAP_SYS_ADMIN).
func rootError(err error) error {
	return fmt.Errorf("cannot make the namespaces of a container (%w): root has not the right here (CAP_SYS_ADMIN); start the container around this one with --privileged, "+
		"or run berth in it as an ordinary account, as with: setpriv --reuid 1000 --regid 1000 --clear-groups berth ... ('berth doctor' tells more)", err)
}

// Executable is the path of the running program, links followed, for commands
// that people paste.
func Executable() string {
	exe, err := os.Executable()
	if err != nil {
		return "berth"
	}
	return exe
}

func usernsError(err error, l Lock) error {
	if l.Name == NotALock {
		return fmt.Errorf("cannot make a user namespace: %w", err)
	}
	return fmt.Errorf("cannot make a user namespace (%w): %s; %s ('berth doctor' tells more)", err, l.Why, l.Fix)
}

// FindLock looks for the lock that is on, in the file system below root, after
// err was what making a user namespace, or mounting in it, has answered. Exe is
// the program that is to be let through.
func FindLock(root, exe string, err error) Lock {
	see := view(root)
	switch {
	case !see.has("proc/self/ns/user"):
		return Lock{Name: LockKernel, Why: "this kernel is built without user namespaces", Fix: "berth needs another one, or root"}
	case see.read("proc/sys/user/max_user_namespaces") == "0":
		return setting(LockMax, "user.max_user_namespaces is 0 on this machine", "user.max_user_namespaces=15000")
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS):
		return setting(LockUsedUp, "too many are in use, or they are nested too deeply", "user.max_user_namespaces=63000")
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES):
		return Lock{}
	}
	if l := StandingLock(root, exe); l.Name != NotALock {
		return l
	}
	switch {
	case see.inContainer():
		return Lock{Name: LockContainer, Why: "the container around this one forbids them",
			Fix: "start it with --privileged, or with --security-opt seccomp=unconfined --security-opt apparmor=unconfined"}
	case see.chrooted():
		return Lock{Name: LockChroot, Why: "this is a chroot, in which the kernel makes none",
			Fix: "run berth outside of it, or have the folder entered by pivot_root(2), as 'unshare --root' or a container engine does"}
	case see.filtered():
		return Lock{Name: LockSeccomp, Why: "a seccomp filter that this process has inherited forbids them",
			Fix: "run berth outside of the program that has set it (a service's SystemCallFilter= or RestrictNamespaces=, a sandbox, a job)"}
	}
	return Lock{Name: LockPolicy, Why: "a security policy of this machine (SELinux, another security module) forbids them",
		Fix: "ask its administrator to allow user namespaces"}
}

func setting(name LockName, why, line string) Lock {
	return Lock{Name: name, Why: why, Fix: "an administrator allows them with: sudo sysctl -w " + line, Setting: line}
}

// StandingLock is the lock that a setting of the machine below root holds closed
// for ordinary accounts, as far as settings tell without trying.
func StandingLock(root, exe string) Lock {
	see := view(root)
	switch {
	case see.read("proc/sys/user/max_user_namespaces") == "0":
		return FindLock(root, exe, unix.ENOSPC)
	case see.read("proc/sys/kernel/unprivileged_userns_clone") == "0":
		return setting(LockClone, "kernel.unprivileged_userns_clone is 0 on this machine", "kernel.unprivileged_userns_clone=1")
	case see.read("proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" && !see.unconfinedByName():
		return Lock{Name: LockAppArmor, Why: "AppArmor restricts them on this machine",
			Fix: "an administrator allows berth to make them with: " + apparmorRemedy(exe)}
	}
	return Lock{}
}

// InContainer reports whether this process lives in a container of another
// engine's, as far as engines mark it.
func InContainer() bool { return view("/").inContainer() }

// view looks at files below a folder that stands for /.
type view string

func (v view) read(path string) string {
	b, err := os.ReadFile(filepath.Join(string(v), path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (v view) has(path string) bool {
	_, err := os.Lstat(filepath.Join(string(v), path))
	return err == nil
}

func (v view) inContainer() bool {
	return v.has(".dockerenv") || v.has("run/.containerenv") || v.read("run/systemd/container") != "" ||
		v.has("var/run/secrets/kubernetes.io/serviceaccount")
}

// chrooted: the root of a mount namespace is a mount, that of a chroot(2) mostly
// is a folder of one.
func (v view) chrooted() bool {
	table := v.read("proc/self/mountinfo")
	if table == "" {
		return false
	}
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/" {
			return false
		}
	}
	return true
}

// filtered reports whether a seccomp filter is on this process.
func (v view) filtered() bool {
	_, rest, _ := strings.Cut(v.read("proc/self/status"), "\nSeccomp:")
	mode, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(mode) == "2"
}

// unconfinedByName reports whether this process runs under an AppArmor profile of
// its own that confines nothing, as the one that lets berth through does.
func (v view) unconfinedByName() bool {
	now := v.read("proc/self/attr/current")
	return strings.HasSuffix(now, " (unconfined)")
}

// AppArmorProfile is the profile that lets the program at exe make user
// namespaces, and may be the file /etc/apparmor.d/berth.
func AppArmorProfile(exe string) string {
	return "abi <abi/4.0>,\ninclude <tunables/global>\nprofile berth " + profilePath(exe) + " flags=(unconfined) {\n  userns,\n}\n"
}

// profilePath writes a path as profiles have it.
func profilePath(exe string) string {
	if strings.ContainsAny(exe, " \t\"") {
		return `"` + strings.ReplaceAll(exe, `"`, `\"`) + `"`
	}
	return exe
}

// Installed reports whether a program lies in a folder of the machine's, where
// no ordinary account can replace it.
func Installed(exe string) bool {
	return strings.HasPrefix(exe, "/usr/") || strings.HasPrefix(exe, "/opt/")
}

// apparmorRemedy is the command that installs a profile for berth. The profile
// names the program by its path, and one that every account may replace would
// give the permission to all: it has to lie in a folder of root's.
func apparmorRemedy(exe string) string {
	install := ""
	if !Installed(exe) {
		install = fmt.Sprintf("sudo install %s /usr/local/bin/berth && ", shellQuote(exe))
		exe = "/usr/local/bin/berth"
	}
	text := strings.ReplaceAll(AppArmorProfile(exe), "\n", `\n`)
	return install + fmt.Sprintf(`printf '%s' | sudo tee /etc/apparmor.d/berth && sudo apparmor_parser -r /etc/apparmor.d/berth`, text)
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
