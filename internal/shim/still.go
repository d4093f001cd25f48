package shim

import (
	"context"
	"sync"

	"golang.org/x/sys/unix"

	"berth/internal/cgroup"
)

// stillness is whether the container's processes are held still: by a person
// who paused it, or by clients that copy from it. It has a lock of its own,
// since the supervisor may wait for a process that is frozen.
type stillness struct {
	mu     sync.Mutex
	held   int
	paused bool
	frozen freezer
}

// stop counts a reason to stand still; freezing takes a while only at the first.
func (s *stillness) stop(g freezer, pause bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g == nil {
		return cgroup.ErrNoFreezer
	}
	if s.frozen == nil {
		if err := g.Freeze(); err != nil {
			return err
		}
		s.frozen = g
	}
	if pause {
		s.paused = true
	} else {
		s.held++
	}
	return nil
}

// resume takes a reason away, and lets the container go on after the last.
func (s *stillness) resume(pause bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pause {
		s.paused = false
	} else {
		s.held--
	}
	if s.paused || s.held > 0 || s.frozen == nil {
		return nil
	}
	err := s.frozen.Thaw()
	if err == nil {
		s.frozen = nil
	}
	return err
}

// hold stands the container still for as long as a client stays connected: so
// that it goes on whatever becomes of the client.
func (c *container) hold(conn *Conn) {
	defer conn.Close()
	var g freezer
	var err error
	pid := 0
	c.call(func() {
		if g, pid = c.freezer(), c.pid; !c.alive() {
			err = c.notRunning()
		}
	})
	if err == nil {
		err = c.still.stop(g, false)
	}
	if err != nil {
		conn.sendJSON(frameError, failureOf(err))
		return
	}
	defer c.still.resume(false)
	conn.sendJSON(frameStarted, Started{Pid: pid})
	var buf []byte
	for err == nil {
		_, _, err = conn.receive(&buf) // it has nothing to say; it ends
	}
}

// pause answers a request to stand still until unpause.
func (c *container) pause(conn *Conn) {
	c.pausing.Lock()
	defer c.pausing.Unlock()
	var g freezer
	var err error
	var exited chan struct{}
	c.call(func() {
		switch g, exited = c.freezer(), c.exited; {
		case c.status.Phase == Paused:
			err = &Failure{Message: "Container " + c.plan.Name + " is already paused"}
		case !c.alive():
			err = c.notRunning()
		default:
			c.stopChecks() // a check would not end
		}
	})
	if err == nil {
		if err = c.still.stop(g, true); err != nil {
			c.call(func() {
				if c.alive() {
					c.startChecks()
				}
			})
		}
	}
	if err == nil {
		select {
		case <-exited: // perhaps the supervisor starts it again and waits for it already
			c.still.resume(true)
			err = c.notRunning()
		default:
			c.call(func() { err = c.paused(exited) })
		}
	}
	c.answer(conn, err)
}

// paused notes that the container stands still, unless it has ended meanwhile.
func (c *container) paused(exited chan struct{}) error {
	if c.status.Phase != Running || c.exited != exited {
		c.still.resume(true)
		return c.notRunning()
	}
	c.status.Phase = Paused
	err := c.record()
	c.happened("pause", nil)
	return err
}

// unpause answers a request to go on.
func (c *container) unpause(conn *Conn) {
	c.pausing.Lock()
	defer c.pausing.Unlock()
	var err error
	c.call(func() {
		switch {
		case c.status.Phase == Paused:
			err = c.goOn()
		case !c.alive():
			err = c.notRunning()
		default:
			err = &Failure{Message: "Container " + c.plan.Name + " is not paused"}
		}
	})
	c.answer(conn, err)
}

// goOn lets a paused container go on.
func (c *container) goOn() error {
	if err := c.still.resume(true); err != nil {
		return err
	}
	c.status.Phase = Running
	err := c.record()
	c.happened("unpause", nil)
	c.startChecks()
	return err
}

// signal sends a signal to the first process. One that is to end a paused
// container lets it go on, as in Docker; others wait.
func (c *container) signal(sig unix.Signal) {
	if !c.alive() {
		return
	}
	c.kill(sig)
	if c.status.Phase == Paused && (sig == unix.SIGKILL || int(sig) == c.plan.StopSignal) {
		c.goOn()
	}
}

// alive reports whether the first process runs, be it paused.
func (c *container) alive() bool { return c.status.Phase == Running || c.status.Phase == Paused }

func (c *container) notRunning() error {
	return &Failure{Message: "Container " + c.plan.Name + " is not running"}
}

func (c *container) answer(conn *Conn, err error) {
	defer conn.Close()
	if err != nil {
		conn.sendJSON(frameError, failureOf(err))
		return
	}
	conn.sendJSON(frameStarted, Started{})
}

// update answers a request to do otherwise from now on.
func (c *container) update(conn *Conn, r Request) {
	c.call(func() {
		if r.Restart != nil {
			c.plan.Restart = *r.Restart
		}
		if r.Cgroup != nil {
			c.plan.Cgroup = r.Cgroup
			c.watchMemory()
		}
		if r.Attributes != nil {
			c.attributes.Store(&r.Attributes)
		}
	})
	c.answer(conn, nil)
}

// Hold has the container in dir stand still until release is called, or the
// caller is gone.
func Hold(ctx context.Context, dir string) (release func(), err error) {
	c, err := Dial(dir)
	if err != nil {
		return nil, err
	}
	if _, err := c.Ask(ctx, &Request{Kind: "hold"}); err != nil {
		c.Close()
		return nil, err
	}
	return func() { c.Close() }, nil
}
