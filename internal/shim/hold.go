package shim

import "context"

// hold stands the container still for as long as a client stays connected: so
// that it goes on whatever becomes of the client.
func (c *container) hold(conn *Conn) {
	defer conn.Close()
	g, pid := c.plan.Cgroup, 0
	var err error
	c.call(func() {
		switch pid = c.pid; {
		case c.status.Phase != Running:
			err = &Failure{Message: "the container is not running"}
		case g == nil:
			err = &Failure{Message: "the container has no control group"}
		default:
			c.held++
		}
	})
	if err != nil {
		conn.sendJSON(frameError, failureOf(err))
		return
	}
	if err = g.Freeze(); err != nil {
		conn.sendJSON(frameError, failureOf(err))
	} else {
		conn.sendJSON(frameStarted, Started{Pid: pid})
		var buf []byte
		for err == nil {
			_, _, err = conn.receive(&buf) // it has nothing to say; it ends
		}
	}
	c.call(func() {
		if c.held--; c.held == 0 {
			g.Thaw()
		}
	})
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
