package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	crt "berth/internal/runtime"
	"berth/internal/state"
	"berth/internal/sys"
)

// creation is how a container is to be made: the options of create and run.
type creation struct {
	bundle, console, pidFile string
	noPivot, noNewKeyring    bool
	preserveFDs              int

	// of run alone
	detach, keep, noSubreaper bool
}

func (o *creation) register(opt *options) {
	opt.text(&o.bundle, "bundle,b", "PATH", "folder of the bundle (default: the current one)")
	opt.text(&o.console, "console-socket", "PATH", "unix socket that gets the master of the container's terminal")
	opt.text(&o.pidFile, "pid-file", "PATH", "file to write the first process's number to")
	opt.toggle(&o.noPivot, "no-pivot", "move the root instead of pivot_root(2), for a root on a ramdisk")
	opt.toggle(&o.noNewKeyring, "no-new-keyring", "leave the container the caller's session keyring")
	opt.number(&o.preserveFDs, "preserve-fds", "N", "pass N more descriptors, from 3 on, after those of LISTEN_FDS")
}

func createVerb() *verb {
	o := &creation{detach: true}
	v := &verb{name: "create", words: "<container-id>", min: 1, max: 1, help: "make a container, for start to run"}
	o.register(&v.options)
	v.run = func(a *app, words []string) error {
		_, err := a.create(words[0], o, true)
		return a.failed("create", err)
	}
	return v
}

// failed puts the command before an error, as runc does.
func (a *app) failed(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s failed: %w", a.name, verb, err)
}

// startError is an error of the container's first process.
func startError(err error) error { return fmt.Errorf("unable to start container process: %w", err) }

// maker makes one container.
type maker struct {
	*app
	*creation
	c       *container
	raw     []byte // config.json
	spec    *specs.Spec
	filter  filter
	tx      *state.Tx
	process *crt.Process
	jump    bool           // by a trampoline: see protect
	signals chan os.Signal // those that came since the process was made, to pass on
}

// create makes a container. With wait its process stands still until start.
func (a *app) create(id string, o *creation, wait bool) (*maker, error) {
	if err := validID(id); err != nil {
		return nil, err
	}
	m := &maker{app: a, creation: o, c: &container{dir: filepath.Join(a.root, id)}}
	if err := m.load(id); err != nil {
		return nil, err
	}
	m.jump = m.c.Exposed && watched(m.spec) && canJump(m.spec, m.spec.Process, o.preserveFDs)
	if err := a.protect(m.c.Exposed && watched(m.spec) && !m.jump); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(m.c.path(recordFile)); err == nil {
		return nil, errExists
	}
	if err := m.claim(); err != nil {
		return nil, err
	}
	defer m.tx.Unlock()
	err := m.build(wait)
	if err == nil {
		return m, nil
	}
	if e := a.destroy(m.c); e != nil {
		a.log.warningf("cannot remove container %s: %v", id, e)
	}
	return nil, err
}

// load reads the bundle and checks it.
func (m *maker) load(id string) error {
	bundle, err := filepath.Abs(m.bundle)
	if err != nil {
		return err
	}
	if _, err := os.Stat(bundle); err != nil {
		return &os.PathError{Op: "chdir", Path: m.bundle, Err: errors.Unwrap(err)}
	}
	m.raw, err = os.ReadFile(filepath.Join(bundle, configFile))
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("JSON specification file config.json not found")
	} else if err != nil {
		return err
	}
	if m.spec, err = parseSpec(m.raw); err != nil {
		return fmt.Errorf("cannot read config.json: %w", err)
	}
	warnings, err := validate(m.spec, os.Geteuid())
	if err != nil {
		return err
	}
	for _, w := range warnings {
		m.log.warningf("%s", w)
	}
	rootfs := m.spec.Root.Path
	if !filepath.IsAbs(rootfs) {
		rootfs = filepath.Join(bundle, rootfs)
	}
	if fi, err := os.Stat(rootfs); err != nil {
		return fmt.Errorf("invalid rootfs: %w", err)
	} else if !fi.IsDir() {
		return fmt.Errorf("invalid rootfs: %s is not a directory", rootfs)
	}
	m.c.record = record{
		V: recordVersion, ID: id, Bundle: bundle, Rootfs: rootfs, Created: time.Now().UTC(), UID: os.Getuid(),
		Maker: state.Self(), Annotations: m.spec.Annotations, Exposed: exposed(m.spec),
	}
	return m.checkTerminal(m.spec.Process.Terminal, m.detach, m.console)
}

// checkTerminal sees to it that somebody takes the terminal.
func (a *app) checkTerminal(terminal, detach bool, console string) error {
	switch {
	case terminal && detach && console == "":
		return fmt.Errorf("cannot allocate tty if %s will detach without setting console socket", a.name)
	case console != "" && (!terminal || !detach):
		return fmt.Errorf("cannot use console socket if %s will not detach or allocate tty", a.name)
	}
	return nil
}

// claim makes the container's folder, whole and by one rename, which is what
// decides between two who want the same name.
func (m *maker) claim() error {
	if err := m.makeRoot(); err != nil {
		return err
	}
	dir := m.c.dir
	half := filepath.Join(m.root, newPrefix+m.c.Maker.String()+"-"+m.c.ID)
	if err := os.Mkdir(half, 0o700); err != nil {
		return err
	}
	m.c.dir = half
	err := m.fill()
	m.c.dir = dir
	if err == nil {
		// An empty folder in its place would be replaced: it is nobody's.
		if err = os.Rename(half, dir); errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
			err = errExists
		}
	}
	if err != nil {
		m.tx.Unlock()
		return errors.Join(err, sys.RemoveAll(half))
	}
	return nil
}

// fill writes what the folder holds from the first moment.
func (m *maker) fill() (err error) {
	if m.tx, err = state.Lock(m.c.path(lockFile)); err != nil {
		return err
	}
	if err := state.WriteVolatile(m.c.path(configFile), m.raw, 0o600); err != nil {
		return err
	}
	return m.c.save()
}

// build makes all but the folder.
func (m *maker) build(wait bool) (err error) {
	release, err := m.prepareGroup(m.c, m.spec)
	if err != nil {
		return err
	}
	defer release()
	if m.c.Rdt, err = makeRdt(m.c.ID, m.spec); err != nil {
		return err
	}
	if m.filter, err = m.compileFilter(m.spec, m.spec.Process); err != nil {
		return err
	}
	// Without a group nobody would find a process that runs before it is in
	// the record: it waits, then.
	wait = wait || m.c.Group == nil || len(m.c.Group.Dirs) == 0
	program, err := m.compile(wait)
	if err != nil {
		return startError(err)
	}
	m.c.Namespaces, m.c.Rest = program.Namespaces, program.Rest
	if err := m.c.save(); err != nil {
		return err
	}
	var listen *os.File
	if wait {
		if listen, err = m.c.listen(); err != nil {
			return err
		}
		defer listen.Close()
	}
	m.signals = forwarded(m.detach)
	if m.process, err = program.Create(listen, crt.Events{Pause: m.pause}); err != nil {
		return startError(err)
	}
	return m.finish()
}

// compile makes the program of the first process.
func (m *maker) compile(wait bool) (*crt.Compiled, error) {
	p := *m.spec.Process
	spec := *m.spec
	spec.Process = &p
	p.Env = withHome(p.Env, p.User.UID, m.passwd)
	keep, err := preserved(m.preserveFDs, &p)
	if err != nil {
		return nil, err
	}
	b := crt.Bundle{
		Spec: &spec, Path: m.c.Bundle, Filters: m.filter.programs, FilterFlags: m.filter.flags, Listener: m.filter.listener,
		Wait: wait, Hooks: m.hears(), PreserveFDs: keep, NoPivot: m.noPivot, NoNewKeyring: m.noNewKeyring,
		UIDGIDMapsByParent: mapsByParent(&spec), Trampoline: m.jump,
	}
	if m.c.Group != nil {
		b.Cgroups = m.c.Group.Dirs
	}
	return crt.CompileBundle(b)
}

// hears tells whether something is to be done while the process stands still,
// and notes whether some of it comes at start.
func (m *maker) hears() bool {
	if h := m.spec.Hooks; h != nil {
		m.c.StartHooks = len(h.StartContainer) > 0 || len(h.Poststart) > 0
		if len(h.Prestart)+len(h.CreateRuntime)+len(h.CreateContainer)+len(h.StartContainer) > 0 {
			return true
		}
	}
	return m.c.Rdt != ""
}

// pause is called at every stage of the start at which the process waits.
func (m *maker) pause(s crt.Stage, pid int) error {
	switch s {
	case crt.StageMap:
		return writeMaps(pid, m.spec.Linux)
	case crt.StageRuntime:
		return m.atRuntime(pid)
	}
	return m.c.startHooks(m.spec)
}

// atRuntime: the namespaces are there, the root file system is not entered.
func (m *maker) atRuntime(pid int) error {
	var err error
	if m.c.Init, err = state.OwnerOf(pid); err != nil {
		return err
	}
	if err := m.c.save(); err != nil {
		return err
	}
	if err := joinRdt(m.c.Rdt, pid); err != nil {
		return err
	}
	h := m.spec.Hooks
	if h == nil {
		return nil
	}
	place := hookPlace{stage: "prestart", state: m.c.ociState(specs.StateCreating)}
	if err := place.run(h.Prestart); err != nil {
		return err
	}
	place.stage = "createRuntime"
	if err := place.run(h.CreateRuntime); err != nil {
		return err
	}
	place.stage, place.namespaces = "createContainer", m.c.Namespaces
	return place.run(h.CreateContainer)
}

// startHooks runs those of the stage at which start was called.
func (c *container) startHooks(s *specs.Spec) error {
	if s.Hooks == nil {
		return nil
	}
	return hookPlace{stage: "startContainer", state: c.ociState(specs.StateCreated), namespaces: c.Namespaces}.run(s.Hooks.StartContainer)
}

// finish tells everybody who has to know of the process.
func (m *maker) finish() (err error) {
	p := m.process
	if m.c.Init, err = state.OwnerOf(p.Pid); err != nil && m.c.Rest != nil {
		return startError(errors.New("the process ended while it waited to be started"))
	}
	m.c.Ready = true
	if err := m.c.save(); err != nil {
		return err
	}
	if p.Listener != nil {
		if err := sendListener(m.spec.Linux.Seccomp, p.Listener, p.Pid, m.c.ociState(specs.StateCreating)); err != nil {
			return err
		}
	}
	if p.Console != nil && m.console != "" {
		if err := sendConsole(m.console, p.Console); err != nil {
			return err
		}
	}
	return writePid(m.pidFile, p.Pid)
}

func writePid(path string, pid int) error {
	if path == "" {
		return nil
	}
	return state.WriteVolatile(path, []byte(strconv.Itoa(pid)), 0o644)
}

// preserved counts the descriptors from 3 on that the program gets: those that
// systemd has passed to us (sd_listen_fds(3)), and n more.
func preserved(n int, p *specs.Process) (int, error) {
	if n < 0 {
		return 0, fmt.Errorf("cannot preserve %d descriptors", n)
	}
	if listen := os.Getenv("LISTEN_FDS"); listen != "" {
		more, err := strconv.Atoi(listen)
		if err != nil || more < 0 {
			return 0, fmt.Errorf("invalid LISTEN_FDS %q: it is a number", listen)
		}
		n += more
		p.Env = append(p.Env, "LISTEN_FDS="+listen, "LISTEN_PID=1")
	}
	for fd := 3; fd < 3+n; fd++ {
		// One that is closed on exec is our own: ours begin at the first free number.
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			return 0, fmt.Errorf("unable to preserve fd %d: it is not open", fd)
		}
	}
	return n, nil
}
