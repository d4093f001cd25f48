package ports

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// chunk is how much goes through a pipe at once, and how big a pipe is: the
// default of pipe-max-size in pipe(7).
const chunk = 1 << 20

// pipes are what bytes pass on their way from one socket to another. A connection
// has one only while there are bytes in it. That is why this is not left to
// io.Copy, which keeps one for each direction as long as a connection lives: what
// all pipes of an account may hold together is limited (pipe-user-pages-soft in
// pipe(7): 64 MiB), and when that is used up, every new pipe of the account's,
// also in containers, holds 8 KiB.
type pipes chan *pipe

type pipe struct{ r, w int }

// pipesAtOnce is a half of what an account may have at that size. A connection
// that finds none copies through memory.
const pipesAtOnce = 32

func newPipes() pipes {
	out := make(pipes, pipesAtOnce)
	for range pipesAtOnce {
		out <- &pipe{-1, -1} // made when it is needed first
	}
	return out
}

// get returns a pipe, or nil when all are in use or there can be no more.
func (s pipes) get() *pipe {
	select {
	case p := <-s:
		if p.r >= 0 || p.open() {
			return p
		}
		s <- p
	default:
	}
	return nil
}

// put gives an empty pipe back.
func (s pipes) put(p *pipe) { s <- p }

// drop gives back a pipe that has something in it.
func (s pipes) drop(p *pipe) {
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
	p.r, p.w = -1, -1
	s <- p
}

func (p *pipe) open() bool {
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return false
	}
	p.r, p.w = fds[0], fds[1]
	_, _ = unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, chunk) // smaller is slower, no more
	return true
}

// move copies from one connection to the other until the end of what comes. With
// an error it tells whether that was in reading.
func (s pipes) move(to, from *net.TCPConn) (reading bool, err error) {
	in, err := from.SyscallConn()
	if err != nil {
		return true, err
	}
	out, err := to.SyscallConn()
	if err != nil {
		return false, err
	}
	for more := true; more && err == nil; {
		more, reading, err = s.step(to, from, out, in)
	}
	return reading, err
}

// step copies what has come, and waits for that.
func (s pipes) step(to, from *net.TCPConn, out, in syscall.RawConn) (more, reading bool, err error) {
	p, n, err := s.fill(in)
	switch {
	case err != nil:
		return false, true, err
	case p == nil:
		return throughMemory(to, from)
	case n == 0:
		s.put(p)
		return false, true, nil
	}
	if err := empty(out, p, n); err != nil {
		s.drop(p)
		return false, false, err
	}
	s.put(p)
	return true, false, nil
}

// fill waits for bytes and takes them into a pipe; none where no pipe is free.
func (s pipes) fill(in syscall.RawConn) (p *pipe, n int64, err error) {
	werr := in.Read(func(fd uintptr) bool {
		if p = s.get(); p == nil {
			err = nil // of an earlier try
			return true
		}
		for {
			n, err = unix.Splice(int(fd), nil, p.w, nil, chunk, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
			if err != unix.EINTR {
				break
			}
		}
		if err != nil {
			s.put(p)
			p = nil
		}
		return err != unix.EAGAIN
	})
	if werr != nil {
		return nil, 0, werr // closed while we waited
	}
	return p, n, os.NewSyscallError("splice", err)
}

// empty sends what is in a pipe.
func empty(out syscall.RawConn, p *pipe, n int64) error {
	var err error
	werr := out.Write(func(fd uintptr) bool {
		for n > 0 {
			var sent int64
			sent, err = unix.Splice(p.r, nil, int(fd), nil, int(n), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
			switch err {
			case nil:
				n -= sent
			case unix.EINTR:
			default:
				return err != unix.EAGAIN
			}
		}
		return true
	})
	if werr != nil {
		return werr
	}
	return os.NewSyscallError("splice", err)
}

// throughMemory is a step without a pipe.
func throughMemory(to, from *net.TCPConn) (more, reading bool, err error) {
	b := make([]byte, 32<<10)
	n, err := from.Read(b)
	if n == 0 || err != nil {
		if err == io.EOF {
			err = nil
		}
		return false, true, err
	}
	if _, err = to.Write(b[:n]); err != nil {
		return false, false, err
	}
	return true, false, nil
}
