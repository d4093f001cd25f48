package holder

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/network/link"
	"berth/internal/network/wire"
	"berth/internal/state"
)

// What a holder inherits, from descriptor 3 on: the listening socket, the lock,
// and the network namespace with the bridges if there is one already.
const (
	socketFD = 3 + iota
	lockFD
	spaceFD
)

// linger is how long a holder stays that nobody uses: a container that is started
// right after another one finds it.
const linger = 3 * time.Second

// Main is the program. It returns the exit code.
func Main() int {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "berth-net is started by berth when a container needs a network")
		return 2
	}
	// The first thread is what /proc/self and /proc/net speak of, and does not end
	// with a goroutine: no other may take it into a container's namespace.
	runtime.LockOSThread()
	unix.CloseOnExec(socketFD)
	unix.CloseOnExec(lockFD)
	// What is in a container with our user namespace must not look at us.
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE, unix.SIGINT)
	h, err := open(os.Args[1], slices.Contains(os.Args[2:], wire.Account), slices.Contains(os.Args[2:], wire.Again))
	if err != nil {
		// Whoever waits at the socket is told.
		refuseAll(err)
		return 1
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	unix.SetNonblock(socketFD, true)
	f := os.NewFile(uintptr(socketFD), wire.SocketFile)
	go func() {
		<-stop
		f.Close()
	}()
	h.accept(f)
	return 0
}

// open makes the holder of a data root.
func open(root string, account, again bool) (*Holder, error) {
	dir, err := state.Open(root)
	if err != nil {
		return nil, err
	}
	keepComplaints(dir)
	h := newHolder(dir, account)
	if !account {
		h.space = link.Here()
	} else if err := h.enterSpace(again); err != nil {
		return nil, err
	}
	h.remember()
	return h, nil
}

// keepComplaints has what the Go runtime says when it gives up written to a
// file: our standard error leads nowhere.
func keepComplaints(dir *state.Dir) {
	f, err := os.OpenFile(dir.Path("net.err"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		unix.Dup3(int(f.Fd()), 2, unix.O_CLOEXEC)
		f.Close()
	}
}

// enterSpace makes the account's network namespace, or goes into the one that a
// holder before us has left.
func (h *Holder) enterSpace(again bool) (err error) {
	if h.user, err = os.Open("/proc/self/ns/user"); err != nil {
		return err
	}
	if again {
		unix.CloseOnExec(spaceFD)
		h.ns = os.NewFile(spaceFD, "network namespace")
		h.space, err = link.Open(h.ns)
		return err
	}
	h.space, h.ns, err = link.New()
	if err != nil {
		return fmt.Errorf("%w; --network host works without", err)
	}
	return nil
}

// accept serves clients until nobody has come for a while, or the socket is closed.
func (h *Holder) accept(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	h.idle = time.AfterFunc(linger, func() {
		if h.retire() {
			f.Close() // who is at the socket by now sees it close, and starts another
		}
	})
	for {
		fd := -1
		err := raw.Read(func(s uintptr) bool {
			fd, _, err = unix.Accept4(int(s), unix.SOCK_CLOEXEC)
			return err != unix.EAGAIN
		})
		if err != nil {
			break
		}
		if fd >= 0 && !sameUser(fd) {
			unix.Close(fd)
		} else if fd >= 0 {
			h.come()
			go h.serve(wire.NewConn(fd))
		}
	}
	h.end()
}

// sameUser lets in the account itself. The data root is closed to others already.
func sameUser(fd int) bool {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && int(cred.Uid) == os.Geteuid()
}

// refuseAll tells those who come in the next moments why there is no holder.
func refuseAll(why error) {
	unix.SetNonblock(socketFD, false)
	unix.SetsockoptTimeval(socketFD, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	for {
		fd, _, err := unix.Accept4(socketFD, unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		c := wire.NewConn(fd)
		var q wire.Request
		if _, err := c.Receive(&q); err == nil {
			c.Send(wire.Refuse(why))
		}
		c.Close()
	}
}
