package link

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Space is a network namespace that a thread of ours works in. Its methods may
// be called from any goroutine.
type Space struct {
	work chan func() // to the thread; nil: all threads of the process are in it

	opening sync.Mutex
	handle  *netlink.Handle
	closed  bool
}

var errClosed = errors.New("the network namespace is no longer in use")

// Here is the namespace of the process.
func Here() *Space { return &Space{} }

// Open starts a thread in the namespace ns, which the caller may close. It needs
// CAP_SYS_ADMIN in the user namespace that owns ns.
func Open(ns *os.File) (*Space, error) {
	return start(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return nil
	})
}

// New makes a namespace, with its loopback interface up, which lasts as long as
// the Space, the file or something else in it.
func New() (*Space, *os.File, error) {
	s, err := start(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	var ns *os.File
	err = s.Do(func() (err error) {
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err == nil {
		err = s.up("lo")
	}
	if err != nil {
		if ns != nil {
			ns.Close()
		}
		s.Close()
		return nil, nil, err
	}
	return s, ns, nil
}

// start runs a thread that enters a namespace and then works for the Space.
func start(enter func() error) (*Space, error) {
	s := &Space{work: make(chan func())}
	entered := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		err := enter()
		entered <- err
		if err != nil {
			return
		}
		for f := range s.work {
			f()
		}
	}()
	if err := <-entered; err != nil {
		return nil, err
	}
	return s, nil
}

// Do runs f on a thread in the namespace: sockets that f makes belong to it, and
// /proc/sys/net and /proc/thread-self/net are its own. One f runs at a time, so f
// must not wait for long nor call Do. In the namespace of the process it is a
// plain call.
func (s *Space) Do(f func() error) error {
	if s.work == nil {
		return f()
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	return s.do(f)
}

// do is Do for who holds the lock.
func (s *Space) do(f func() error) error {
	if s.work == nil {
		return f()
	}
	if s.closed {
		return errClosed
	}
	done := make(chan error)
	s.work <- func() { done <- f() }
	return <-done
}

// Close ends the thread. Sockets made in the namespace stay open.
func (s *Space) Close() {
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.handle != nil {
		s.handle.Close()
		s.handle = nil
	}
	if s.work != nil && !s.closed {
		close(s.work)
	}
	s.closed = true
}

// route is the netlink socket of the namespace for links, addresses and routes.
func (s *Space) route() (*netlink.Handle, error) {
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.handle != nil {
		return s.handle, nil
	}
	if s.closed {
		return nil, errClosed
	}
	err := s.do(func() (err error) {
		s.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return s.handle, nil
}

// up switches an interface on.
func (s *Space) up(name string) error {
	h, err := s.route()
	if err != nil {
		return err
	}
	l, err := h.LinkByName(name)
	if err == nil {
		err = h.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("switch the interface %s on: %w", name, err)
	}
	return nil
}
