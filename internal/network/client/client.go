// Package client is how commands reach the holder of networks (package holder),
// and start it when a container is the first to need one.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"berth/internal/network"
	"berth/internal/network/spawn"
	"berth/internal/network/wire"
	"berth/internal/nsinit"
	"berth/internal/stage"
	"berth/internal/state"
	"berth/internal/sys"
)

// Client reaches the holder of one data root.
type Client struct {
	dir *state.Dir
	// user opens the user namespace of an ordinary account's networks; nil for
	// root.
	user func() (*os.File, error)
}

// New returns a client. An ordinary account says how it makes a user namespace,
// which happens only with the first container; for root that is nil.
func New(dir *state.Dir, user func() (*os.File, error)) *Client { return &Client{dir: dir, user: user} }

// Lease is what a container got, as long as the connection is open.
type Lease struct {
	*wire.Response
	Asked *wire.Join
	Conn  *wire.Conn
	// User and Space are the holder's namespaces, of an ordinary account only.
	User, Space *os.File
}

// Close ends the lease unless somebody else has the connection, too.
func (l *Lease) Close() {
	if l == nil {
		return
	}
	l.Conn.Close()
	for _, f := range []*os.File{l.User, l.Space} {
		if f != nil {
			f.Close()
		}
	}
}

// Got is what the container got; nil without a lease.
func (l *Lease) Got() *network.Settings {
	if l == nil {
		return nil
	}
	return l.Settings
}

// Files are what the shim of the container gets.
func (l *Lease) Files() []*os.File {
	if l.User == nil {
		return []*os.File{l.Conn.File()}
	}
	return []*os.File{l.Conn.File(), l.User, l.Space}
}

// Join asks for a container's place in its networks. A holder that ends right
// then is replaced.
func (c *Client) Join(ctx context.Context, j *wire.Join) (*Lease, error) {
	for range 3 {
		conn, _, err := wire.Reach(c.dir, c.start)
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		a, files, err := conn.Ask(&wire.Request{Join: j})
		stop()
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case errors.Is(err, io.EOF):
			conn.Close()
			continue
		case err == nil:
			err = a.Err()
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		l := &Lease{Response: a, Asked: j, Conn: conn}
		if len(files) == 2 {
			l.User, l.Space = files[0], files[1]
		}
		return l, nil
	}
	return nil, fmt.Errorf("the holder of networks ends as soon as it is started: %s may say why", c.dir.Path("net.err"))
}

// Tell asks something of the holder if there is one; else [wire.ErrNoHolder].
func (c *Client) Tell(q *wire.Request) (*wire.Response, error) {
	conn, err := wire.Dial(c.dir)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	a, _, err := conn.Ask(q)
	if errors.Is(err, io.EOF) {
		return nil, wire.ErrNoHolder
	}
	if err != nil {
		return nil, err
	}
	return a, a.Err()
}

// Program is how a holder is started once more, in the namespaces of the one
// before it: by a shim.
func (c *Client) Program() *nsinit.Program {
	files := 2
	if c.user != nil {
		files = 3
	}
	return c.program(files)
}

func (c *Client) program(files int) *nsinit.Program {
	argv := []string{wire.Arg0, c.dir.Root()}
	if c.user != nil {
		argv = append(argv, wire.Account)
	}
	if files > 2 {
		argv = append(argv, wire.Again)
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return spawn.Program(stage.Net(c.dir), argv, env, c.user != nil, files)
}

func (c *Client) start(socket, lock *os.File) error {
	var user *os.File
	if c.user != nil {
		var err error
		if user, err = c.user(); err != nil {
			return err
		}
	}
	pid, err := spawn.Start(c.program(2), user, socket, lock)
	if err != nil {
		return fmt.Errorf("cannot start the holder of networks: %w", err)
	}
	go sys.Wait(pid) // if we outlive it; else init does
	return nil
}
