package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Ask and Answer are the messages for [Attach] that works, to the byte: what
// starts a container can neither make nor understand others.
const (
	AskAttach = `{"v":1,"attach":{}}`
	Attached  = `{"v":1}`
)

const (
	maxMessage = 160 << 10 // below the buffer of a socket, 208 KiB
	maxFiles   = 8
)

// Conn is one end of a connection between a holder and a client.
type Conn struct{ f *os.File }

// NewConn takes over a connected SOCK_SEQPACKET socket.
func NewConn(fd int) *Conn {
	unix.SetNonblock(fd, true)
	return &Conn{f: os.NewFile(uintptr(fd), "net.sock")}
}

// File is the socket itself, to be handed on.
func (c *Conn) File() *os.File { return c.f }

// Close ends the connection at this end.
func (c *Conn) Close() error { return c.f.Close() }

// Send sends one message with descriptors.
func (c *Conn) Send(v any, files ...*os.File) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return fmt.Errorf("a message of %d bytes about networks is too long", len(b))
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	raw, err := c.f.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(s uintptr) bool {
		sent = unix.Sendmsg(int(s), b, oob, nil, unix.MSG_NOSIGNAL)
		return sent != unix.EAGAIN
	})
	return errors.Join(err, os.NewSyscallError("sendmsg", sent))
}

// Receive receives one message into v. [io.EOF] says that the other end is gone.
func (c *Conn) Receive(v any) (files []*os.File, err error) {
	buf, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*maxFiles))
	raw, err := c.f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var n, oobn, flags int
	var failed error
	err = raw.Read(func(s uintptr) bool {
		n, oobn, flags, _, failed = unix.Recvmsg(int(s), buf, oob, unix.MSG_CMSG_CLOEXEC)
		return failed != unix.EAGAIN
	})
	switch {
	case err != nil:
		return nil, err
	case failed == unix.ECONNRESET || failed == nil && n == 0:
		return nil, io.EOF
	case failed != nil:
		return nil, os.NewSyscallError("recvmsg", failed)
	}
	files = rights(oob[:oobn])
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("a message about networks was cut off")
	} else {
		err = json.Unmarshal(buf[:n], v)
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

// Gone returns when the other end is closed. What comes meanwhile is left to be
// read by somebody else.
func (c *Conn) Gone() {
	raw, err := c.f.SyscallConn()
	if err != nil {
		return
	}
	raw.Read(func(s uintptr) bool {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(s), b[:], unix.MSG_PEEK)
		return err != unix.EAGAIN && n <= 0
	})
}

// Ask sends a request and waits for the answer. An error of the holder's is
// returned in the answer.
func (c *Conn) Ask(q *Request, files ...*os.File) (*Response, []*os.File, error) {
	q.V = 1
	if err := c.Send(q, files...); err != nil {
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			err = io.EOF
		}
		return nil, nil, err
	}
	a := new(Response)
	got, err := c.Receive(a)
	if err == nil && a.Files != len(got) {
		closeAll(got)
		return nil, nil, errors.New("descriptors were lost on the way from the holder of networks")
	}
	return a, got, err
}

func rights(oob []byte) (files []*os.File) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
