package wire

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/state"
)

// Names of the holder's files, in the part of the data root that belongs to the
// machine. The holder has a lock on the second as long as it lives.
const (
	SocketFile = "net.sock"
	LockFile   = "net.lock"
)

// Arg0 is the name that a holder is started under. Its arguments are the data
// root, Account for an ordinary account, and Again for one that takes the place of
// another and finds that one's network namespace.
const (
	Arg0    = "berth-net"
	Account = "account"
	Again   = "again"
)

// patience is how long a holder may take to end after it has closed its socket.
const patience = 10 * time.Second

// ErrNoHolder says that there is no holder.
var ErrNoHolder = errors.New("no network is in use")

// Dial connects to the holder of a data root, or answers [ErrNoHolder].
func Dial(dir *state.Dir) (*Conn, error) {
	s, done, err := socketIn(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	fd, err := seqpacket()
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, s); err != nil {
		unix.Close(fd)
		if err == unix.ENOENT || err == unix.ECONNREFUSED {
			return nil, ErrNoHolder
		}
		return nil, fmt.Errorf("cannot reach the holder of networks: %w", err)
	}
	return NewConn(fd), nil
}

// Reach connects to the holder of a data root. If there is none, start makes one
// that gets the listening socket and the lock. Who comes while it starts, waits
// at the socket. It reports whether a new one was started.
func Reach(dir *state.Dir, start func(socket, lock *os.File) error) (c *Conn, fresh bool, err error) {
	for since := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if c, err = Dial(dir); !errors.Is(err, ErrNoHolder) {
			return c, fresh, err
		}
		lock, err := state.TryLock(dir.Path(LockFile))
		switch {
		case errors.Is(err, state.ErrLocked) && time.Since(since) < patience:
			continue // it is about to end, or has just been started
		case errors.Is(err, state.ErrLocked):
			return nil, false, errors.New("the holder of networks neither answers nor ends: look for the process berth-net")
		case err != nil:
			return nil, false, err
		}
		// Somebody may have been faster between the two looks.
		if c, err = Dial(dir); !errors.Is(err, ErrNoHolder) {
			lock.Unlock()
			return c, false, err
		}
		err = begin(dir, lock, start)
		lock.Unlock() // the holder's copy holds it
		if err != nil {
			return nil, false, err
		}
		fresh = true
	}
}

func begin(dir *state.Dir, lock *state.Tx, start func(socket, lock *os.File) error) error {
	os.Remove(dir.Path(SocketFile))
	s, done, err := socketIn(dir)
	if err != nil {
		return err
	}
	defer done()
	fd, err := seqpacket()
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), SocketFile)
	defer f.Close()
	if err := unix.Bind(fd, s); err != nil {
		return fmt.Errorf("cannot make %s: %w", dir.Path(SocketFile), err)
	}
	if err := unix.Listen(fd, 512); err != nil {
		return os.NewSyscallError("listen", err)
	}
	return start(f, lock.File())
}

// socketIn is the address of the socket by way of a descriptor of its folder,
// since an address may not exceed 107 bytes.
func socketIn(dir *state.Dir) (s *unix.SockaddrUnix, done func(), err error) {
	path := dir.Path(SocketFile)
	d, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	return &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", d, SocketFile)}, func() { unix.Close(d) }, nil
}

func seqpacket() (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	return fd, os.NewSyscallError("socket", err)
}
