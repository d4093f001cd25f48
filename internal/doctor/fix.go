package doctor

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"berth/internal/host"
	"berth/internal/lsm"
	"berth/internal/state"
)

// runTime is how long a program that mends something may take.
const runTime = 20 * time.Second

// run has a program of the machine's do what a finding's Fix says.
func (p *patient) run(name string, args ...string) (string, error) {
	path := p.find(name)
	if path == "" {
		return "", fmt.Errorf("%s is not installed", name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), runTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	line := strings.Join(append([]string{name}, args...), " ")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", line, err, strings.Join(strings.Fields(string(out)), " "))
	}
	return line, nil
}

// fixLock lets root open a lock, in the way that the finding prints.
func (p *patient) fixLock(f Finding, l host.Lock) Finding {
	switch {
	case l.Name == host.LockAppArmor && host.Installed(p.exe):
		return f.by(func() (string, error) {
			const file = "/etc/apparmor.d/berth"
			if err := state.WriteFile(file, []byte(host.AppArmorProfile(p.exe)), 0o644); err != nil {
				return "", err
			}
			return "wrote " + file + " and loaded it", lsm.NewAppArmor().LoadFile(file)
		})
	case l.Setting != "":
		return f.by(func() (string, error) { return p.set(l.Setting) })
	}
	return f
}

// set makes a setting of the kernel's now, and at every start.
func (p *patient) set(setting string) (string, error) {
	key, value, ok := strings.Cut(setting, "=")
	if !ok {
		return "", errors.New("no setting")
	}
	if err := state.WriteFile(sysctlFile, []byte(setting+"\n"), 0o644); err != nil {
		return "", err
	}
	if err := writeSetting("/proc/sys/"+strings.ReplaceAll(key, ".", "/"), value); err != nil {
		return "", err
	}
	return "set " + setting + ", also in " + sysctlFile, nil
}

// letter is what to send to whoever administers the machine.
func (p *patient) letter() string {
	l := p.lock()
	if !p.host.Rootless {
		return ""
	}
	fix := ""
	switch {
	case l.Setting != "":
		fix = p.persist(l.Setting)
	case l.Name == host.LockAppArmor:
		fix = strings.TrimPrefix(l.Fix, "an administrator allows berth to make them with: ")
	case l.Name == host.LockPolicy:
		fix = "journalctl -k, or ausearch -m avc -ts recent, says which policy refuses them"
	default:
		return "" // nothing that an administrator could type
	}
	return fmt.Sprintf(letterText, p.host.Hostname(), p.host.UID, l.Why, p.host.KernelVersion(), fix, paragraph(whySafe(l.Name)))
}

const letterText = `Subject: user namespaces for containers on %s

Hello,

I (uid %d) would like to run containers on this machine with berth, a container
engine without a daemon: it runs as me, nothing of it runs as root, and nobody has
to be in a group like docker's. It needs user namespaces, in which a container's
root is my own account. At the moment they are refused:

    %s (Linux %s)

What to type, once, as root:

    %s

%sAfterwards "berth doctor" shows what else is missing, if anything.

Thank you!
`

func paragraph(s string) string {
	if s == "" {
		return ""
	}
	return s + "\n\n"
}

// whySafe is what an administrator wants to know of the fix.
func whySafe(name host.LockName) string {
	const undo = "To undo it, remove the file and set the old value again."
	switch name {
	case host.LockAppArmor:
		return "The profile confines nothing and lets this one program make user namespaces; the\nrestriction stays for all others. The program must lie where only root can\nreplace it. To undo it: apparmor_parser -R /etc/apparmor.d/berth, and remove it."
	case host.LockMax:
		return "Distributions have this limit as high without a word; 0 is what somebody has set.\n" + undo
	case host.LockUsedUp:
		return "It is a limit for each account by itself. " + undo
	case host.LockClone:
		return "It is the default of Debian since version 11 and of all other distributions'\nkernels. " + undo
	}
	return ""
}
