package state

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process holds the lock.
var ErrLocked = errors.New("in use by another berth process")

// Tx is a held lock and the right to change what it guards: functions that
// write take one, so that forgetting the lock does not compile.
type Tx struct{ f *os.File }

// Lock takes the exclusive lock file at path, made when missing, and waits for
// it. The kernel drops the lock when the process ends.
func Lock(path string) (*Tx, error) { return lock(path, unix.LOCK_EX) }

// TryLock is [Lock] that answers [ErrLocked] instead of waiting.
func TryLock(path string) (*Tx, error) { return lock(path, unix.LOCK_EX|unix.LOCK_NB) }

// RLock takes the lock shared: many holders, none beside an exclusive one.
func RLock(path string) (*Tx, error) { return lock(path, unix.LOCK_SH) }

func lock(path string, how int) (*Tx, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("cannot lock: %w", err)
		}
		for {
			err = unix.Flock(int(f.Fd()), how)
			if err != unix.EINTR {
				break
			}
		}
		if err != nil {
			f.Close()
			if err == unix.EWOULDBLOCK {
				return nil, ErrLocked
			}
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		// The file may have been removed with its folder, and a new one
		// made, while we waited: then we hold a lock nobody sees.
		if stillLinked(f, path) {
			return &Tx{f: f}, nil
		}
		f.Close()
	}
}

func stillLinked(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// Unlock releases the lock. It may be called more than once.
func (t *Tx) Unlock() {
	if t != nil && t.f != nil {
		t.f.Close()
		t.f = nil
	}
}

// File is the open file that the lock is on: as long as a copy of its descriptor
// is open anywhere, the lock is held.
func (t *Tx) File() *os.File { return t.f }
