package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/internal/journal"
	"berth/internal/logs"
	"berth/internal/state"
	"berth/internal/sys"
)

// Arg0 is the name a shim is started under, and how main recognises the stage.
const Arg0 = "berth-shim"

// RemoveArg0 is the name under which it removes the tree it is given, and does
// nothing else: see removeInside. It is looked at as a whole, since an image can
// have the kernel run this program with its own script as the argument.
const RemoveArg0 = "berth-shim-remove"

// controlFD is the inherited socket over which the plan comes.
const controlFD = 3

// Main is the shim stage. It returns the process's exit code.
func Main() int {
	if len(os.Args) == 2 && os.Args[0] == RemoveArg0 {
		if sys.RemoveAll(os.Args[1]) != nil {
			return 1
		}
		return 0
	}
	// The first process is tied to this very thread by its parent-death
	// signal, so all processes are made here.
	runtime.LockOSThread()
	debug.SetGCPercent(50)
	unix.CloseOnExec(controlFD)
	control := NewConn(controlFD)
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	setName(Arg0)
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	plan, err := readPlan(control)
	if err != nil {
		// Mostly the command is gone: nothing has been done.
		control.sendJSON(frameError, failureOf(err))
		return 1
	}
	c, err := newContainer(plan)
	if err == nil {
		err = c.launch()
	}
	if err != nil {
		control.sendJSON(frameError, failureOf(err))
		return 1
	}
	if plan.Attach {
		c.hub.join(control, false)
	}
	control.sendJSON(frameStarted, Started{Pid: c.pid})
	c.io.start()
	if plan.Attach {
		go c.session(control, c.io, plan.Stdin)
	} else {
		control.Close()
	}
	c.watchMemory()
	go c.keepNetworks()
	go c.accept()
	time.AfterFunc(3*time.Second, debug.FreeOSMemory)
	c.supervise()
	c.late.Wait()
	return 0
}

// setName is what ps(1) shows, which would be the number of the descriptor that
// the program was started from.
func setName(name string) {
	b, err := unix.BytePtrFromString(name)
	if err == nil {
		unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(b)), 0, 0, 0)
	}
}

func readPlan(control *Conn) (*Plan, error) {
	var buf []byte
	kind, p, err := control.receive(&buf)
	if err != nil {
		return nil, err
	}
	if kind != framePlan {
		return nil, fmt.Errorf("unexpected frame %q", kind)
	}
	plan := new(Plan)
	if err := json.Unmarshal(p, plan); err != nil {
		return nil, err
	}
	for _, prog := range plan.programs() {
		if *prog, err = control.receiveProgram(); err != nil {
			return nil, err
		}
	}
	if plan.Given+plan.Lent > 0 {
		var files []*os.File
		if files, err = control.receiveFiles(plan.Given + plan.Lent); err == nil {
			plan.UserNS, plan.Lease = files[:plan.Given], files[plan.Given:]
		}
	}
	return plan, err
}

// newContainer enters the container's folder and opens the log and the socket.
func newContainer(p *Plan) (*container, error) {
	dir, err := state.Open(p.Root)
	if err != nil {
		return nil, err
	}
	if err := os.Chdir(dir.Path("containers", p.ID)); err != nil {
		return nil, err
	}
	dir.Guard()
	// A command that was killed at the wrong moment may have left a shim that
	// is just starting this container.
	alone, err := state.TryLock("shim.lock")
	if errors.Is(err, state.ErrLocked) {
		return nil, &Failure{Message: "container " + p.Name + " is being started by another command"}
	}
	if err != nil {
		return nil, err
	}
	keepComplaints()
	log, err := logs.Open(".", p.Log)
	if err != nil {
		return nil, fmt.Errorf("failed to initialize logging driver: %w", err)
	}
	keep := 0
	if p.Tty {
		keep = 32 << 10
	}
	c := &container{
		plan: p, dir: dir, log: log, alone: alone, events: make(chan func(), 16), signals: make(chan os.Signal, 4),
	}
	c.hub = newHub(log, keep, &c.late)
	c.journal = journal.Open(dir)
	c.attributes.Store(&p.Attributes)
	c.net = newNetworking(p, dir)
	if p.SharedPids && p.Other == nil { // another runtime's processes are its own affair
		if err := c.brood.adopt(); err != nil {
			return nil, err
		}
	}
	signal.Notify(c.signals, unix.SIGTERM, unix.SIGINT)
	return c, c.listen()
}

// keepComplaints has what the Go runtime says when it gives up written to a
// file: our standard error leads nowhere.
func keepComplaints() {
	f, err := os.OpenFile("shim.err", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		unix.Dup3(int(f.Fd()), 2, unix.O_CLOEXEC)
		f.Close()
	}
}

// listen makes shim.sock. A socket left by a dead shim is replaced: the
// command holds the container's lock while it starts one.
func (c *container) listen() error {
	os.Remove(SocketFile)
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(s, &unix.SockaddrUnix{Name: SocketFile}); err != nil {
		unix.Close(s)
		return fmt.Errorf("cannot make %s: %w", SocketFile, err)
	}
	if err := unix.Listen(s, 64); err != nil {
		unix.Close(s)
		return os.NewSyscallError("listen", err)
	}
	c.socket = os.NewFile(uintptr(s), SocketFile)
	return nil
}

// accept serves clients until the socket closes.
func (c *container) accept() {
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return
	}
	for {
		fd := -1
		err := raw.Read(func(s uintptr) bool {
			fd, _, err = unix.Accept4(int(s), unix.SOCK_CLOEXEC)
			return err != unix.EAGAIN
		})
		if err != nil {
			return
		}
		if fd >= 0 && sameUser(fd) {
			go c.serve(NewConn(fd))
		} else if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// sameUser lets in the account the container belongs to, and root. The data
// root is closed to others already.
func sameUser(fd int) bool {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
}
