package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"berth/internal/engine"
)

// program is the other end of a connection: it repeats what it reads, with
// every byte in brackets, and ends at the letter q.
type program struct {
	code   int
	panics bool
	ready  chan struct{} // closed when it runs

	mu      sync.Mutex
	sizes   []string
	signals []int
	closed  chan struct{}
	once    sync.Once
}

func newProgram() *program {
	return &program{ready: make(chan struct{}), closed: make(chan struct{})}
}

func (p *program) Copy(in io.Reader, out, errOut io.Writer) (engine.ExitStatus, error) {
	close(p.ready)
	if p.panics {
		panic("as asked")
	}
	ended := make(chan error, 1)
	go func() {
		if in != nil {
			ended <- p.repeat(in, out)
		}
	}()
	select {
	case <-p.closed:
		return engine.ExitStatus{Detached: true}, nil
	case err := <-ended:
		return engine.ExitStatus{Code: p.code, Detached: errors.Is(err, engine.ErrDetached)}, nil
	}
}

func (p *program) repeat(in io.Reader, out io.Writer) error {
	buf := make([]byte, 1)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			fmt.Fprintf(out, "[%d]", buf[0])
			if buf[0] == 'q' {
				return nil
			}
		}
		if err == io.EOF {
			fmt.Fprint(out, "[end]")
		}
		if err != nil {
			return err
		}
	}
}

func (p *program) Resize(h, w uint) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sizes = append(p.sizes, fmt.Sprint(h, "x", w))
	return nil
}

func (p *program) Signal(sig int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signals = append(p.signals, sig)
	return nil
}

func (p *program) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// window is a terminal with somebody in front of it.
type window struct {
	ptmx, tty *os.File
	errOut    *os.File
	before    *term.State
}

func openWindow(t *testing.T) *window {
	t.Helper()
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ptmx.Close(); tty.Close() })
	ptmx = pollable(t, ptmx)
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	errOut, err := os.CreateTemp(t.TempDir(), "err")
	if err != nil {
		t.Fatal(err)
	}
	w := &window{ptmx, tty, errOut, before}
	w.resize(t, 30, 100)
	return w
}

// pollable returns f in a form that knows deadlines, and whose Close does not
// wait for a read.
func pollable(t *testing.T, f *os.File) *os.File {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	if err == nil {
		err = syscall.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	nf := os.NewFile(uintptr(fd), f.Name())
	t.Cleanup(func() { nf.Close() })
	return nf
}

// resize changes the size of the window.
func (w *window) resize(t *testing.T, rows, cols uint16) {
	t.Helper()
	if err := pty.Setsize(w.tty, &pty.Winsize{Rows: rows, Cols: cols}); err != nil {
		t.Fatal(err)
	}
}

func (w *window) app() *app {
	return &app{name: "berth", env: Env{Stdin: w.tty, Stdout: w.tty, Stderr: w.errOut, LookupEnv: func(string) (string, bool) { return "", false }}}
}

// expect reads the window until it shows text.
func (w *window) expect(t *testing.T, text string) {
	t.Helper()
	w.ptmx.SetReadDeadline(time.Now().Add(20 * time.Second))
	seen := ""
	buf := make([]byte, 100)
	for !strings.Contains(seen, text) {
		n, err := w.ptmx.Read(buf)
		seen += string(buf[:n])
		if err != nil {
			t.Fatalf("the window shows %q, want %q (%v)", seen, text, err)
		}
	}
}

func (w *window) checkRestored(t *testing.T) {
	t.Helper()
	now, err := term.GetState(int(w.tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if *now != *w.before {
		t.Errorf("the terminal is not as it was: %+v, was %+v", *now, *w.before)
	}
}

// talking starts a program in the window and waits until it runs.
func talking(t *testing.T, w *window, p *program, st stream) (*guard, chan error) {
	t.Helper()
	_, g := w.app().watch(context.Background())
	result := make(chan error, 1)
	go func() {
		defer g.stop()
		defer func() {
			if r := recover(); r != nil {
				result <- fmt.Errorf("panic: %v", r)
			}
		}()
		result <- g.talk(p, st)
	}()
	<-p.ready
	return g, result
}

func exitCode(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

func terminalStream() stream {
	return stream{tty: true, stdin: true, stdout: true, stderr: true, sigProxy: true, keys: []byte("\x10\x11")}
}

func TestTerminal(t *testing.T) {
	for _, c := range []struct {
		name   string
		act    func(w *window, g *guard)
		code   int
		errOut string
	}{
		{"ends", func(w *window, g *guard) { w.ptmx.WriteString("q") }, 3, ""},
		{"detach", func(w *window, g *guard) { w.ptmx.WriteString("\x10\x11") }, 0, "read escape sequence\n"},
		{"SIGTERM", func(w *window, g *guard) { g.handle(syscall.SIGTERM) }, 143, ""},
		{"SIGHUP", func(w *window, g *guard) { g.handle(syscall.SIGHUP) }, 129, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, p := openWindow(t), newProgram()
			p.code = 3
			g, result := talking(t, w, p, terminalStream())
			// Raw: Ctrl-C and Ctrl-Z are bytes, and no Enter is needed.
			w.ptmx.WriteString("a\x03\x1a")
			w.expect(t, "[97][3][26]")
			w.resize(t, 40, 90)
			g.handle(syscall.SIGWINCH)
			c.act(w, g)
			if code := exitCode(<-result); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			w.checkRestored(t)
			if got := strings.Join(p.sizes, " "); got != "30x100 40x90" {
				t.Errorf("the program heard of the sizes %s", got)
			}
			if len(p.signals) > 0 {
				t.Errorf("signals %v were handed on, although the program has a terminal", p.signals)
			}
			if got := content(t, w.errOut); got != c.errOut {
				t.Errorf("printed %q, want %q", got, c.errOut)
			}
		})
	}
}

func TestTerminalAfterPanic(t *testing.T) {
	w, p := openWindow(t), newProgram()
	p.panics = true
	_, result := talking(t, w, p, terminalStream())
	if err := <-result; err == nil || err.Error() != "panic: as asked" {
		t.Errorf("got %v", err)
	}
	w.checkRestored(t)
}

// TestClosedWindow: the client ends, the program goes on.
func TestClosedWindow(t *testing.T) {
	w, p := openWindow(t), newProgram()
	_, result := talking(t, w, p, terminalStream())
	w.ptmx.WriteString("a")
	w.expect(t, "[97]")
	w.ptmx.Close()
	if code := exitCode(<-result); code != 129 {
		t.Errorf("exit code %d, want 129", code)
	}
	if got := content(t, w.errOut); got != "" {
		t.Errorf("printed %q", got)
	}
}

// TestLoneKey: a shell gets its Ctrl-P, soon.
func TestLoneKey(t *testing.T) {
	w, p := openWindow(t), newProgram()
	_, result := talking(t, w, p, terminalStream())
	start := time.Now()
	w.ptmx.WriteString("\x10")
	w.expect(t, "[16]")
	if d := time.Since(start); d < 200*time.Millisecond {
		t.Errorf("Ctrl-P was handed on after %v: a Ctrl-Q could not follow", d)
	}
	w.ptmx.WriteString("q")
	if code := exitCode(<-result); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestSignalsGoToTheProgram(t *testing.T) {
	w, p := openWindow(t), newProgram()
	g, result := talking(t, w, p, stream{stdout: true, stderr: true, sigProxy: true})
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGWINCH} {
		g.handle(s)
	}
	if got := fmt.Sprint(p.signals); got != "[10 2 3 15]" {
		t.Errorf("the program got %s", got)
	}
	if len(p.sizes) > 0 {
		t.Errorf("a program without a terminal heard of the sizes %v", p.sizes)
	}
	// The third wish to end is meant for us.
	g.handle(syscall.SIGINT)
	if code := exitCode(<-result); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if got := content(t, w.errOut); got != "got 3 signals to end: leaving, the container goes on\n" {
		t.Errorf("printed %q", got)
	}
}

func TestSignalsWithoutProxy(t *testing.T) {
	w, p := openWindow(t), newProgram()
	g, result := talking(t, w, p, stream{stdout: true, stderr: true})
	g.handle(syscall.SIGINT)
	if code := exitCode(<-result); code != 130 || len(p.signals) > 0 {
		t.Errorf("exit code %d, signals %v, want 130 and none", code, p.signals)
	}
}

// TestPipe: the end of a pipe is passed on, and the program's exit code comes
// back.
func TestPipe(t *testing.T) {
	r, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	p := newProgram()
	p.code = 5
	a := &app{env: Env{Stdin: r, Stdout: out, Stderr: out}}
	_, g := a.watch(context.Background())
	defer g.stop()
	in.WriteString("\x10\x11")
	in.Close()
	// Without a terminal the detach keys are bytes like any other.
	err = g.talk(p, stream{stdin: true, stdout: true, stderr: true, keys: []byte("\x10\x11")})
	if code := exitCode(err); code != 5 {
		t.Errorf("exit code %d, want 5", code)
	}
	if got := content(t, out); got != "[16][17][end]" {
		t.Errorf("the program read %s", got)
	}
}

// TestStoppedBeforeSession: Ctrl-C while an image is pulled ends the command.
func TestStoppedBeforeSession(t *testing.T) {
	w := openWindow(t)
	ctx, g := w.app().watch(context.Background())
	defer g.stop()
	g.handle(syscall.SIGWINCH)
	if ctx.Err() != nil {
		t.Fatal("a change of the window's size ended the command")
	}
	g.handle(syscall.SIGINT)
	if ctx.Err() == nil || exitCode(g.leave()) != 130 {
		t.Errorf("context %v, exit code %d", ctx.Err(), exitCode(g.leave()))
	}
}
