package shim

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/logs"
)

// hub spreads a program's output: to the log, to a memory of the latest, and
// to every client that is connected.
type hub struct {
	mu      sync.Mutex
	clients map[*Conn]bool
	log     *logs.Writer // nil: none
	latest  []byte       // terminal only, for those who attach later
	keep    int
	tap     io.Writer       // nil: nobody else reads along
	late    *sync.WaitGroup // counts clients that have not taken all yet
}

func newHub(log *logs.Writer, keep int, late *sync.WaitGroup) *hub {
	return &hub{clients: map[*Conn]bool{}, log: log, keep: keep, late: late}
}

// join connects a client; with replay it gets the latest output first.
func (h *hub) join(c *Conn, replay bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if replay && len(h.latest) > 0 {
		c.send(frameStdout, h.latest)
	}
	h.clients[c] = true
}

func (h *hub) leave(c *Conn) {
	h.mu.Lock()
	delete(h.clients, c)
	h.mu.Unlock()
}

// write blocks while a client is slow, as a pipe would. A client that is gone
// drops out.
func (h *hub) write(kind byte, p []byte) {
	h.log.Write(streamOf(kind), p)
	if h.tap != nil {
		h.tap.Write(p)
	}
	h.mu.Lock()
	if h.keep > 0 {
		h.latest = append(h.latest, p...)
		if over := len(h.latest) - h.keep; over > 0 {
			h.latest = h.latest[:copy(h.latest, h.latest[over:])]
		}
	}
	var one [4]*Conn
	to := one[:0]
	for c := range h.clients {
		to = append(to, c)
	}
	h.mu.Unlock()
	for _, c := range to {
		if c.send(kind, p) != nil {
			h.leave(c)
		}
	}
}

func streamOf(kind byte) logs.Stream {
	if kind == frameStderr {
		return logs.Stderr
	}
	return logs.Stdout
}

// spill keeps what slow clients do not take, instead of waiting for them.
func (h *hub) spill() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		c.spill()
	}
}

// finish tells every client how the program ended, without waiting for any.
func (h *hub) finish(x Exit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		h.late.Add(1)
		go func() {
			defer h.late.Done()
			c.finish(frameExit, x)
		}()
	}
	clear(h.clients)
}

// stdio is the shim's end of one program's streams.
type stdio struct {
	hub   *hub
	tty   bool
	input *os.File // write end of stdin, or the terminal's master; nil when closed
	mu    sync.Mutex
	pumps sync.WaitGroup
	outs  []*os.File
}

// pipes makes the three pipes and returns the program's ends. With no open
// stdin the program reads the null device.
func (s *stdio) pipes(openStdin bool) ([3]*os.File, error) {
	var theirs [3]*os.File
	var err error
	if openStdin {
		theirs[0], s.input, err = os.Pipe()
	} else {
		theirs[0], err = os.Open(os.DevNull)
	}
	for i := 1; i < 3 && err == nil; i++ {
		var r *os.File
		if r, theirs[i], err = os.Pipe(); err == nil {
			s.outs = append(s.outs, r)
		}
	}
	if err != nil {
		closeAll(theirs[:])
		closeAll(s.outs)
		s.closeInput()
	}
	return theirs, err
}

func closeAll(fs []*os.File) {
	for _, f := range fs {
		if f != nil {
			f.Close()
		}
	}
}

// terminal takes over the master that the program has passed.
func (s *stdio) terminal(master *os.File) {
	s.input = master
	s.outs = []*os.File{master}
}

// start begins to copy output.
func (s *stdio) start() {
	for i, f := range s.outs {
		kind := byte(frameStdout)
		if i == 1 {
			kind = frameStderr
		}
		s.pumps.Add(1)
		go s.pump(f, kind)
	}
}

func (s *stdio) pump(f *os.File, kind byte) {
	defer s.pumps.Done()
	buf := make([]byte, 16<<10)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			s.hub.write(kind, buf[:n])
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.rest(f, kind, buf)
		}
		if err != nil { // a terminal's end is EIO
			return
		}
	}
}

// rest copies what f holds at this moment, which is no more than a pipe can.
func (s *stdio) rest(f *os.File, kind byte, buf []byte) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	for left := 1 << 20; left > 0; {
		n := 0
		raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), buf) })
		if n <= 0 {
			return
		}
		s.hub.write(kind, buf[:n])
		left -= n
	}
}

// Once a program has ended, grace is how long processes that it left behind can
// still write into its pipes, and patience how long clients hold up its end.
const (
	grace    = 200 * time.Millisecond
	patience = 300 * time.Millisecond
)

// drain waits until all output is copied, or kept for clients that are slow.
func (s *stdio) drain() {
	for _, f := range s.outs {
		f.SetReadDeadline(time.Now().Add(grace))
	}
	done := make(chan struct{})
	go func() { s.pumps.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(grace + patience):
		s.hub.spill()
		<-done
	}
	s.closeInput()
	s.mu.Lock()
	s.input = nil
	s.mu.Unlock()
	closeAll(s.outs)
}

func (s *stdio) write(p []byte) {
	s.mu.Lock()
	in := s.input
	s.mu.Unlock()
	if in != nil {
		in.Write(p)
	}
}

// closeInput ends standard input. A terminal has no end of input; its program
// sees a hang-up when the master closes.
func (s *stdio) closeInput() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.input != nil && !s.tty {
		s.input.Close()
		s.input = nil
	}
}

func (s *stdio) resize(height, width uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tty || s.input == nil {
		return
	}
	// Not Fd: that would make the terminal's reads blocking.
	raw, err := s.input.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) {
			unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
		})
	}
}

// checkMaster makes sure that what a container has passed as the master of a
// terminal is one: a hostile /dev/pts could hold anything.
func checkMaster(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	// Only a master has the number of a slave (ioctl_tty(2)).
	_, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPTN)
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(5, 2) || err != nil {
		return &Failure{Message: "the container's /dev/pts/ptmx is not a terminal multiplexer"}
	}
	return nil
}
