package shim

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"berth/internal/network"
	"berth/internal/network/spawn"
	"berth/internal/network/wire"
	"berth/internal/nsinit"
	"berth/internal/state"
	"berth/internal/sys"
)

// networking is the container's lease from the holder of networks: a connection,
// which the first process uses at its start, and nobody otherwise but to see that
// it breaks. A nil one is that of a container without networks.
type networking struct {
	plan        *Network
	dir         *state.Dir
	user, space *os.File // the holder's namespaces; nil for root

	mu     sync.Mutex
	conn   *wire.Conn
	ns     *os.File // the container's, while it runs
	closed bool
}

func newNetworking(p *Plan, dir *state.Dir) *networking {
	if p.Network == nil || len(p.Lease) == 0 {
		return nil
	}
	n := &networking{plan: p.Network, dir: dir}
	fd, err := unix.FcntlInt(p.Lease[0].Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil // the start says that it has no connection
	}
	p.Lease[0].Close()
	n.conn = wire.NewConn(fd)
	if len(p.Lease) == 3 {
		n.user, n.space = p.Lease[1], p.Lease[2]
	}
	return n
}

// lend presets the registers of the first process.
func (n *networking) lend(regs map[nsinit.Reg]*os.File) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	regs[nsinit.RegLease] = n.conn.File()
	if n.user != nil {
		regs[nsinit.RegHolderNS] = n.user
	}
}

// moved says which network namespace is the container's from now on; nil: it has
// ended.
func (n *networking) moved(ns *os.File) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ns != nil {
		n.ns.Close()
		n.ns = nil
	}
	if ns == nil {
		return
	}
	n.ns, _ = sys.Dup(ns) // without it, a new holder knows of addresses and ports only
}

// explain finds the words of the holder for a start that failed for want of a
// network.
func (n *networking) explain(err error) error {
	var op *nsinit.OpError
	if n == nil || !errors.As(err, &op) || op.Op.Call != nsinit.CallHear && op.Op.Call != nsinit.CallLend {
		return err
	}
	switch op.Errno {
	case unix.EREMOTEIO:
		var a wire.Response
		if _, rerr := n.conn.Receive(&a); rerr == nil && a.Error != "" {
			return &Failure{Message: a.Error}
		}
	case unix.ECONNRESET, unix.EPIPE:
		return &Failure{Message: "the holder of networks ended while the container started: start it again"}
	case unix.ETIMEDOUT:
		return &Failure{Message: "the holder of networks does not answer: look for the process berth-net"}
	}
	return err
}

// keepNetworks finds another holder whenever the one that gave the container its
// networks dies.
func (c *container) keepNetworks() {
	n := c.net
	for n != nil {
		n.mu.Lock()
		conn, closed := n.conn, n.closed
		n.mu.Unlock()
		if closed {
			return
		}
		conn.Gone()
		n.mu.Lock()
		if closed = n.closed; !closed {
			n.renew()
		}
		closed = closed || n.conn == conn
		n.mu.Unlock()
		if closed {
			return
		}
	}
}

// renew gets a lease from a new holder, which whoever comes first starts, and
// tells it what the container has. If none can be had, the container has the
// network that the kernel has left it.
func (n *networking) renew() {
	conn, err := n.adopt()
	if err != nil {
		fmt.Fprintln(os.Stderr, "no new holder of networks:", err) // shim.err
		return
	}
	n.conn.Close()
	n.conn = conn
}

func (n *networking) adopt() (*wire.Conn, error) {
	j := n.plan.Join
	j.Settled = new(network.Settings)
	if err := state.ReadJSON(network.SettingsFile, j.Settled); err != nil {
		return nil, err
	}
	var ns []*os.File
	if n.ns != nil {
		ns = append(ns, n.ns)
	}
	for range 3 {
		conn, _, err := wire.Reach(n.dir, n.start)
		if err != nil {
			return nil, err
		}
		a, files, err := conn.Ask(&wire.Request{Adopt: &j}, ns...)
		closeAll(files)
		if err == nil {
			err = a.Err()
		}
		if err == nil {
			return conn, nil
		}
		conn.Close()
		if !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	return nil, io.EOF
}

func (n *networking) start(socket, lock *os.File) error {
	files := []*os.File{socket, lock}
	if n.space != nil {
		files = append(files, n.space)
	}
	pid, err := spawn.Start(n.plan.Holder, n.user, files...)
	if err == nil {
		go sys.Wait(pid)
	}
	return err
}

// close gives everything back.
func (n *networking) close() {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	n.conn.Close()
}
