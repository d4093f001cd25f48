package shim

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sys/unix"
)

// ErrGone says that the shim ended without telling how.
var ErrGone = errors.New("the container's shim is gone")

// Launch hands a plan to a shim that was just started and waits until the
// container runs. The connection is then a session if the plan says so.
func (c *Conn) Launch(p *Plan) (Started, error) {
	p.Given, p.Lent = len(p.UserNS), len(p.Lease)
	err := c.sendJSON(framePlan, p)
	for _, prog := range p.programs() {
		if err == nil {
			err = c.sendProgram(*prog)
		}
	}
	if err == nil && p.Given+p.Lent > 0 {
		err = c.sendFiles(slices.Concat(p.UserNS, p.Lease))
	}
	if err != nil {
		return Started{}, fmt.Errorf("cannot hand the plan to the shim: %w", err)
	}
	return c.started()
}

// Ask sends a request and waits for the answer that a program runs (exec) or
// that the session stands (attach). If ctx ends first, so does the connection.
func (c *Conn) Ask(ctx context.Context, r *Request) (Started, error) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	s, err := c.ask(r)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return s, err
}

// Signal sends a signal to the first process of the container in dir.
func Signal(dir string, sig int) error {
	c, err := Dial(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.ask(&Request{Kind: "signal", Signal: sig})
	return err
}

func (c *Conn) ask(r *Request) (Started, error) {
	err := c.sendJSON(frameRequest, r)
	if err == nil && r.Program != nil {
		err = c.sendProgram(r.Program)
	}
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return Started{}, ErrGone
	}
	if err != nil {
		return Started{}, fmt.Errorf("cannot reach the shim: %w", err)
	}
	return c.started()
}

func (c *Conn) started() (Started, error) {
	var buf []byte
	kind, p, err := c.receive(&buf)
	if err != nil {
		return Started{}, ErrGone
	}
	switch kind {
	case frameStarted:
		var s Started
		return s, json.Unmarshal(p, &s)
	case frameError:
		f := new(Failure)
		if err := json.Unmarshal(p, f); err != nil {
			return Started{}, err
		}
		return Started{}, f
	}
	return Started{}, fmt.Errorf("unexpected frame %q from the shim", kind)
}

// Pump hands output to out and err until the program ends, and tells how.
// ErrGone means that the connection broke.
func (c *Conn) Pump(out, err io.Writer) (Exit, error) {
	var buf []byte
	for {
		kind, p, rerr := c.receive(&buf)
		if rerr != nil {
			return Exit{}, ErrGone
		}
		switch kind {
		case frameStdout:
			if _, werr := out.Write(p); werr != nil {
				return Exit{}, werr
			}
		case frameStderr:
			if _, werr := err.Write(p); werr != nil {
				return Exit{}, werr
			}
		case frameExit:
			var x Exit
			return x, json.Unmarshal(p, &x)
		}
	}
}

// Write sends standard input.
func (c *Conn) Write(p []byte) (int, error) {
	for i := 0; i < len(p); i += 32 << 10 {
		if err := c.send(frameStdin, p[i:min(i+32<<10, len(p))]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// CloseWrite tells that standard input has ended.
func (c *Conn) CloseWrite() error { return c.send(frameEOF, nil) }

// Resize tells the size of the client's terminal.
func (c *Conn) Resize(height, width uint) error {
	var b [4]byte
	binary.BigEndian.PutUint16(b[:2], uint16(height))
	binary.BigEndian.PutUint16(b[2:], uint16(width))
	return c.send(frameResize, b[:])
}

// Signal sends the program a signal.
func (c *Conn) Signal(sig int) error { return c.send(frameSignal, []byte{byte(sig)}) }

// Detach says that the client leaves on purpose.
func (c *Conn) Detach() error { return c.send(frameDetach, nil) }
