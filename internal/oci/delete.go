package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/state"
	"berth/internal/sys"
)

func deleteVerb() *verb {
	force := false
	v := &verb{name: "delete", words: "<container-id>", min: 1, max: 1, help: "remove what is left of a container"}
	v.options.toggle(&force, "force,f", "also when it still runs: it is killed")
	v.run = func(a *app, words []string) error {
		a.sweep()
		c, tx, err := a.holdToDelete(words[0], force)
		if force && err == errNotExist {
			return nil
		} else if err != nil {
			return err
		}
		defer tx.Unlock()
		switch s := c.status(); {
		case s == specs.StateStopped || s == specs.StateCreated || force:
			return a.destroy(c)
		default:
			return fmt.Errorf("cannot delete container %s that is not stopped: %s", c.ID, s)
		}
	}
	return v
}

// patience is how long a killed process may take to go, and a command that
// makes the container to notice.
const patience = 10 * time.Second

// holdToDelete takes the lock. Whoever makes or starts the container holds it,
// perhaps because of a hook that hangs: with force that one is ended.
func (a *app) holdToDelete(id string, force bool) (*container, *state.Tx, error) {
	if !force {
		return a.hold(id)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		c, err := a.load(id)
		if err != nil {
			return nil, nil, err
		}
		tx, err := state.TryLock(filepath.Join(c.dir, lockFile))
		if err == nil {
			if c, err = a.load(id); err != nil {
				tx.Unlock()
			}
			return c, tx, err
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil, errNotExist
		} else if !errors.Is(err, state.ErrLocked) {
			return nil, nil, err
		}
		c.signal(unix.SIGKILL)
		if time.Now().After(deadline) {
			send(c.Maker, unix.SIGKILL)
			deadline = deadline.Add(patience)
		}
	}
}

// destroy ends a container and removes all of it. It can be called again
// after it failed or was killed.
func (a *app) destroy(c *container) error {
	spec, err := c.config()
	if err != nil {
		return err
	}
	if err := c.signal(unix.SIGKILL); err != nil && err != errNotRunning {
		return err
	}
	if !c.gone(patience) {
		return errors.New("container init still running")
	}
	if err := a.removeGroup(c, spec); err != nil {
		return err
	}
	if err := removeRdt(c.Rdt); err != nil {
		return err
	}
	gone := filepath.Join(a.root, gonePrefix+state.Self().String()+"-"+c.ID)
	if err := os.Rename(c.dir, gone); err != nil {
		return err
	}
	if spec.Hooks != nil {
		place := hookPlace{stage: "poststop", state: c.ociState(specs.StateStopped)}
		for i := range spec.Hooks.Poststop { // one that fails keeps no other from running
			if err := place.run(spec.Hooks.Poststop[i : i+1]); err != nil {
				a.log.warningf("%v", err)
			}
		}
	}
	return sys.RemoveAll(gone)
}

// gone waits until the first process has ended. Whose child it is may leave it
// as a zombie.
func (c *container) gone(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		if _, ok := look(c.Init); !ok {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		fd, err := unix.PidfdOpen(c.Init.Pid, 0)
		if err != nil {
			continue
		}
		if _, ok := look(c.Init); ok {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			unix.Poll(poll, int(min(limit, time.Hour).Milliseconds()))
		}
		unix.Close(fd)
	}
}
