package shim

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/cgroup"
	"berth/internal/nsinit"
)

// A connection carries frames: one byte of kind, four of length (big endian),
// the payload. The first frame of a client is a request; a session of an attach
// or exec follows on the same connection.
const (
	framePlan    = 'P' // Plan, on the control connection only
	frameProgram = 'G' // the program of the plan or exec that came before
	frameRequest = 'R' // Request
	frameStarted = 'S' // Started: the program runs
	frameError   = 'E' // Failure: it does not
	frameStdin   = 'i' // bytes for standard input
	frameEOF     = 'c' // no more standard input
	frameResize  = 'w' // two uint16: height, width
	frameSignal  = 'k' // one byte: signal number
	frameDetach  = 'd' // the client leaves on purpose
	frameStdout  = '1'
	frameStderr  = '2'
	frameExit    = 'x' // Exit
)

// maxFrame bounds a payload. Plans with a large environment are the biggest.
const maxFrame = 16 << 20

// Request is what a client asks on shim.sock.
type Request struct {
	Kind       string            `json:"kind"` // attach, exec, signal, stop, wait, hold, pause, unpause, update
	Stdin      bool              `json:"stdin,omitempty"`
	Replay     bool              `json:"replay,omitempty"`     // attach: the latest output first
	Signal     int               `json:"signal,omitempty"`     // signal, stop
	Timeout    int               `json:"timeout,omitempty"`    // stop: seconds; negative waits for ever
	Program    *nsinit.Program   `json:"-"`                    // exec; follows in a frame of its own
	Tty        bool              `json:"tty,omitempty"`        // exec
	Detach     bool              `json:"detach,omitempty"`     // exec: nobody listens
	ExecID     string            `json:"execID,omitempty"`     // exec: what the event of its end calls it
	Attributes map[string]string `json:"attributes,omitempty"` // update: what describes it in events from now on, unless nil
	Restart    *RestartPolicy    `json:"restart,omitempty"`    // update: the policy from now on, unless nil
	Cgroup     *cgroup.Group     `json:"cgroup,omitempty"`     // update: the groups with those that new limits needed, unless nil
}

// Started tells that a program runs.
type Started struct {
	Pid int `json:"pid"`
}

// Exit tells how a program ended.
type Exit struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`
}

// Failure is an error on its way to another process.
type Failure struct {
	Message string `json:"message"`
	Call    string `json:"call,omitempty"` // the system call that failed
	What    string `json:"what,omitempty"`
	Errno   int    `json:"errno,omitempty"`
}

func (f *Failure) Error() string { return f.Message }

// Unwrap lets callers ask for the errno with [errors.Is].
func (f *Failure) Unwrap() error {
	if f.Errno == 0 {
		return nil
	}
	return unix.Errno(f.Errno)
}

func failureOf(err error) *Failure {
	if f, ok := err.(*Failure); ok {
		return f
	}
	f := &Failure{Message: err.Error()}
	if op, ok := err.(*nsinit.OpError); ok {
		f.Call, f.What, f.Errno = op.Op.Call, op.Op.What, int(op.Errno)
	}
	return f
}

// Conn is one end of a connection. Writes may come from many goroutines.
type Conn struct {
	f    *os.File
	mu   sync.Mutex
	w    []byte
	late []byte // see spill
	// Pid is the shim at the other end, for who has started it.
	Pid int
}

// NewConn takes over a socket.
func NewConn(fd int) *Conn {
	unix.SetNonblock(fd, true)
	return &Conn{f: os.NewFile(uintptr(fd), "shim.sock")}
}

// Dial connects to the shim of the container in dir. The path goes through a
// descriptor of the folder, since a socket's path may not exceed 107 bytes.
func Dial(dir string) (*Conn, error) {
	d, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(d)
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = unix.Connect(s, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", d, SocketFile)})
	if err != nil {
		unix.Close(s)
		return nil, os.NewSyscallError("connect", err)
	}
	return NewConn(s), nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.f.Close() }

// send writes one frame in one call.
func (c *Conn) send(kind byte, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w = append(c.w[:0], kind)
	c.w = binary.BigEndian.AppendUint32(c.w, uint32(len(payload)))
	c.w = append(c.w, payload...)
	n, err := c.f.Write(c.w)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.late = append(c.late, c.w[n:]...)
		err = nil
	}
	if cap(c.w) > 64<<10 {
		c.w = nil
	}
	return err
}

// spill ends the waiting for a peer that does not read, now and from here on:
// what it does not take is kept until finish.
func (c *Conn) spill() { c.f.SetWriteDeadline(time.Unix(1, 0)) }

// finish sends the last frame after what was kept, however long the peer takes,
// and closes.
func (c *Conn) finish(kind byte, v any) {
	c.sendJSON(kind, v)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.f.SetWriteDeadline(time.Time{})
	c.f.Write(c.late)
	c.f.Close()
}

func (c *Conn) sendJSON(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.send(kind, b)
}

func (c *Conn) sendProgram(p *nsinit.Program) error {
	b, err := p.AppendBinary(nil)
	if err != nil {
		return err
	}
	return c.send(frameProgram, b)
}

func (c *Conn) receiveProgram() (*nsinit.Program, error) {
	var buf []byte
	kind, b, err := c.receive(&buf)
	if err != nil {
		return nil, err
	}
	if kind != frameProgram {
		return nil, fmt.Errorf("unexpected frame %q instead of a program", kind)
	}
	p := new(nsinit.Program)
	return p, p.UnmarshalBinary(b)
}

// sendFiles sends descriptors with one byte, which is no frame.
func (c *Conn) sendFiles(files []*os.File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	raw, err := c.f.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(s uintptr) bool {
		sent = unix.Sendmsg(int(s), []byte{0}, unix.UnixRights(fds...), nil, 0)
		return sent != unix.EAGAIN
	})
	return errors.Join(err, os.NewSyscallError("sendmsg", sent))
}

// receiveFiles receives n of them.
func (c *Conn) receiveFiles(n int) (files []*os.File, err error) {
	raw, err := c.f.SyscallConn()
	if err != nil {
		return nil, err
	}
	oob := make([]byte, unix.CmsgSpace(4*n))
	var got int
	var failed error
	err = raw.Read(func(s uintptr) bool {
		_, got, _, _, failed = unix.Recvmsg(int(s), make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
		return failed != unix.EAGAIN
	})
	if err = errors.Join(err, os.NewSyscallError("recvmsg", failed)); err != nil {
		return nil, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:got])
	if err != nil || len(msgs) != 1 {
		return nil, errors.New("descriptors lost on the way to the shim")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), "user namespace"))
	}
	if err == nil && len(files) != n {
		err = errors.New("descriptors lost on the way to the shim")
	}
	return files, err
}

// receive reads one frame. The payload is valid until the next call with the
// same buffer, which is enlarged as needed.
func (c *Conn) receive(buf *[]byte) (byte, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(c.f, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint32(head[1:]))
	if n > maxFrame {
		return 0, nil, fmt.Errorf("frame of %d bytes on shim.sock", n)
	}
	if cap(*buf) < n {
		*buf = make([]byte, n)
	}
	p := (*buf)[:n]
	_, err := io.ReadFull(c.f, p)
	return head[0], p, err
}
