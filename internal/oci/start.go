package oci

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	crt "berth/internal/runtime"
)

func startVerb() *verb {
	v := &verb{name: "start", words: "<container-id>", min: 1, max: 1, help: "run the program of a container that create has made"}
	v.run = func(a *app, words []string) error {
		c, tx, err := a.hold(words[0])
		if err != nil {
			return err
		}
		defer tx.Unlock()
		switch s := c.status(); s {
		case specs.StateCreated:
			return a.start(c)
		case specs.StateStopped:
			return errors.New("cannot start a container that has stopped")
		case specs.StateRunning:
			return errors.New("cannot start an already running container")
		default:
			return fmt.Errorf("cannot start a container in the %s state", s)
		}
	}
	return v
}

// start lets the first process go on to the user's program.
func (a *app) start(c *container) error {
	var spec *specs.Spec
	if c.StartHooks {
		var err error
		if spec, err = c.config(); err != nil {
			return err
		}
	}
	conn, err := c.knock()
	if err != nil {
		return err
	}
	defer conn.Close()
	err = crt.Start(conn, c.Rest, crt.Events{Pause: func(crt.Stage, int) error {
		if spec == nil {
			return nil
		}
		return c.startHooks(spec)
	}}, c.Init.Pid)
	if err != nil {
		return startError(err)
	}
	if err := os.Remove(c.path(socketFile)); err != nil {
		a.log.debugf("%v", err)
	}
	if spec == nil {
		return nil
	}
	return a.started(c, spec)
}

// started runs the hooks that come when the program runs. One that fails ends
// the container.
func (a *app) started(c *container, s *specs.Spec) error {
	if s.Hooks == nil {
		return nil
	}
	err := hookPlace{stage: "poststart", state: c.ociState(specs.StateRunning)}.run(s.Hooks.Poststart)
	if err == nil {
		return nil
	}
	if e := c.signal(unix.SIGKILL); e != nil && e != errNotRunning {
		a.log.warningf("%v", e)
	}
	return err
}

// A socket's path may have 107 letters (unix(7)), and a container's folder may
// be longer. So it is reached through a descriptor of the folder.

// listen opens the socket at which the container waits to be started.
func (c *container) listen() (*os.File, error) {
	return c.socket(func(fd int, at *unix.SockaddrUnix) error {
		if err := unix.Bind(fd, at); err != nil {
			return os.NewSyscallError("bind", err)
		}
		return os.NewSyscallError("listen", unix.Listen(fd, 1))
	})
}

// knock connects to it.
func (c *container) knock() (*os.File, error) {
	return c.socket(func(fd int, at *unix.SockaddrUnix) error {
		return os.NewSyscallError("connect", unix.Connect(fd, at))
	})
}

func (c *container) socket(use func(fd int, at *unix.SockaddrUnix) error) (*os.File, error) {
	dir, err := unix.Open(c.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: c.dir, Err: err}
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := use(fd, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(dir) + "/" + socketFile}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot use the start socket of container %s: %w", c.ID, err)
	}
	return os.NewFile(uintptr(fd), socketFile), nil
}
