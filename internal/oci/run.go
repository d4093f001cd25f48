package oci

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

func runVerb() *verb {
	o := &creation{}
	v := &verb{name: "run", words: "<container-id>", min: 1, max: 1, help: "make a container and run it"}
	o.register(&v.options)
	v.options.toggle(&o.detach, "detach,d", "do not wait for it to end")
	v.options.toggle(&o.keep, "keep", "leave what is left of it, for delete to remove")
	v.options.toggle(&o.noSubreaper, "no-subreaper", "do not take over orphans of a container that has our pid namespace")
	v.run = func(a *app, words []string) error {
		code, err := a.runContainer(words[0], o)
		if err != nil {
			return a.failed("run", err)
		}
		if code != 0 {
			return exitCode(code)
		}
		return nil
	}
	return v
}

// runContainer makes a container and runs it, in the foreground unless it is
// to be detached.
func (a *app) runContainer(id string, o *creation) (code int, err error) {
	if !o.detach && !o.noSubreaper {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return 0, os.NewSyscallError("prctl(PR_SET_CHILD_SUBREAPER)", err)
		}
	}
	m, err := a.create(id, o, false)
	if err != nil {
		return 0, err
	}
	if len(m.c.Rest) > 0 {
		err = a.start(m.c)
	} else {
		err = a.started(m.c, m.spec)
	}
	if err != nil {
		a.clean(m)
		return 0, err
	}
	if o.detach {
		return 0, nil
	}
	code, err = a.follow(m.process.Pid, m.process.Console, m.signals)
	if !o.keep {
		a.clean(m)
	}
	return code, err
}

// clean removes a container of our own that has ended.
func (a *app) clean(m *maker) {
	c, tx, err := a.hold(m.c.ID)
	if err != nil {
		return // somebody else has deleted it
	}
	defer tx.Unlock()
	if err := a.destroy(c); err != nil {
		a.log.warningf("cannot remove container %s: %v", c.ID, err)
	}
}

// forwarded starts to catch all signals that can be passed on.
func forwarded(detach bool) chan os.Signal {
	if detach {
		return nil
	}
	c := make(chan os.Signal, 64)
	signal.Notify(c)
	// SIGURG wakes threads of the Go runtime, and SIGPIPE is our own.
	signal.Reset(unix.SIGURG, unix.SIGPIPE, unix.SIGCHLD)
	return c
}

// follow waits for a process in the foreground: it gets our signals, and our
// terminal if it has one of its own.
func (a *app) follow(pid int, console *os.File, signals chan os.Signal) (int, error) {
	var t *relay
	if console != nil {
		var err error
		if t, err = a.newRelay(console); err != nil {
			unix.Kill(pid, unix.SIGKILL)
			reap(pid)
			return 0, err
		}
		defer t.stop()
	}
	process, err := unix.PidfdOpen(pid, 0) // its number may mean another one when it is reaped
	if err == nil {
		defer unix.Close(process)
	}
	ended := make(chan unix.WaitStatus, 1)
	go func() { ended <- reap(pid) }()
	for {
		select {
		case ws := <-ended:
			if t != nil {
				t.drain()
			}
			if ws.Signaled() {
				return 128 + int(ws.Signal()), nil
			}
			return ws.ExitStatus(), nil
		case s := <-signals:
			if s == unix.SIGWINCH && t != nil {
				t.resize()
				continue
			}
			if n, ok := s.(syscall.Signal); ok && err == nil {
				unix.PidfdSendSignal(process, n, nil, 0)
			}
		}
	}
}

// reap waits for one child, and buries every other that comes by: a subreaper
// gets the container's orphans.
func reap(pid int) (ws unix.WaitStatus) {
	for {
		got, err := unix.Wait4(-1, &ws, 0, nil)
		if got == pid || err != nil && err != unix.EINTR {
			return ws
		}
	}
}
