package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"berth/internal/cli/term"
	"berth/internal/engine"
)

// stream says how the caller's streams meet a program's.
type stream struct {
	tty      bool // the program has a terminal
	stdin    bool // our input goes to it
	stdout   bool
	stderr   bool
	sigProxy bool   // signals that we get go to it
	keys     []byte // leave when these are typed
}

// guard handles signals while a command is connected to a program, and before,
// while it prepares that.
//
// With a terminal, Ctrl-C is a byte for the program, and a signal that reaches
// us all the same came from outside and means us. Without one, signals are
// for the program, except the one that says that our window was closed: the
// container outlives it.
type guard struct {
	app    *app
	ch     chan os.Signal
	cancel context.CancelFunc

	mu      sync.Mutex
	session engine.Session
	stream  stream
	raw     *term.Raw
	left    syscall.Signal // we are to end, because of this
	urged   int            // so often were we told to end
}

// patience is how often a signal to end is handed to the program before it is
// taken to be for us: process 1 of a container ignores what it does not handle.
const patience = 2

// watch starts handling signals. Before there is a session they cancel the
// context that is returned.
func (a *app) watch(ctx context.Context) (context.Context, *guard) {
	ctx, cancel := context.WithCancel(ctx)
	g := &guard{app: a, ch: make(chan os.Signal, 16), cancel: cancel}
	signal.Notify(g.ch, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGCONT, syscall.SIGWINCH)
	go func() {
		for s := range g.ch {
			g.handle(s.(syscall.Signal))
		}
	}()
	return ctx, g
}

// stop ends the handling and gives back the terminal.
func (g *guard) stop() {
	signal.Stop(g.ch)
	close(g.ch)
	g.cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.raw.Restore()
}

func (g *guard) handle(s syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ends := s != syscall.SIGCONT && s != syscall.SIGWINCH
	closed := s == syscall.SIGHUP && (term.IsTerminal(g.app.env.Stdin) || term.IsTerminal(g.app.env.Stdout))
	proxy := g.session != nil && g.stream.sigProxy && !g.stream.tty
	if proxy && (s == syscall.SIGINT || s == syscall.SIGTERM) {
		if g.urged++; g.urged > patience {
			proxy = false
			fmt.Fprintf(g.app.env.Stderr, "got %d signals to end: leaving, the container goes on\n", g.urged)
		}
	}
	switch {
	case s == syscall.SIGWINCH:
		g.resize()
	case proxy && !closed:
		// An error means that the program has just ended.
		_ = g.session.Signal(int(s))
	case ends && g.left != 0:
		// The first one was taken, and clearing up takes too long for
		// whoever sent it.
		signal.Reset(s)
		_ = syscall.Kill(os.Getpid(), s)
	case ends:
		g.left = s
		g.raw.Restore()
		g.cancel()
		if g.session != nil {
			g.session.Close()
		}
	}
}

// resize passes on the size of our window.
func (g *guard) resize() {
	if g.session == nil || !g.stream.tty {
		return
	}
	if h, w := g.app.consoleSize(); h > 0 {
		_ = g.session.Resize(h, w)
	}
}

// leave is the end by a signal, if there was one.
func (g *guard) leave() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left == 0 {
		return nil
	}
	return silent(128 + int(g.left))
}

// talk connects the caller with a program until that ends or the caller
// leaves. The exit code of the program comes back as an error.
func (g *guard) talk(s engine.Session, st stream) error {
	in, done, err := g.connect(s, st)
	if err != nil {
		s.Close()
		return err
	}
	defer done()
	var out, errOut io.Writer = io.Discard, io.Discard
	if st.stdout {
		out = g.app.env.Stdout
	}
	if st.stderr {
		errOut = g.app.env.Stderr
	}
	status, err := s.Copy(in, out, errOut)
	done()
	switch left := g.leave(); {
	case left != nil:
		return left
	case err != nil && !errors.Is(err, engine.ErrDetached):
		return err
	case status.Detached || err != nil:
		fmt.Fprintln(g.app.env.Stderr, "read escape sequence")
		return nil
	}
	return silent(status.Code)
}

// connect prepares terminal and input. The function it returns undoes that,
// and may be called twice.
func (g *guard) connect(s engine.Session, st stream) (in io.Reader, done func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	stdin := g.app.env.Stdin
	isTerminal := st.stdin && term.IsTerminal(stdin)
	if st.tty && isTerminal && g.raw == nil && g.left == 0 {
		if g.raw, err = term.MakeRaw(stdin); err != nil {
			return nil, nil, fmt.Errorf("cannot prepare the terminal: %w", err)
		}
	}
	raw := g.raw
	g.session, g.stream = s, st
	g.resize()
	if !st.stdin {
		return nil, raw.Restore, nil
	}
	var end func() error
	if st.tty && isTerminal {
		end = g.hangUp
	}
	input, err := term.NewInput(stdin, end)
	if err != nil {
		raw.Restore()
		return nil, nil, err
	}
	in = input
	if st.tty {
		in = term.NewDetach(input, st.keys, engine.ErrDetached)
	}
	return in, func() { input.Close(); raw.Restore() }, nil
}

// hangUp is for a terminal that ended. The signal that says so may come later,
// or, where we lead no session, not at all.
func (g *guard) hangUp() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left == 0 {
		g.left = syscall.SIGHUP
	}
	return engine.ErrDetached
}

// consoleSize is the height and width of the caller's terminal, zero without
// one.
func (a *app) consoleSize() (height, width uint) {
	for _, f := range []*os.File{a.env.Stdout, a.env.Stdin, a.env.Stderr} {
		if h, w := term.Size(f); h > 0 && w > 0 {
			return h, w
		}
	}
	return 0, 0
}

// checkTTY refuses to give a terminal's program an input that is none.
func (a *app) checkTTY(stdin, tty bool) error {
	if stdin && tty && !term.IsTerminal(a.env.Stdin) {
		return &failure{code: 1, text: "the input device is not a TTY: leave -t away when the input is a file or a pipe"}
	}
	return nil
}
