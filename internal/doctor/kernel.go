package doctor

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/internal/host"
)

// call is a system call that berth makes, with arguments that it refuses
// wherever it exists.
type call struct {
	name         string
	number       uintptr
	args         [5]uintptr
	major, minor int  // the kernel that brought it
	privileged   bool // answers EPERM to an ordinary account in any case
}

func calls() []call {
	const bad = ^uintptr(0) // no descriptor, or flags that nobody knows
	return []call{
		{"openat2", unix.SYS_OPENAT2, [5]uintptr{bad, 0, 0, 0}, 5, 6, false},
		{"pidfd_open", unix.SYS_PIDFD_OPEN, [5]uintptr{bad, 0}, 5, 3, false},
		{"close_range", unix.SYS_CLOSE_RANGE, [5]uintptr{1, 0, 0}, 5, 9, false},
		{"fsopen", unix.SYS_FSOPEN, [5]uintptr{0, bad}, 5, 2, true},
		{"open_tree", unix.SYS_OPEN_TREE, [5]uintptr{bad, 0, bad}, 5, 2, false},
		{"move_mount", unix.SYS_MOVE_MOUNT, [5]uintptr{bad, 0, bad, 0, bad}, 5, 2, true},
		{"mount_setattr", unix.SYS_MOUNT_SETATTR, [5]uintptr{bad, 0, bad, 0, 0}, 5, 12, false},
		{"seccomp", unix.SYS_SECCOMP, [5]uintptr{bad, 0, 0}, 3, 17, false},
		{"memfd_create", unix.SYS_MEMFD_CREATE, [5]uintptr{0, bad}, 3, 17, false},
	}
}

// kernel tries the calls: a filter around us can hide what the version promises.
func (p *patient) kernel() []Finding {
	return judgeCalls(p.host, func(c call) syscall.Errno {
		_, _, errno := unix.Syscall6(c.number, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], 0)
		return errno
	})
}

func judgeCalls(h host.Host, answer func(call) syscall.Errno) []Finding {
	var old, hidden []string
	for _, c := range calls() {
		errno := answer(c)
		missing := errno == unix.ENOSYS || errno == unix.EPERM && !c.privileged
		switch {
		case !missing:
		case h.KernelAtLeast(c.major, c.minor):
			hidden = append(hidden, c.name)
		default:
			old = append(old, fmt.Sprintf("%s (Linux %d.%d)", c.name, c.major, c.minor))
		}
	}
	version := "Linux " + h.KernelVersion()
	switch {
	case len(old) > 0:
		return []Finding{failure(version+" has no "+and(old), "what needs it fails or works in another way", "a newer kernel: Linux 5.12 has all, 6.5 more layers in an image")}
	case len(hidden) > 0:
		return []Finding{failure(version+" has "+and(hidden)+", and a seccomp filter around berth forbids it",
			"containers cannot be started", "start the surrounding container with --privileged or --security-opt seccomp=unconfined")}
	case !h.KernelAtLeast(5, 12):
		return []Finding{warning(version+" is older than what berth is made for", "parts that were brought back to it may do", "Linux 5.12 or newer")}
	}
	f := fine("%s has every call that berth makes", version)
	if !h.Seccomp() {
		return []Finding{f, warning("this kernel filters no system calls (CONFIG_SECCOMP_FILTER)", "one wall around containers is missing, and one id cannot play root", "a kernel with it: every distribution's has it")}
	}
	return []Finding{f}
}

// stillWorks is what an account can do without user namespaces.
const stillWorks = "no container can be run, entered, copied from or committed; pull, push, load, save, import, images, tag, history, search, login and manifest work"

// namespaces says whether containers can be made at all.
func (p *patient) namespaces() []Finding {
	if p.host.Rootless {
		return []Finding{p.judgeAccount(p.own, Failure)}
	}
	out := []Finding{judgeRoot(p.own)}
	return append(out, p.judgeAccount(p.other, Warning))
}

// judgeRoot is about root's own containers, which need no user namespace.
func judgeRoot(t trial) Finding {
	const fix = "start the container around this one with --privileged, or run berth in it as an ordinary account: setpriv --reuid 1000 --regid 1000 --clear-groups"
	switch {
	case t.Broken != "":
		return failure(t.Broken, "nothing can be said about namespaces", "")
	case t.Kind != "":
		return failure(fmt.Sprintf("root may not make a %s namespace (%v)", t.Kind, t.Refused), "root's containers cannot be started", fix)
	case t.Refused != 0:
		return failure(fmt.Sprintf("root may not make namespaces (%v)", t.Refused), "root's containers cannot be started", fix)
	case t.crippled() != 0:
		return failure(fmt.Sprintf("root may make namespaces, and nothing in them (%v)", t.crippled()), "root's containers cannot be started", fix)
	}
	return fine("root makes namespaces and mounts in them")
}

// lock is what keeps ordinary accounts out, if anything does.
func (p *patient) lock() host.Lock {
	t := p.other
	if p.host.Rootless {
		t = p.own
	}
	switch {
	case t.Broken != "" || t.Kind != "":
		return host.Lock{}
	case t.Refused != 0:
		return host.FindLock(p.root, p.exe, t.Refused)
	case t.crippled() != 0:
		return host.FindLock(p.root, p.exe, t.crippled())
	}
	return host.Lock{}
}

// judgeAccount is about containers of ordinary accounts; severity is that of
// their being impossible.
func (p *patient) judgeAccount(t trial, severity Status) Finding {
	whose := "this account"
	if !p.host.Rootless {
		whose = "an ordinary account"
	}
	bad := func(what, fix string) Finding {
		return Finding{Status: severity, What: what, Means: "for " + whose + " " + stillWorks + p.allowed(), Fix: fix}
	}
	l := p.lock()
	switch {
	case t.Broken != "":
		return Finding{Status: severity, What: t.Broken, Means: "nothing can be said about user namespaces of " + whose}
	case t.Kind != "":
		return bad(fmt.Sprintf("a user namespace is given, a %s namespace in it is not (%v)", t.Kind, t.Refused),
			p.persist("user.max_"+kindSetting(t.Kind)+"_namespaces=15000"))
	case t.Refused == 0 && t.crippled() == 0:
		return fine("%s makes user namespaces and mounts in them", whose)
	case l.Name == host.NotALock:
		return bad(fmt.Sprintf("user namespaces are refused (%v)", t.Refused), "ask the administrator of the machine")
	}
	fix, f := l.Fix, Finding{}
	if l.Setting != "" {
		fix = p.persist(l.Setting)
	}
	f = bad(l.Why, fix)
	if p.host.Rootless || p.root != "/" {
		return f
	}
	return p.fixLock(f, l)
}

// kindSetting is the kernel's word for a kind in its settings.
func kindSetting(kind string) string {
	if kind == "mount" {
		return "mnt"
	}
	return kind
}

// sysctlFile is where settings of berth's outlive a reboot.
const sysctlFile = "/etc/sysctl.d/60-berth.conf"

// persist is the command that makes a setting now and at every start.
func (p *patient) persist(setting string) string {
	return fmt.Sprintf("echo %s | sudo tee %s && sudo sysctl -p %s", setting, sysctlFile, sysctlFile)
}

// allowed names other tools that an administrator may have let through.
func (p *patient) allowed() string {
	var there []string
	for _, name := range []string{"podman", "apptainer", "singularity", "enroot", "docker"} {
		if p.find(name) != "" {
			there = append(there, name)
		}
	}
	if len(there) == 0 {
		return ""
	}
	return " (also installed here, and perhaps allowed more: " + strings.Join(there, ", ") + ")"
}

// surroundings is about what a container around us takes from ours.
func (p *patient) surroundings() []Finding {
	t := p.own
	if t.Refused != 0 || t.Broken != "" || t.crippled() != 0 {
		return nil
	}
	var out []Finding
	const fix = "start the surrounding container with --privileged or --security-opt unmask=ALL (podman), --security-opt systempaths=unconfined (docker)"
	if t.Steps[stepProc] != 0 {
		out = append(out, warning(fmt.Sprintf("a /proc of its own is refused to a container (%v), because parts of the one around it are hidden", t.Steps[stepProc]),
			"containers get the surrounding /proc and see the processes there", fix))
	}
	if t.Steps[stepSysfs] != 0 {
		out = append(out, warning(fmt.Sprintf("a /sys of its own is refused to a container (%v)", t.Steps[stepSysfs]),
			"containers get the surrounding /sys, and see its network devices", fix))
	}
	if t.Steps[stepHostname] != 0 {
		out = append(out, warning(fmt.Sprintf("a filter forbids sethostname(2) (%v)", t.Steps[stepHostname]), "containers have the host name that is around them",
			"start the surrounding container with --privileged or --security-opt seccomp=unconfined"))
	}
	if no := t.refused(stepDevpts, stepMqueue); len(no) > 0 {
		out = append(out, failure(fmt.Sprintf("the kernel gives no %s (%v)", and(no), t.Steps[no[0]]), "containers cannot be started", "a kernel with "+strings.ToUpper(and(no))))
	}
	return out
}
