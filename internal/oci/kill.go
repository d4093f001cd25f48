package oci

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/state"
)

func killVerb() *verb {
	all := false
	v := &verb{name: "kill", words: "<container-id> [signal]", min: 1, max: 2, help: "send a signal (default: SIGTERM) to a container's first process"}
	v.options.toggle(&all, "all,a", "send it to every process of the container")
	v.run = func(a *app, words []string) error {
		c, err := a.load(words[0])
		if err != nil {
			return err
		}
		sig := unix.SIGTERM
		if len(words) > 1 {
			if sig, err = parseSignal(words[1]); err != nil {
				return err
			}
		}
		if all {
			return c.signalAll(sig)
		}
		return c.signal(sig)
	}
	return v
}

var errNotRunning = errors.New("container not running")

// signal sends a signal to the first process.
func (c *container) signal(sig unix.Signal) error {
	err := send(c.Init, sig)
	if errors.Is(err, unix.ESRCH) {
		return errNotRunning
	} else if err != nil {
		return fmt.Errorf("unable to signal init: %w", err)
	}
	// A frozen process of version 1 dies only after it has been thawed.
	if sig == unix.SIGKILL && c.Group != nil && c.Group.Frozen() {
		return c.Group.Thaw()
	}
	return nil
}

// signalAll sends a signal to all processes of the container. They are held
// still meanwhile, so that none forks away from under the signal. That there
// is none is no error.
func (c *container) signalAll(sig unix.Signal) error {
	if c.Group == nil || len(c.Group.Dirs) == 0 {
		err := c.signal(sig)
		if err == errNotRunning {
			return nil
		}
		return err
	}
	still := c.status() == paused
	frozen := c.Group.Freeze() == nil
	failed := c.Group.Signal(sig)
	if frozen && (!still || sig == unix.SIGKILL) {
		failed = errors.Join(failed, c.Group.Thaw())
	}
	return failed
}

// send sends a signal to exactly that process, unless it has ended and only
// waits to be reaped.
func send(o state.Owner, sig unix.Signal) error {
	if _, ok := look(o); !ok {
		return unix.ESRCH
	}
	return o.Signal(sig)
}

// parseSignal reads a number or a name, with or without SIG.
func parseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("unknown signal %q", s)
		}
		return unix.Signal(n), nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	// signal(7): the C libraries keep the first two for themselves.
	const rtMin, rtMax = 34, 64
	n := 0
	if rest, ok := strings.CutPrefix(name, "SIGRTMIN"); ok && realtime(rest, '+', &n) && rtMin+n <= rtMax {
		return unix.Signal(rtMin + n), nil
	}
	if rest, ok := strings.CutPrefix(name, "SIGRTMAX"); ok && realtime(rest, '-', &n) && rtMax-n >= rtMin {
		return unix.Signal(rtMax - n), nil
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

// realtime reads what may follow SIGRTMIN and SIGRTMAX: nothing, or a sign and
// a number.
func realtime(rest string, sign byte, n *int) bool {
	if rest == "" {
		return true
	}
	var err error
	*n, err = strconv.Atoi(rest[1:])
	return rest[0] == sign && err == nil && *n >= 0
}

func pauseVerb() *verb {
	v := &verb{name: "pause", words: "<container-id>", min: 1, max: 1, help: "hold all processes of a container still"}
	v.run = func(a *app, words []string) error {
		c, tx, err := a.hold(words[0])
		if err != nil {
			return err
		}
		defer tx.Unlock()
		if s := c.status(); s != specs.StateRunning && s != specs.StateCreated {
			return errNotRunning
		}
		if c.Group == nil {
			return errors.New("cannot pause: the container has no control group")
		}
		return c.Group.Freeze()
	}
	return v
}

func resumeVerb() *verb {
	v := &verb{name: "resume", words: "<container-id>", min: 1, max: 1, help: "let a container that was paused go on"}
	v.run = func(a *app, words []string) error {
		c, tx, err := a.hold(words[0])
		if err != nil {
			return err
		}
		defer tx.Unlock()
		if c.status() != paused {
			return errors.New("container not paused")
		}
		return c.Group.Thaw()
	}
	return v
}
