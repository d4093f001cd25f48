package shim

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
	"berth/internal/state"
)

// call runs f in the supervising goroutine and waits for it. It reports false
// when the container is over.
func (c *container) call(f func()) {
	done := make(chan struct{})
	c.events <- func() { f(); close(done) }
	<-done
}

// serve answers one client.
func (c *container) serve(conn *Conn) {
	var buf []byte
	kind, p, err := conn.receive(&buf)
	var r Request
	if err != nil || kind != frameRequest || json.Unmarshal(p, &r) != nil {
		conn.Close()
		return
	}
	switch r.Kind {
	case "attach":
		c.attach(conn, r)
	case "exec":
		c.exec(conn, r)
	case "signal", "stop", "wait":
		c.control(conn, r)
	default:
		conn.sendJSON(frameError, Failure{Message: "this container was started by another version of berth, which cannot " + r.Kind})
		conn.Close()
	}
}

// attach connects a client to the first process.
func (c *container) attach(conn *Conn, r Request) {
	var s *stdio
	c.call(func() { // so that the end cannot come in between
		s = c.io
		conn.sendJSON(frameStarted, Started{Pid: c.pid})
		c.hub.join(conn, r.Replay)
	})
	c.session(conn, s, r.Stdin)
}

// control handles requests that end with an answer.
func (c *container) control(conn *Conn, r Request) {
	c.call(func() { // so that the end cannot come ahead of the answer
		conn.sendJSON(frameStarted, Started{Pid: c.pid})
		if r.Kind != "signal" {
			c.waiters = append(c.waiters, conn)
		}
		switch r.Kind {
		case "stop":
			c.stop(r.Signal, r.Timeout)
		case "signal":
			if r.Signal == int(unix.SIGKILL) || r.Signal == c.plan.StopSignal {
				c.stopped = true
			}
			if c.status.Phase == Running {
				unix.Kill(c.pid, unix.Signal(r.Signal))
			}
		}
	})
	if r.Kind == "signal" {
		conn.Close()
	}
}

// session obeys a connected client until it leaves. The first process's streams
// change when it is started again, so they are asked for each time.
func (c *container) session(conn *Conn, s *stdio, stdin bool) {
	detached := c.feed(conn, func() *stdio {
		if c.plan.Restart.Name != "" {
			c.call(func() { s = c.io })
		}
		return s
	}, stdin)
	c.hub.leave(conn)
	if stdin && c.plan.StdinOnce && !detached {
		s.closeInput()
	}
	conn.Close()
}

// feed passes what a client sends to a program. It returns when the client is
// gone, and whether that was on purpose.
func (c *container) feed(conn *Conn, streams func() *stdio, stdin bool) (detached bool) {
	var buf []byte
	for {
		kind, p, err := conn.receive(&buf)
		if err != nil {
			return false
		}
		switch kind {
		case frameStdin:
			if stdin {
				streams().write(p)
			}
		case frameEOF:
			if stdin {
				streams().closeInput()
			}
		case frameResize:
			if len(p) == 4 {
				streams().resize(binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:]))
			}
		case frameSignal:
			if len(p) == 1 {
				c.signalProcess(conn, unix.Signal(p[0]))
			}
		case frameDetach:
			return true
		}
	}
}

// exec runs one more program for a client.
func (c *container) exec(conn *Conn, r Request) {
	s := &stdio{hub: newHub(nil, 0), tty: r.Tty}
	var child *nsinit.Child
	var err error
	if r.Program, err = conn.receiveProgram(); err == nil {
		c.call(func() {
			if c.status.Phase != Running {
				err = &Failure{Message: "the container is not running"}
				return
			}
			if child, err = spawnWith(r.Program, s, r.Stdin, c.ns); err == nil {
				c.execs.add(conn, child.Pid)
			}
		})
	}
	if err != nil {
		conn.sendJSON(frameError, failureOf(err))
		conn.Close()
		return
	}
	conn.sendJSON(frameStarted, Started{Pid: child.Pid})
	if !r.Detach {
		s.hub.join(conn, false)
	}
	s.start()
	go c.feedExec(conn, s, r, child.Pid)
	ws := wait(child.Pid)
	s.drain(execGrace)
	s.hub.finish(Exit{Code: exitCode(ws)})
	c.execs.remove(conn)
	conn.Close()
}

// execGrace is how long an exec waits for output of processes that it left
// behind in the container and that still hold its pipes.
const execGrace = 200 * time.Millisecond

// feedExec ends an exec's terminal when its client is lost, so that no shell
// lives on unseen; a client that leaves on purpose lets it go on.
func (c *container) feedExec(conn *Conn, s *stdio, r Request, pid int) {
	if r.Detach {
		return
	}
	detached := c.feed(conn, func() *stdio { return s }, r.Stdin)
	s.hub.leave(conn)
	if detached {
		return
	}
	if s.tty {
		c.execs.signal(conn, unix.SIGHUP)
	}
	s.closeInput()
}

// signalProcess passes a client's signal to its exec, or to the first process.
func (c *container) signalProcess(conn *Conn, sig unix.Signal) {
	if c.execs.signal(conn, sig) {
		return
	}
	c.call(func() {
		if c.status.Phase == Running {
			unix.Kill(c.pid, sig)
		}
	})
}

// execTable says which process each exec's client speaks to.
type execTable struct {
	mu   sync.Mutex
	pids map[*Conn]int
	wg   sync.WaitGroup
}

func (t *execTable) add(conn *Conn, pid int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pids == nil {
		t.pids = map[*Conn]int{}
	}
	t.pids[conn] = pid
	t.wg.Add(1)
}

func (t *execTable) remove(conn *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.pids, conn)
	t.wg.Done()
}

// signal reports whether conn belongs to an exec. The table is emptied only
// after the process was reaped, so a signal could at worst reach a pid that
// was reused within that instant.
func (t *execTable) signal(conn *Conn, sig unix.Signal) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	pid, ok := t.pids[conn]
	if ok {
		unix.Kill(pid, sig)
	}
	return ok
}

// remove takes a container that was run with --rm away, with its anonymous
// volumes.
func (c *container) remove() {
	id := c.plan.ID
	c.removeVolumes()
	if err := c.dir.Discard(c.dir.Path("containers", id)); err != nil {
		return // it is not listed any more, and swept later
	}
	names := c.dir.Names("names", func(id string) bool {
		_, err := os.Stat(c.dir.Path("containers", id))
		return err == nil
	})
	names.Release(c.plan.Name, id)
}

// removeVolumes takes away the container's anonymous volumes, but for those
// that the record of another container speaks of.
func (c *container) removeVolumes() {
	if len(c.plan.Volumes) == 0 {
		return
	}
	lock, err := state.Lock(c.dir.Path("volumes", ".lock"))
	if err != nil {
		return
	}
	defer lock.Unlock()
	entries, err := os.ReadDir(c.dir.Path("containers"))
	if err != nil {
		return
	}
	var records []byte
	for _, d := range entries {
		if d.Name() != c.plan.ID {
			b, _ := os.ReadFile(c.dir.Path("containers", d.Name(), "config.json"))
			records = append(records, b...)
		}
	}
	for _, v := range c.plan.Volumes {
		if !bytes.Contains(records, []byte(v)) {
			c.dir.Discard(c.dir.Path("volumes", v))
		}
	}
}
