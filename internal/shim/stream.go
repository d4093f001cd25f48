package shim

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// hub spreads a program's output: to the log, to a memory of the latest, and
// to every client that is connected.
type hub struct {
	mu      sync.Mutex
	clients map[*Conn]bool
	log     *logger // nil: none
	latest  []byte  // terminal only, for those who attach later
	keep    int
}

func newHub(log *logger, keep int) *hub {
	return &hub{clients: map[*Conn]bool{}, log: log, keep: keep}
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
	h.log.write(kind, p)
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

// finish tells every client how the program ended.
func (h *hub) finish(x Exit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		c.sendJSON(frameExit, x)
		c.Close()
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
		go func() {
			defer s.pumps.Done()
			buf := make([]byte, 16<<10)
			for {
				n, err := f.Read(buf)
				if n > 0 {
					s.hub.write(kind, buf[:n])
				}
				if err != nil { // a terminal's end is EIO
					return
				}
			}
		}()
	}
}

// drain waits until all output is copied. Where other processes may hold the
// pipes open it does not wait longer than grace.
func (s *stdio) drain(grace time.Duration) {
	done := make(chan struct{})
	go func() { s.pumps.Wait(); close(done) }()
	if grace > 0 {
		select {
		case <-done:
		case <-time.After(grace):
		}
	} else {
		<-done
	}
	s.closeInput()
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
	if s.input != nil {
		if !s.tty {
			s.input.Close()
		}
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
	var fs unix.Statfs_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(5, 2) || int64(fs.Type) != unix.DEVPTS_SUPER_MAGIC {
		return &Failure{Message: "the container's /dev/pts/ptmx is not a terminal multiplexer"}
	}
	return nil
}
