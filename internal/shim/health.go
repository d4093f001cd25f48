package shim

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/health"
	"berth/internal/nsinit"
)

// startChecks begins to check the container's health, which is not known yet
// when it has just started.
func (c *container) startChecks() {
	if c.plan.Health == nil {
		return
	}
	c.stopChecks()
	ctx, cancel := context.WithCancel(context.Background())
	c.uncheck = cancel
	status, started := c.status.Health.Status, c.started
	go c.check(ctx, status, started)
}

// stopChecks ends a check that runs, and its result does not count.
func (c *container) stopChecks() {
	if c.uncheck != nil {
		c.uncheck()
		c.uncheck = nil
	}
}

// resetHealth is for a new start. What was found before stays to be read.
func (c *container) resetHealth() {
	if c.plan.Health == nil {
		c.status.Health = nil
		return
	}
	if c.status.Health == nil {
		c.status.Health = &health.Status{}
	}
	c.status.Health.Status, c.status.Health.FailingStreak = health.Starting, 0
}

// check checks again and again until ctx ends. Never do two checks run at once:
// while one does not end even though it was killed, all that follow have failed.
func (c *container) check(ctx context.Context, status string, started time.Time) {
	h := c.plan.Health
	var last *probe
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(h.Pause(status, time.Since(started))):
		}
		var res health.Result
		if last.over() {
			last = &probe{c: c, ended: make(chan struct{})}
			res = last.run(ctx, h.Limit())
		} else {
			now := time.Now()
			res = health.Result{Start: now, End: now, ExitCode: -1, Output: "The health check before has not ended yet"}
		}
		c.call(func() {
			if ctx.Err() == nil {
				c.judge(res)
				status = c.status.Health.Status
			}
		})
	}
}

// judge draws the conclusion from a check.
func (c *container) judge(res health.Result) {
	if was := c.status.Health.Status; c.status.Health.Judge(c.plan.Health.Check, res, c.started) != was {
		c.happened("health_status: "+c.status.Health.Status, nil)
	}
	c.record()
}

// probe is one check.
type probe struct {
	c     *container
	p     process
	out   health.Output
	ended chan struct{}

	mu     sync.Mutex
	killed bool
}

// over reports whether a probe has ended; one that never was has.
func (p *probe) over() bool {
	if p == nil {
		return true
	}
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// run has a check of at most so long, or until ctx ends.
func (p *probe) run(ctx context.Context, timeout time.Duration) health.Result {
	res := health.Result{Start: time.Now()}
	go func() {
		defer close(p.ended)
		var err error
		if res.ExitCode, err = p.spawn(); err != nil {
			res.ExitCode = -1
			p.out.Write([]byte(err.Error()))
		}
	}()
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	select {
	case <-p.ended:
		res.End, res.Output = time.Now(), p.out.String()
		return res
	case <-limit.C:
	case <-ctx.Done():
	}
	p.kill()
	select {
	case <-p.ended:
	case <-time.After(grace + patience + time.Second):
	}
	late := health.Result{Start: res.Start, End: time.Now(), ExitCode: -1}
	late.Output = fmt.Sprintf("Health check exceeded timeout (%v)", timeout)
	if out := p.out.String(); out != "" {
		late.Output += ": " + out
	}
	return late
}

// spawn runs the program and waits for it.
func (p *probe) spawn() (code int, err error) {
	runtime.LockOSThread() // as for exec
	defer runtime.UnlockOSThread()
	s := &stdio{hub: newHub(nil, 0, &p.c.late)}
	s.hub.tap = &p.out
	child, err := p.c.enter(p.c.plan.Health.Program, s, false)
	if err != nil {
		return 0, err
	}
	defer p.c.execs.Done()
	p.p.born(child)
	p.mu.Lock()
	if p.killed {
		p.p.killAll()
	}
	p.mu.Unlock()
	s.start()
	ws := p.p.wait()
	p.c.brood.forget(child.Pid)
	s.drain()
	return exitCode(ws), nil
}

// kill ends the check, now or as soon as it has begun: its whole session, so
// that nothing is left of it when the next one comes.
func (p *probe) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed = true
	p.p.killAll()
}

// born notes the process. It has begun a session, as all execs do.
func (p *process) born(child *nsinit.Child) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = child.Pid
}

// killAll ends the process and those of its group.
func (p *process) killAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid != 0 {
		unix.Kill(-p.pid, unix.SIGKILL)
		unix.Kill(p.pid, unix.SIGKILL)
	}
}
