package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/foreign"
	"berth/internal/network/client"
	"berth/internal/nsinit"
	crt "berth/internal/runtime"
	"berth/internal/shim"
	"berth/internal/spec"
	"berth/internal/stage"
	"berth/internal/state"
	"berth/internal/sys"
)

// ContainerStart starts a container, again if it has run before. With
// opt.Attach the session is connected from the first byte.
func (e *Engine) ContainerStart(ctx context.Context, ref string, opt StartOptions) (Session, error) {
	id, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	return e.start(ctx, id, opt, nil)
}

// ContainerRun makes a container and starts it. The shim is started first and
// waits for its plan, so that its start-up overlaps with the preparation.
func (e *Engine) ContainerRun(ctx context.Context, opt CreateOptions, start StartOptions) (Created, Session, error) {
	sh, err := e.launchShim()
	if err != nil {
		return Created{}, nil, err
	}
	opt.run = true
	c, err := e.ContainerCreate(ctx, opt)
	if err != nil {
		sh.Close()
		return Created{}, nil, err
	}
	s, err := e.start(ctx, c.ID, start, sh)
	if err != nil && opt.HostConfig != nil && opt.HostConfig.AutoRemove {
		if rerr := e.ContainerRemove(ctx, c.ID, RemoveOptions{Force: true, Volumes: true}); rerr != nil {
			err = fmt.Errorf("%w; and it could not be removed: %v", err, rerr)
		}
	}
	return c, s, err
}

// start holds the container's lock until the shim answers, so that two starts
// of one container cannot meet. It uses the shim sh if one waits already.
func (e *Engine) start(ctx context.Context, id string, opt StartOptions, sh *shim.Conn) (_ Session, err error) {
	defer func() {
		if err != nil && sh != nil {
			sh.Close()
		}
	}()
	tx, err := e.lock(id)
	if err != nil {
		return nil, err
	}
	defer tx.Unlock()
	r, st, err := e.load(id)
	if err != nil {
		return nil, err
	}
	if active(st) {
		if st.Phase == shim.Paused {
			return nil, &Error{Kind: ErrConflict, Text: "cannot start a paused container, try unpause instead"}
		}
		if !opt.Attach {
			return nil, nil // what runs is started
		}
		return nil, &Error{Kind: ErrConflict, Text: fmt.Sprintf("container %s is already running: use attach", r.Name)}
	}
	if err := e.settle(tx, id, st); err != nil {
		return nil, err
	}
	if err := e.ensureVolumes(ctx, r); err != nil {
		return nil, err
	}
	if sh == nil {
		if sh, err = e.launchShim(); err != nil {
			return nil, err
		}
	}
	if opt.Attach {
		e.noteContainer(r, events.ActionAttach)
	}
	err = e.launch(ctx, r, opt, &sh)
	if err != nil {
		e.noteFailure(tx, id, st, err)
		return nil, err
	}
	if opt.Attach {
		return &session{conn: sh, dir: e.containerDir(id), stdin: opt.Stdin}, nil
	}
	sh.Close()
	return nil, nil
}

// noteFailure keeps why a start failed, as `inspect` shows it.
func (e *Engine) noteFailure(_ *state.Tx, id string, st shim.Status, err error) {
	st.V, st.Phase, st.Error, st.ExitCode = 1, shim.Exited, err.Error(), 128
	if st.StartedAt.IsZero() {
		st.Phase = shim.Created
	}
	var se *StartError
	if errors.As(err, &se) {
		st.ExitCode = se.Code
	}
	state.WriteJSON(e.containerDir(id, shim.StatusFile), &st)
}

// launch compiles the plan and hands it to the shim. If the kernel refuses the
// overlay the root is copied together instead, once, and a new shim tries.
func (e *Engine) launch(ctx context.Context, r *record, opt StartOptions, sh **shim.Conn) error {
	if err := e.portsFree(r); err != nil {
		return err
	}
	lease, err := e.joinNetworks(ctx, r, opt)
	if err != nil {
		return err
	}
	defer lease.Close()
	plan, b, err := e.plan(r, opt, lease, (*sh).Pid)
	if err != nil {
		return err
	}
	_, err = (*sh).Launch(plan)
	closeFiles(plan.UserNS)
	var f *shim.Failure
	if errors.As(err, &f) && strings.Contains(f.What, "(overlay)") && e.config.Storage != driverOverlay {
		(*sh).Close()
		why := unix.Errno(f.Errno).Error()
		if *sh, err = e.withoutOverlay(ctx, r); err == nil {
			opt.warn([]string{e.copyNote("the kernel refuses overlay here (" + why + ")")})
			if plan, b, err = e.plan(r, opt, lease, (*sh).Pid); err == nil {
				_, err = (*sh).Launch(plan)
				closeFiles(plan.UserNS)
			}
		}
	}
	if err != nil {
		if b != nil && b.Group != nil {
			b.Group.Remove()
		}
		return startError(err, b.args())
	}
	return nil
}

func (b *bundle) args() []string {
	if b == nil || b.spec == nil || len(b.spec.Process.Args) == 0 {
		return []string{""}
	}
	return b.spec.Process.Args
}

// plan turns a record into what the shim carries out, and writes the files
// that are bound into the container. The user namespace is made meanwhile. What
// was made for a plan that fails is given back.
func (e *Engine) plan(r *record, opt StartOptions, lease *client.Lease, shimPid int) (*shim.Plan, *bundle, error) {
	in, err := e.specInput(r, lease)
	if err != nil {
		return nil, nil, err
	}
	defer in.close()
	space, err := e.idSpace(r, in.HostConfig)
	if err != nil {
		return nil, nil, err
	}
	in.Host.IDs = space.ids
	space.lease = lease
	wait := space.open()
	p, b, err := e.planIn(r, in, opt, shimPid)
	files, werr := wait()
	if err == nil {
		err = werr
	}
	if err != nil {
		closeFiles(files)
		if b != nil && b.Group != nil {
			b.Group.Remove()
		}
		return nil, nil, err
	}
	p.UserNS = files
	e.lend(p, r, lease)
	return p, b, nil
}

// planIn makes the plan but for its user namespace.
func (e *Engine) planIn(r *record, in *specInput, opt StartOptions, shimPid int) (*shim.Plan, *bundle, error) {
	group, warnings, err := e.prepareGroup(r, shimPid, !opt.Attach)
	if err != nil {
		return nil, nil, err
	}
	opt.warn(warnings)
	b := &bundle{V: 1, Group: group, IDs: in.Host.IDs}
	in.groupDirs(group)
	s, warnings, err := spec.Build(in.Input)
	if err != nil {
		return nil, b, &Error{Kind: ErrInvalid, Text: err.Error()}
	}
	opt.warn(warnings)
	if warnings, err = e.guardDevices(r, s, group); err != nil {
		return nil, b, err
	}
	opt.warn(warnings)
	if opt.ConsoleSize[0] > 0 {
		s.Process.ConsoleSize = &specs.Box{Height: opt.ConsoleSize[0], Width: opt.ConsoleSize[1]}
	}
	b.spec, b.Namespaces = s, crt.ExecNamespaces(s)
	var prog *nsinit.Program
	if foreign.Ordinary(r.HostConfig.Runtime) {
		prog, err = e.compile(r, in, b)
	} else {
		err = e.otherPlan(r, in, b)
	}
	if err != nil {
		return nil, b, err
	}
	if err := writeBundle(e.containerDir(r.ID, bundleFile), b); err != nil {
		return nil, b, err
	}
	p, err := e.shimPlan(r, prog, b, opt)
	if err != nil {
		return nil, b, err
	}
	if p.Health, warnings, err = e.health(r, b, in.Input); err != nil {
		return nil, b, err
	}
	opt.warn(warnings)
	return p, b, nil
}

func (e *Engine) compile(r *record, in *specInput, b *bundle) (*nsinit.Program, error) {
	root, err := e.rootfs(r)
	if err != nil {
		return nil, err
	}
	filters, err := e.filters(r, b.spec.Process, in.Host)
	if err != nil {
		return nil, err
	}
	init := r.HostConfig.Init != nil && *r.HostConfig.Init
	c := crt.Config{
		Spec: b.spec, Root: root, Cgroups: b.Group.Dirs, Filters: filters, OwnerUser: true, Stdin: r.Config.OpenStdin,
		Init: init && b.Namespaces&unix.CLONE_NEWPID != 0 && in.Join["pid"] == "",
		IsDir: func(p string) bool {
			fi, err := os.Stat(p)
			return err == nil && fi.IsDir()
		},
		Node:   func(d specs.LinuxDevice) string { return in.node(d.Path) },
		UserNS: b.IDs.Some(), InnerNS: b.IDs.Nested(), KeepGroups: in.Host.KeepGroups(b.spec.Process),
	}
	inNetworks(&c, in.lease)
	return crt.Compile(c)
}

func (e *Engine) shimPlan(r *record, prog *nsinit.Program, b *bundle, opt StartOptions) (*shim.Plan, error) {
	log, err := logOptions(r)
	p := &shim.Plan{
		V: 1, ID: r.ID, Name: r.Name, Root: e.dir.Root(), Program: prog,
		Namespaces: b.Namespaces, Tty: r.Config.Tty, OpenStdin: r.Config.OpenStdin, StdinOnce: r.Config.StdinOnce,
		Restart:    *restartPolicy(r.HostConfig),
		AutoRemove: r.HostConfig.AutoRemove, StopSignal: stopSignal(r), Cgroup: b.Group, Log: log,
		Attach: opt.Attach, Stdin: opt.Stdin, Attributes: eventAttributes(r), Other: b.Other, SharedPids: r.HostConfig.PidMode.IsHost() || r.HostConfig.PidMode.IsContainer(),
		Public: e.public(r, nil),
	}
	if p.AutoRemove {
		p.Volumes = r.Anonymous
	}
	return p, err
}

// restartPolicy is the shim's name for a policy.
func restartPolicy(hc *container.HostConfig) *shim.RestartPolicy {
	p := &shim.RestartPolicy{Name: string(hc.RestartPolicy.Name), Max: hc.RestartPolicy.MaximumRetryCount}
	if p.Name == "no" {
		p.Name = ""
	}
	return p
}

// launchShim starts a shim that waits for its plan on the returned connection.
// It runs in a session of its own, without our environment, terminal or
// descriptors; if the connection closes before a plan came it just ends.
func (e *Engine) launchShim() (*shim.Conn, error) {
	// What our caller has left open is not the shim's to hold open.
	unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[1])
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(pair[0])
		return nil, err
	}
	defer unix.Close(null)
	exe, done := e.shimProgram()
	defer done()
	attr := &syscall.ProcAttr{
		Dir: "/", Env: []string{"GOMAXPROCS=1"},
		Files: []uintptr{uintptr(null), uintptr(null), uintptr(null), uintptr(pair[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	pid, err := syscall.ForkExec(exe, []string{shim.Arg0}, attr)
	if err != nil && exe != stage.Self { // perhaps the data root is mounted noexec
		pid, err = syscall.ForkExec(stage.Self, []string{shim.Arg0}, attr)
	}
	if err != nil {
		unix.Close(pair[0])
		return nil, fmt.Errorf("cannot start a shim: %w", err)
	}
	// Reaped if we outlive it; else init does.
	go func() {
		var ws unix.WaitStatus
		unix.Wait4(pid, &ws, 0, nil)
	}()
	c := shim.NewConn(pair[0])
	c.Pid = pid
	return c, nil
}

// shimProgram returns the path of the program for the shim: sealed against
// being written from inside a container.
func (e *Engine) shimProgram() (path string, done func()) {
	exe := stage.Shim(e.dir)
	f, err := e.seal(exe)
	if err != nil {
		return exe, func() {} // no overlay here, or no user namespace: then the start says so
	}
	return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())), func() { f.Close() }
}

func (e *Engine) seal(exe string) (*os.File, error) {
	if e.host.Rootless {
		return crt.SealedForUser(exe)
	}
	empty := e.dir.Path("empty")
	os.Mkdir(empty, 0o700)
	return sys.Sealed(exe, empty)
}

// untilPhase waits until a container is in one of the phases.
func (e *Engine) untilPhase(ctx context.Context, id string, phases ...string) error {
	for {
		st, err := e.status(id)
		if errors.Is(err, ErrNotFound) {
			return nil // it was started with --rm
		}
		if err != nil {
			return err
		}
		for _, p := range phases {
			if st.Phase == p {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
