package shim

import (
	"encoding/json"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/health"
	"berth/internal/journal"
	"berth/internal/logs"
	"berth/internal/nsinit"
	"berth/internal/published"
	"berth/internal/state"
	"berth/internal/sys"
)

// container is the one this shim looks after. Its fields below events belong
// to the goroutine in supervise, which is also the only one that makes
// processes; others reach it by sending functions to events.
type container struct {
	plan   *Plan
	dir    *state.Dir
	log    *logs.Writer
	hub    *hub
	socket *os.File

	events  chan func()
	signals chan os.Signal

	io          *stdio
	pid         int
	status      Status
	ns          map[nsinit.Reg]*os.File // for exec
	exited      chan struct{}
	started     time.Time
	backoff     time.Duration
	stopped     bool      // by a person
	waiters     []*Conn   // told when all is over
	alone       *state.Tx // held while the container is ours
	uncheck     func()    // ends the health checks
	unwatch     func()    // ends the watch over its memory
	kills       uint64    // for want of memory, as far as told
	killsBefore uint64    // at the start
	execs       sync.WaitGroup
	brood       brood
	posting     *published.Posting
	net         *networking    // nil without networks
	late        sync.WaitGroup // clients that take their time

	// These are anybody's.
	journal    *journal.Journal
	attributes atomic.Pointer[map[string]string] // of its events
	still      stillness
	pausing    sync.Mutex // one pause or unpause at a time
}

// launch makes the first process and records that it runs.
func (c *container) launch() error {
	s := &stdio{hub: c.hub, tty: c.plan.Tty}
	child, err := c.first(s)
	if err != nil {
		return c.net.explain(err)
	}
	c.io, c.pid, c.started = s, child.Pid, time.Now()
	err = c.holdNamespaces(child.FDs)
	if err == nil {
		err = c.startOther()
	}
	if err != nil {
		s.drain()
		abandon(child)
		c.brood.forget(child.Pid)
		return err
	}
	exited := make(chan struct{})
	c.exited = exited
	go func() { await(child.Pid); close(exited) }()
	init, _ := state.OwnerOf(child.Pid)
	c.status.V, c.status.Phase = 1, Running
	c.status.Shim, c.status.Init = state.Self(), init
	c.status.StartedAt, c.status.FinishedAt = c.started, time.Time{}
	c.status.ExitCode, c.status.OOMKilled, c.status.Error = 0, false, ""
	c.resetHealth()
	if err := c.record(); err != nil {
		s.drain()
		abandon(child)
		c.brood.forget(child.Pid)
		return err
	}
	c.publish()
	c.inNetworks("connect")
	c.happened("start", nil)
	c.startChecks()
	return nil
}

// spawnWith runs a program with fresh streams of its own.
func spawnWith(p *nsinit.Program, s *stdio, openStdin bool, ns map[nsinit.Reg]*os.File) (*nsinit.Child, error) {
	regs := numbers(ns)
	var theirs [3]*os.File
	if !s.tty {
		var err error
		if theirs, err = s.pipes(openStdin); err != nil {
			return nil, err
		}
		for i, f := range theirs {
			regs[nsinit.RegStdin+nsinit.Reg(i)] = int(f.Fd())
		}
	}
	child, err := nsinit.Spawn(p, regs)
	closeAll(theirs[:])
	if err == nil && s.tty {
		if err = s.takeMaster(child); err != nil {
			abandon(child)
		}
	}
	if err != nil {
		s.closeInput()
		closeAll(s.outs)
		return nil, err
	}
	return child, nil
}

// takeMaster makes the terminal of the last descriptor that the program passed.
func (s *stdio) takeMaster(child *nsinit.Child) error {
	if len(child.FDs) == 0 {
		return &Failure{Message: "the container gave no terminal"}
	}
	last := len(child.FDs) - 1
	master := child.FDs[last]
	child.FDs = child.FDs[:last]
	return s.accept(master)
}

// abandon ends a process that cannot be looked after.
func abandon(child *nsinit.Child) {
	closeAll(child.FDs)
	unix.Kill(child.Pid, unix.SIGKILL)
	sys.Wait(child.Pid)
}

// await returns when a process has ended, and leaves it to be reaped, so that
// nobody else can get its pid.
func await(pid int) {
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != unix.EINTR {
			return
		}
	}
}

// exitCode is the shell's: the code, or 128 and the signal.
func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// holdNamespaces keeps the namespaces that the first process has passed, for
// execs. The user namespace is the one that owns the mounts: the process itself
// may sit in a nested one that only renames its user.
func (c *container) holdNamespaces(fds []*os.File) error {
	c.closeNamespaces()
	c.ns = map[nsinit.Reg]*os.File{}
	for _, n := range nsinit.Namespaces() {
		if c.plan.Namespaces&n.Flag == 0 {
			continue
		}
		if len(fds) == 0 {
			return &Failure{Message: "the container did not pass its namespaces"}
		}
		c.ns[n.Reg], fds = fds[0], fds[1:]
	}
	c.net.moved(c.ns[nsinit.RegNetNS])
	if mnt := c.ns[nsinit.RegMountNS]; mnt != nil && c.plan.Namespaces&unix.CLONE_NEWUSER != 0 {
		fd, err := unix.IoctlRetInt(int(mnt.Fd()), unix.NS_GET_USERNS)
		if err != nil {
			return os.NewSyscallError("ioctl NS_GET_USERNS", err)
		}
		c.ns[nsinit.RegUserNS] = os.NewFile(uintptr(fd), "user")
	}
	if inner := c.plan.userNS()[nsinit.RegInnerNS]; inner != nil {
		own, err := sys.Dup(inner)
		if err != nil {
			return err
		}
		c.ns[nsinit.RegInnerNS] = own
	}
	return nil
}

func (c *container) closeNamespaces() {
	closeNamespaces(c.ns)
	c.ns = nil
}

func closeNamespaces(ns map[nsinit.Reg]*os.File) {
	for _, f := range ns {
		f.Close()
	}
}

// copyNamespaces is for an exec, during which the container may end.
func (c *container) copyNamespaces() (map[nsinit.Reg]*os.File, error) {
	ns := map[nsinit.Reg]*os.File{}
	for r, f := range c.ns {
		own, err := sys.Dup(f)
		if err != nil {
			closeNamespaces(ns)
			return nil, err
		}
		ns[r] = own
	}
	return ns, nil
}

// record writes state.json. It is not synced: after a crash of the machine the
// recorded processes are gone, and that is what a reader checks.
func (c *container) record() error {
	b, err := json.Marshal(&c.status)
	if err != nil {
		return err
	}
	return state.WriteVolatile(StatusFile, append(b, '\n'), 0o600)
}

// supervise runs until the container is over for good.
func (c *container) supervise() {
	for {
		select {
		case f := <-c.events:
			f()
		case <-c.signals: // the machine or the session goes down
			c.stop(c.plan.StopSignal, 10)
		case <-c.exited:
			if !c.ended() {
				return
			}
		}
	}
}

// ended handles the end of the first process and reports whether there is
// more to come.
func (c *container) ended() bool {
	c.status.ExitCode = exitCode(sys.Wait(c.pid))
	c.brood.forget(c.pid)
	c.stopChecks()
	c.still.resume(true) // what starts next shall not stand still
	c.brood.end(c.ns[nsinit.RegMountNS])
	c.io.drain()
	c.log.End()
	if c.plan.Other != nil {
		c.plan.Other.Delete(c.enclosure())
	}
	c.closeNamespaces()
	c.net.moved(nil)
	c.status.FinishedAt = time.Now()
	c.status.Init = state.Owner{}
	if c.status.Health != nil {
		c.status.Health.Status = health.Unhealthy // as Docker says of what does not run
	}
	c.countKills()
	c.died()
	if c.again() && c.restart() {
		return true
	}
	c.finish()
	return false
}

// again decides by the restart policy.
func (c *container) again() bool {
	if c.stopped {
		return false
	}
	switch c.plan.Restart.Name {
	case "always", "unless-stopped":
		return true
	case "on-failure":
		return c.status.ExitCode != 0 && (c.plan.Restart.Max == 0 || c.status.RestartCount < c.plan.Restart.Max)
	}
	return false
}

// restart waits (0.1 s, doubling to a minute, from the start again after ten
// good seconds) and starts the program once more.
func (c *container) restart() bool {
	if time.Since(c.started) >= 10*time.Second {
		c.backoff = 0
	}
	c.backoff = min(max(2*c.backoff, 100*time.Millisecond), time.Minute)
	for {
		c.status.Phase = Restarting
		c.record()
		delay := time.NewTimer(c.backoff)
		for waiting := true; waiting; {
			select {
			case f := <-c.events:
				f()
			case <-c.signals:
				c.stopped = true
			case <-delay.C:
				waiting = false
			}
			if c.stopped {
				return false
			}
		}
		c.status.RestartCount++
		err := c.launch()
		if err == nil {
			c.io.start()
			return true
		}
		c.status.ExitCode, c.status.Error = 127, err.Error()
		if !c.again() {
			return false
		}
		c.backoff = min(2*c.backoff, time.Minute)
	}
}

// stop asks the program to end, and ends it after a while (seconds; negative
// is never).
func (c *container) stop(sig, timeout int) {
	c.stopped = true
	if !c.alive() {
		return
	}
	c.kill(unix.Signal(sig))
	if c.status.Phase == Paused {
		c.goOn()
	}
	if timeout < 0 {
		return
	}
	pid := c.pid
	time.AfterFunc(time.Duration(timeout)*time.Second, func() {
		c.events <- func() {
			if c.pid == pid {
				c.signal(unix.SIGKILL)
			}
		}
	})
}

// finish is the end: everything is put away before anybody is told, so that
// who hears of the end finds it done.
func (c *container) finish() {
	c.socket.Close()
	os.Remove(SocketFile)
	c.net.close()
	c.posting.Close()
	if c.unwatch != nil {
		c.unwatch()
	}
	if c.plan.Cgroup != nil {
		c.plan.Cgroup.Remove()
	}
	c.log.Close()
	c.status.Phase = Exited
	c.status.Stopped = c.stopped
	c.status.Shim = state.Owner{}
	x := Exit{Code: c.status.ExitCode, Error: c.status.Error}
	c.record()
	if c.plan.AutoRemove {
		c.remove()
		c.happened("destroy", nil)
	}
	c.alone.Unlock() // it may be started again
	c.answerLate()
	c.hub.finish(x)
	for _, conn := range c.waiters {
		conn.sendJSON(frameExit, x)
	}
	c.settleExecs()
}

// answerLate answers those who had asked when the end came.
func (c *container) answerLate() {
	for {
		select {
		case f := <-c.events:
			f()
		default:
			return
		}
	}
}

// settleExecs lets the clients of execs hear that their programs ended too.
func (c *container) settleExecs() {
	done := make(chan struct{})
	go func() { c.execs.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(grace + patience + time.Second):
	}
}
