package foreign

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// listener hears on a socket over which a runtime passes the master of a
// terminal (--console-socket).
type listener struct {
	path string
	fd   int
}

// socketPath is how long the path of a socket may be, bytes (unix(7)).
const socketPath = 107

// listen makes the socket in the runtime's state folder, or in /tmp should that
// have a path too long for one: the runtime is given it by its path.
func listen(state string) (*listener, error) {
	if len(state)+len("/.tty-0123456789/s") > socketPath {
		state = "/tmp"
	}
	dir, err := os.MkdirTemp(state, ".tty-")
	if err != nil {
		return nil, err
	}
	l := &listener{path: filepath.Join(dir, "s"), fd: -1}
	l.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(l.fd, &unix.SockaddrUnix{Name: l.path})
	}
	if err == nil {
		err = unix.Listen(l.fd, 1)
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("cannot listen at %s: %w", l.path, err)
	}
	return l, nil
}

func (l *listener) close() {
	if l.fd >= 0 {
		unix.Close(l.fd)
	}
	sys.RemoveAll(filepath.Dir(l.path))
}

// receive returns the terminal that has been passed. The runtime has ended by
// then, so whatever it had to say is here: nothing is waited for.
func (l *listener) receive() (*os.File, error) {
	c, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return nil, errors.New("the runtime passed no terminal")
	}
	defer unix.Close(c)
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(c, make([]byte, 4096), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) == 0 {
		return nil, errors.New("the runtime passed no terminal")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("the runtime passed no terminal")
	}
	return os.NewFile(uintptr(fds[0]), "ptmx"), nil
}
