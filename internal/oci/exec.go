package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	crt "berth/internal/runtime"
)

// execution is one more process of a container: the options of exec.
type execution struct {
	console, pidFile, process string
	cwd, user, label, profile string
	env, gids, caps, cgroups  []string
	tty, detach, noNewPrivs   bool
	ignorePaused              bool
	preserveFDs               int
	jump                      bool // by a trampoline: see protect
}

func execVerb() *verb {
	e := &execution{}
	v := &verb{name: "exec", words: "<container-id> <command> [arguments...]", min: 1, max: -1, first: true, help: "run one more program in a container"}
	o := &v.options
	o.text(&e.console, "console-socket", "PATH", "unix socket that gets the master of the program's terminal")
	o.text(&e.cwd, "cwd", "PATH", "working folder in the container")
	o.texts(&e.env, "env,e", "NAME=VALUE", "set an environment variable")
	o.toggle(&e.tty, "tty,t", "give it a terminal")
	o.text(&e.user, "user,u", "UID[:GID]", "run it as this user")
	o.texts(&e.gids, "additional-gids,g", "GID", "add a supplementary group")
	o.text(&e.process, "process,p", "FILE", "a process as in config.json, instead of a command")
	o.toggle(&e.detach, "detach,d", "do not wait for it to end")
	o.text(&e.pidFile, "pid-file", "PATH", "file to write the program's number to")
	o.text(&e.label, "process-label", "LABEL", "SELinux label")
	o.text(&e.profile, "apparmor", "PROFILE", "AppArmor profile")
	o.toggle(&e.noNewPrivs, "no-new-privs", "programs it executes give it no more rights")
	o.texts(&e.caps, "cap,c", "CAP", "give it one more capability")
	o.number(&e.preserveFDs, "preserve-fds", "N", "pass N more descriptors, from 3 on, after those of LISTEN_FDS")
	o.texts(&e.cgroups, "cgroup", "[CONTROLLERS:]PATH", "a control group inside the container's to run it in")
	o.toggle(&e.ignorePaused, "ignore-paused", "also in a container that is paused")
	v.run = func(a *app, words []string) error {
		code, err := a.exec(words[0], words[1:], e)
		if err != nil {
			return &codedError{fmt.Errorf("exec failed: %w", err), 255}
		}
		if code != 0 {
			return exitCode(code)
		}
		return nil
	}
	return v
}

func (a *app) exec(id string, args []string, e *execution) (int, error) {
	c, err := a.load(id)
	if err != nil {
		return 0, err
	}
	switch s := c.status(); {
	case s == specs.StateStopped:
		return 0, errors.New("cannot exec in a stopped container")
	case s == paused && !e.ignorePaused:
		return 0, errors.New("cannot exec in a paused container (use --ignore-paused to override)")
	}
	spec, err := c.config()
	if err != nil {
		return 0, err
	}
	p, err := e.of(spec.Process, args)
	if err != nil {
		return 0, err
	}
	e.jump = c.Exposed && canJump(spec, p, e.preserveFDs)
	if err := a.protect(c.Exposed && !e.jump); err != nil {
		return 0, err
	}
	for _, w := range knownCapabilities(p) {
		a.log.warningf("%s", w)
	}
	if err := a.checkTerminal(p.Terminal, e.detach, e.console); err != nil {
		return 0, err
	}
	signals := forwarded(e.detach)
	process, err := a.spawn(e, c, spec, p)
	if err != nil {
		return 0, err
	}
	if e.detach {
		return 0, nil
	}
	return a.follow(process.Pid, process.Console, signals)
}

// of makes the process: that of the file, or the container's own with another
// command. What the file leaves open is the container's.
func (e *execution) of(own *specs.Process, args []string) (*specs.Process, error) {
	if e.process != "" {
		return fromFile(e.process, own)
	}
	if len(args) == 0 {
		return nil, errors.New("process args cannot be empty")
	}
	p := *own
	p.Args, p.Terminal = args, e.tty
	if e.cwd != "" {
		p.Cwd = e.cwd
	}
	if e.profile != "" {
		p.ApparmorProfile = e.profile
	}
	if e.label != "" {
		p.SelinuxLabel = e.label
	}
	p.NoNewPrivileges = p.NoNewPrivileges || e.noNewPrivs
	p.Env = append(append([]string{}, own.Env...), e.env...)
	p.Capabilities = withCapabilities(own.Capabilities, e.caps)
	if err := e.identity(&p.User); err != nil {
		return nil, err
	}
	return &p, validateProcess(&p)
}

// identity sets the user and the groups that the options ask for.
func (e *execution) identity(u *specs.User) error {
	number := func(what, s string) (uint32, error) {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil || n == 1<<32-1 { // -1 means "leave as it is" to the kernel
			return 0, fmt.Errorf("parsing %s as int for %s failed: it is a number from 0 to 4294967294", s, what)
		}
		return uint32(n), nil
	}
	var err error
	if e.user != "" {
		uid, gid, both := strings.Cut(e.user, ":")
		if both {
			if u.GID, err = number("gid", gid); err != nil {
				return err
			}
		}
		if u.UID, err = number("uid", uid); err != nil {
			return err
		}
	}
	u.AdditionalGids = append([]uint32{}, u.AdditionalGids...)
	for _, g := range e.gids {
		gid, err := number("gid", g)
		if err != nil {
			return err
		}
		u.AdditionalGids = append(u.AdditionalGids, gid)
	}
	return nil
}

// withCapabilities adds capabilities to all sets in which a program can use
// them.
func withCapabilities(own *specs.LinuxCapabilities, more []string) *specs.LinuxCapabilities {
	var c specs.LinuxCapabilities
	if own != nil {
		c = *own
	}
	for _, set := range []*[]string{&c.Bounding, &c.Effective, &c.Permitted, &c.Ambient} {
		*set = append(append([]string{}, *set...), more...)
	}
	return &c
}

func fromFile(path string, own *specs.Process) (*specs.Process, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := new(specs.Process)
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if p.Capabilities == nil {
		p.Capabilities = withCapabilities(own.Capabilities, nil)
	}
	if len(p.Rlimits) == 0 {
		p.Rlimits = own.Rlimits
	}
	if p.ApparmorProfile == "" {
		p.ApparmorProfile = own.ApparmorProfile
	}
	if p.SelinuxLabel == "" {
		p.SelinuxLabel = own.SelinuxLabel
	}
	return p, validateProcess(p)
}

// spawn makes the process and tells everybody who has to know of it.
func (a *app) spawn(e *execution, c *container, spec *specs.Spec, p *specs.Process) (*crt.Process, error) {
	f, err := a.compileFilter(spec, p)
	if err != nil {
		return nil, err
	}
	keep, err := preserved(e.preserveFDs, p)
	if err != nil {
		return nil, err
	}
	dirs, err := c.subgroups(e.cgroups)
	if err == nil && c.Unit != "" {
		err = c.enterTree()
	}
	if err != nil {
		return nil, err
	}
	p.Env = withHome(p.Env, p.User.UID, func() (*os.File, error) {
		return openInside(fmt.Sprintf("/proc/%d/root", c.Init.Pid), "etc/passwd")
	})
	program, err := crt.CompileBundleExec(crt.BundleExec{
		Pid: c.Init.Pid, Spec: spec, Process: p, Namespaces: c.Namespaces, Cgroups: dirs, Filters: f.programs, FilterFlags: f.flags,
		Listener: f.listener, PreserveFDs: keep, Trampoline: e.jump,
	})
	if err != nil {
		return nil, startError(err)
	}
	process, err := program.Create(nil, crt.Events{Pause: func(crt.Stage, int) error { return nil }})
	if err != nil {
		return nil, startError(err)
	}
	if err := e.announce(c, spec, process); err != nil {
		unix.Kill(process.Pid, unix.SIGKILL)
		return nil, err
	}
	return process, nil
}

func (e *execution) announce(c *container, spec *specs.Spec, process *crt.Process) error {
	if err := joinRdt(c.Rdt, process.Pid); err != nil {
		return err
	}
	if process.Listener != nil {
		if err := sendListener(spec.Linux.Seccomp, process.Listener, process.Pid, c.ociState(c.status())); err != nil {
			return err
		}
	}
	if process.Console != nil && e.console != "" {
		if err := sendConsole(e.console, process.Console); err != nil {
			return err
		}
	}
	return writePid(e.pidFile, process.Pid)
}
