package engine

import (
	"errors"
	"io"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"berth/internal/shim"
)

// session is the only Session: a connection to a shim.
type session struct {
	conn     *shim.Conn
	dir      string // the container's, if this is its first process
	stdin    bool
	detached atomic.Bool
}

func (s *session) Copy(in io.Reader, out, errw io.Writer) (ExitStatus, error) {
	if s.stdin && in != nil {
		go s.feed(in)
	}
	x, err := s.conn.Pump(out, errw)
	if s.detached.Load() {
		return ExitStatus{Detached: true}, nil
	}
	if errors.Is(err, shim.ErrGone) {
		return ExitStatus{Code: 128 + int(unix.SIGKILL)}, nil
	}
	if err != nil {
		return ExitStatus{}, err
	}
	return ExitStatus{Code: x.Code}, nil
}

// feed passes input on until it ends or the person detaches.
func (s *session) feed(in io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if _, werr := s.conn.Write(buf[:n]); werr != nil {
				return
			}
		}
		if errors.Is(err, ErrDetached) {
			s.detached.Store(true)
			s.conn.Detach()
			s.conn.Close()
			return
		}
		if err != nil {
			s.conn.CloseWrite()
			return
		}
	}
}

func (s *session) Resize(height, width uint) error { return s.conn.Resize(height, width) }

// Signal to a first process takes a connection of its own: ours may be full of
// input that the program does not read.
func (s *session) Signal(sig int) error {
	if s.dir == "" {
		return s.conn.Signal(sig)
	}
	return shim.Signal(s.dir, sig)
}

func (s *session) Close() error {
	s.conn.Detach()
	return s.conn.Close()
}
