package shim

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"runtime"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
	"berth/internal/state"
	"berth/internal/sys"
)

// call runs f in the supervising goroutine and waits for it: for ever, when the
// container is over, which is when this process ends.
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
	case "hold":
		c.hold(conn)
	case "pause":
		c.pause(conn)
	case "unpause":
		c.unpause(conn)
	case "update":
		c.update(conn, r)
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
			c.signal(unix.Signal(r.Signal))
		}
	})
	if r.Kind == "signal" {
		conn.Close()
	}
}

// session obeys a connected client until it leaves.
func (c *container) session(conn *Conn, s *stdio, stdin bool) {
	detached := feed(conn, peer{
		// The streams change when the program is started again.
		streams: func() *stdio {
			c.call(func() { s = c.io })
			return s
		},
		stdin: stdin,
		// Else the input stays open for who attaches next.
		eof: stdin && c.plan.StdinOnce,
		signal: func(sig unix.Signal) {
			c.call(func() { c.signal(sig) })
		},
	})
	c.hub.leave(conn)
	if stdin && c.plan.StdinOnce && !detached {
		s.closeInput()
	}
	conn.Close()
}

// peer is the program that a client speaks to, and what it may send.
type peer struct {
	streams    func() *stdio
	stdin, eof bool
	signal     func(unix.Signal)
}

// feed passes what a client sends to a program. It returns when the client is
// gone, and whether that was on purpose.
func feed(conn *Conn, to peer) (detached bool) {
	var buf []byte
	for {
		kind, p, err := conn.receive(&buf)
		if err != nil {
			return false
		}
		switch kind {
		case frameStdin:
			if to.stdin {
				to.streams().write(p)
			}
		case frameEOF:
			if to.eof {
				to.streams().closeInput()
			}
		case frameResize:
			if len(p) == 4 {
				to.streams().resize(binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:]))
			}
		case frameSignal:
			if len(p) == 1 {
				to.signal(unix.Signal(p[0]))
			}
		case frameDetach:
			return true
		}
	}
}

// exec runs one more program for a client.
func (c *container) exec(conn *Conn, r Request) {
	// The process is tied to the thread that makes it. This one is not the
	// supervisor's: from inside, a container can stop a process that is
	// just entering it, and shall hold up nobody but who asked for it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := &stdio{hub: newHub(nil, 0, &c.late), tty: r.Tty}
	child, err := c.spawnExec(conn, r, s)
	if err != nil {
		conn.sendJSON(frameError, failureOf(err))
		conn.Close()
		return
	}
	defer c.execs.Done()
	conn.sendJSON(frameStarted, Started{Pid: child.Pid})
	p := &process{pid: child.Pid}
	if r.Detach {
		conn.Close()
	} else {
		s.hub.join(conn, false)
		go feedExec(conn, s, r, p)
	}
	s.start()
	ws := p.wait()
	c.brood.forget(child.Pid)
	s.drain()
	if r.ExecID != "" {
		c.happened("exec_die", map[string]string{"execID": r.ExecID, "exitCode": strconv.Itoa(exitCode(ws))})
	}
	s.hub.finish(Exit{Code: exitCode(ws)})
}

// spawnExec makes the process of an exec. What it returns is counted in execs.
func (c *container) spawnExec(conn *Conn, r Request, s *stdio) (*nsinit.Child, error) {
	prog, err := conn.receiveProgram()
	if err != nil {
		return nil, err
	}
	return c.enter(prog, s, r.Stdin)
}

// enter runs a program in the container.
func (c *container) enter(prog *nsinit.Program, s *stdio, stdin bool) (*nsinit.Child, error) {
	var ns map[nsinit.Reg]*os.File
	var err error
	c.call(func() {
		switch c.status.Phase {
		case Running:
		case Paused:
			err = &Failure{Message: "Container " + c.plan.Name + " is paused, unpause the container before exec"}
			return
		default:
			err = c.notRunning()
			return
		}
		if ns, err = c.copyNamespaces(); err == nil {
			c.execs.Add(1)
			c.brood.expect()
		}
	})
	if err != nil {
		return nil, err
	}
	defer closeNamespaces(ns)
	child, err := spawnWith(prog, s, stdin, ns)
	c.brood.born(child)
	if err != nil {
		c.execs.Done()
	}
	return child, err
}

// feedExec ends an exec's terminal when its client is lost, so that no shell
// lives on unseen; a client that leaves on purpose lets it go on.
func feedExec(conn *Conn, s *stdio, r Request, p *process) {
	detached := feed(conn, peer{streams: func() *stdio { return s }, stdin: r.Stdin, eof: r.Stdin, signal: p.signal})
	s.hub.leave(conn)
	conn.Close()
	if detached {
		return
	}
	if s.tty {
		p.signal(unix.SIGHUP)
	}
	s.closeInput()
}

// process is one that can be sent signals until it is reaped.
type process struct {
	mu  sync.Mutex
	pid int
}

func (p *process) signal(sig unix.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid != 0 {
		unix.Kill(p.pid, sig)
	}
}

// wait waits for the end and reaps it.
func (p *process) wait() unix.WaitStatus {
	await(p.pid)
	p.mu.Lock()
	defer p.mu.Unlock()
	ws := sys.Wait(p.pid)
	p.pid = 0
	return ws
}

// remove takes a container that was run with --rm away, with its anonymous
// volumes.
func (c *container) remove() {
	id := c.plan.ID
	if len(c.plan.UserNS) > 0 {
		c.dir.SetInside(c.removeInside, nil)
	}
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

// removeInside removes a tree of which something belongs to other ids of the
// container: by this program once more, in the container's user namespace.
func (c *container) removeInside(path string) error {
	zero := nsinit.Int(0)
	p := &nsinit.Program{Ops: []nsinit.Op{
		{Call: "setns", Args: []nsinit.Arg{nsinit.Ref(nsinit.RegUserNS), nsinit.Flags(unix.CLONE_NEWUSER)}},
		{Call: "setresgid", Args: []nsinit.Arg{zero, zero, zero}},
		{Call: "setresuid", Args: []nsinit.Arg{zero, zero, zero}},
		{Call: "execve", Args: []nsinit.Arg{nsinit.Str("/proc/self/exe"), nsinit.Vec([]string{RemoveArg0, path}), nsinit.Vec(nil)}},
	}}
	child, err := nsinit.Spawn(p, map[nsinit.Reg]int{nsinit.RegUserNS: int(c.plan.UserNS[0].Fd())})
	if err == nil && sys.Wait(child.Pid) != 0 {
		err = unix.EPERM
	}
	return err
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
