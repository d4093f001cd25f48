package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/internal/userns"
)

// Session is the open tree of one container. It serves one copy.
type Session struct {
	root  *Root  // in this process
	stage *stage // or in another one
}

// Namespaces says in what the stage runs.
type Namespaces struct {
	User     bool // as an ordinary account, which becomes root in it
	UID, GID int
	// Ranged is the user namespace of a container with more ids than the
	// account's own; nil: it has none.
	Ranged *os.File
}

// Local works on a root in this process.
func Local(root *Root) *Session { return &Session{root: root} }

// Attach hands the root of a running container to a stage, and closes it here.
func Attach(ctx context.Context, root *Root, ns Namespaces) (*Session, error) {
	defer root.Close()
	fd, err := unix.FcntlInt(uintptr(root.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "root")
	defer f.Close()
	return start(ctx, ns, begin{Inherited: true, Volumes: root.volumes}, f)
}

// Start has a stage mount the tree of a container that does not run. The
// caller sees to it that it is not started meanwhile.
func Start(ctx context.Context, l Layout, ns Namespaces) (*Session, error) {
	return start(ctx, ns, begin{Layout: &l})
}

// stage is the process that works for us.
type stage struct {
	end     func() // kills it and waits for it
	control *os.File
	in, out *os.File // its standard input and output
	replies *json.Decoder
	once    sync.Once
}

func start(ctx context.Context, ns Namespaces, b begin, root ...*os.File) (_ *Session, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	st := &stage{control: os.NewFile(uintptr(pair[0]), "control")}
	theirs := []*os.File{os.NewFile(uintptr(pair[1]), "control")}
	defer func() {
		closeAll(theirs)
		if err != nil {
			st.close()
		}
	}()
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	st.in = inW
	theirs = append(theirs, inR)
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	st.out = outR
	theirs = append(theirs, outW)
	files := append([]*os.File{inR, outW, os.Stderr, theirs[0]}, root...)
	if st.end, err = ns.launch(ctx, files); err != nil {
		return nil, err
	}
	closeAll(theirs) // or nobody would notice that it ends before it answers
	theirs = nil
	st.replies = json.NewDecoder(st.control)
	if _, err := st.ask(request{Begin: &b}); err != nil {
		return nil, err
	}
	return &Session{stage: st}, nil
}

// launch starts the stage, which is this program under another name. The end of
// the context ends it.
func (ns Namespaces) launch(ctx context.Context, files []*os.File) (end func(), err error) {
	const self = "/proc/self/exe"
	args, env := []string{Arg0}, []string{"GOMAXPROCS=2"}
	if ns.Ranged != nil {
		p, err := userns.Start(ns.Ranged, userns.Command{Path: self, Args: args, Env: env, Files: files, Namespaces: unix.CLONE_NEWNS})
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, p.Kill)
		return func() {
			stop()
			p.Kill()
			p.Wait()
		}, nil
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Args, cmd.Env = args, env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	cmd.ExtraFiles = files[3:]
	cmd.SysProcAttr = ns.attr()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		cmd.Process.Kill()
		cmd.Wait()
	}, nil
}

func (ns Namespaces) attr() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if ns.User {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{HostID: ns.UID, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{HostID: ns.GID, Size: 1}}
	}
	return a
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// close ends the stage.
func (s *stage) close() {
	s.once.Do(func() {
		for _, f := range []*os.File{s.control, s.in, s.out} {
			if f != nil {
				f.Close()
			}
		}
		if s.end != nil {
			s.end() // it has nothing left to do, whatever it does
		}
	})
}

func (s *stage) send(q request) error {
	b, err := json.Marshal(&q)
	if err != nil {
		return err
	}
	_, err = s.control.Write(b)
	return err
}

func (s *stage) receive() (reply, error) {
	var a reply
	if err := s.replies.Decode(&a); err != nil {
		return a, fmt.Errorf("the process that works on the container's files has ended: %w", err)
	}
	if a.Failure != nil {
		return a, a.Failure
	}
	return a, nil
}

func (s *stage) ask(q request) (reply, error) {
	if err := s.send(q); err != nil {
		return reply{}, err
	}
	return s.receive()
}

// Close ends the session.
func (s *Session) Close() {
	if s.root != nil {
		s.root.Close()
	}
	if s.stage != nil {
		s.stage.close()
	}
}

// Stat is [Root.Stat].
func (s *Session) Stat(p string) (Stat, error) {
	if s.root != nil {
		return s.root.Stat(p)
	}
	where := octets(p)
	a, err := s.stage.ask(request{Stat: &where})
	if err != nil {
		return Stat{}, err
	}
	a.Stat.Name, a.Stat.Target = string(a.Name), string(a.Target)
	return *a.Stat, nil
}

// Get is [Root.Pack].
func (s *Session) Get(ctx context.Context, p, name string, w io.Writer) (int64, error) {
	if s.root != nil {
		return s.root.Pack(ctx, w, p, name)
	}
	if err := s.stage.send(request{Get: &getRequest{Path: octets(p), Name: octets(name)}}); err != nil {
		return 0, err
	}
	if _, err := io.Copy(w, s.stage.out); err != nil {
		return 0, err
	}
	a, err := s.stage.receive()
	return a.Bytes, err
}

// Put is [Root.Unpack].
func (s *Session) Put(ctx context.Context, dir string, r io.Reader, opt UnpackOptions) (Unpacked, error) {
	if s.root != nil {
		return s.root.Unpack(ctx, r, dir, opt)
	}
	if err := s.stage.send(request{Put: &putRequest{Dir: octets(dir), Options: opt}}); err != nil {
		return Unpacked{}, err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(s.stage.in, r)
		sent <- err // before the stage can see the end
		s.stage.in.Close()
	}()
	// The stage may give up early, and r, a pipe perhaps, never end.
	a, err := s.stage.receive()
	if err == nil {
		err = <-sent
	} else {
		select {
		case serr := <-sent:
			// A stream that broke off at our end is why it gave up.
			if serr != nil && !errors.Is(serr, syscall.EPIPE) && !errors.Is(serr, os.ErrClosed) {
				err = serr
			}
		default:
		}
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if a.Unpacked == nil {
		a.Unpacked = &Unpacked{}
	}
	return *a.Unpacked, err
}
