package term

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errTimeout says that no byte came in the time given.
var errTimeout = errors.New("no input in time")

// Input reads a file in a way that can be called off. A plain read of a
// terminal cannot: it would sit there after the program in the container has
// ended, and swallow the first key that is meant for the shell.
type Input struct {
	fd   int
	wake *os.File
	hold *os.File // keeps the file open while it is polled
	end  func() error
}

// NewInput returns a reader of f. Close it when done; f stays open. Where end is
// given it is called at the end of f, and the error it returns is the
// reader's: the end of a pipe is news for a program, while that of a terminal
// is a window that was closed.
func NewInput(f *os.File, end func() error) (*Input, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &Input{fd: int(f.Fd()), wake: os.NewFile(uintptr(wake), "wake"), hold: f, end: end}, nil
}

// Read returns bytes as they come, and io.EOF after Stop.
func (in *Input) Read(p []byte) (int, error) { return in.read(p, -1) }

// Stop makes a waiting read, and every later one, return io.EOF.
func (in *Input) Stop() {
	// Eight bytes, the counter of the eventfd; it stays above zero.
	_, _ = in.wake.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// Close stops reading and frees what the reader holds.
func (in *Input) Close() error {
	in.Stop()
	return in.wake.Close()
}

// read waits for bytes, at most for a time that is not negative.
func (in *Input) read(p []byte, wait time.Duration) (int, error) {
	var deadline time.Time
	if wait >= 0 {
		deadline = time.Now().Add(wait)
	}
	conn, err := in.wake.SyscallConn()
	if err != nil {
		return 0, io.EOF
	}
	n := 0
	var readErr error
	// The eventfd stays open during the poll, whoever closes it meanwhile.
	err = conn.Control(func(wake uintptr) { n, readErr = in.pollRead(p, int(wake), deadline) })
	if err != nil {
		return 0, io.EOF
	}
	return n, readErr
}

func (in *Input) pollRead(p []byte, wake int, deadline time.Time) (int, error) {
	for {
		fds := []unix.PollFd{
			{Fd: int32(in.fd), Events: unix.POLLIN},
			{Fd: int32(wake), Events: unix.POLLIN},
		}
		timeout := -1
		if !deadline.IsZero() {
			timeout = max(0, int(time.Until(deadline).Milliseconds()))
		}
		n, err := unix.Poll(fds, timeout)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, os.NewSyscallError("poll", err)
		case fds[1].Revents != 0:
			return 0, io.EOF
		case n == 0:
			return 0, errTimeout
		}
		n, err = unix.Read(in.fd, p)
		switch {
		case err == unix.EINTR, err == unix.EAGAIN:
			continue
		case n <= 0 && in.end != nil:
			return 0, in.end()
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n <= 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
