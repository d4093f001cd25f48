package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Patience is how long a terminal is waited for. The machine may be slow and
// busy; nothing but a failure waits this long. BERTH_TEST_SLOW says how many
// times slower than others it is, for machines that are emulated.
var Patience = patience(os.Getenv("BERTH_TEST_SLOW"))

func patience(slow string) time.Duration {
	n, err := strconv.Atoi(slow)
	if err != nil || n < 1 {
		n = 1
	}
	return time.Duration(n) * 30 * time.Second
}

// Terminal is a program in a real pseudo-terminal, with somebody in front of
// it who reads and types.
type Terminal struct {
	cmd  *exec.Cmd
	pty  *os.File
	mu   sync.Mutex
	seen strings.Builder // all output so far
	read int             // how much of its text Expect has passed
	more chan struct{}   // a token when output has come
	done chan struct{}   // closed when the output has ended

	escapes *regexp.Regexp
}

// StartTerminal runs cmd as the leader of a new session on a new terminal.
func StartTerminal(cmd *exec.Cmd, rows, cols uint16) (*Terminal, error) {
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: rows, Cols: cols})
	if err != nil {
		return nil, err
	}
	f, err = pollable(f)
	if err != nil {
		return nil, err
	}
	t := &Terminal{cmd: cmd, pty: f, more: make(chan struct{}, 1), done: make(chan struct{})}
	t.escapes = regexp.MustCompile("\x1b(\\[[0-9;?]*[a-zA-Z]|\\][^\x07]*\x07|[=>])")
	go t.drain()
	return t, nil
}

// pollable returns the same terminal such that closing it ends a read that
// waits: else the window would stay open until something is shown.
func pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(fd)
	// NewFile asks the runtime to poll what does not block.
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func (t *Terminal) drain() {
	defer close(t.done)
	buf := make([]byte, 4096)
	for {
		n, err := t.pty.Read(buf)
		if n > 0 {
			t.mu.Lock()
			t.seen.Write(buf[:n])
			t.mu.Unlock()
			select {
			case t.more <- struct{}{}:
			default:
			}
		}
		if err != nil {
			return
		}
	}
}

// Seen returns everything the program has shown.
func (t *Terminal) Seen() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen.String()
}

// text is Seen without the escape sequences that colour and move.
func (t *Terminal) text() string { return t.escapes.ReplaceAllString(t.Seen(), "") }

// Expect waits until what was shown since the last Expect matches the regular
// expression, and returns the match.
func (t *Terminal) Expect(pattern string, wait time.Duration) (string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return "", err
	}
	deadline := time.After(wait)
	for ended := false; ; {
		all := t.text()
		if at := re.FindStringIndex(all[t.read:]); at != nil {
			got := all[t.read+at[0] : t.read+at[1]]
			t.read += at[1]
			return got, nil
		}
		if ended {
			return "", fmt.Errorf("the terminal closed and never showed %q; unread: %q", pattern, all[t.read:])
		}
		select {
		case <-t.more:
		case <-t.done:
			ended = true
		case <-deadline:
			return "", fmt.Errorf("the terminal did not show %q within %v; unread: %q", pattern, wait, all[t.read:])
		}
	}
}

// Send types.
func (t *Terminal) Send(text string) error {
	_, err := io.WriteString(t.pty, text)
	return err
}

// Resize changes the window.
func (t *Terminal) Resize(rows, cols uint16) error {
	conn, err := t.pty.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
	return errors.Join(err, failed)
}

// Hangup closes the terminal, as closing its window does.
func (t *Terminal) Hangup() error { return t.pty.Close() }

// Wait waits for the program and returns its exit code, 128+n for signal n.
func (t *Terminal) Wait(wait time.Duration) (int, error) {
	ended := make(chan error, 1)
	go func() { ended <- t.cmd.Wait() }()
	select {
	case err := <-ended:
		t.pty.Close()
		var exit *exec.ExitError
		if err == nil || errors.As(err, &exit) {
			return ExitCode(t.cmd.ProcessState), nil
		}
		return 0, err
	case <-time.After(wait):
		t.cmd.Process.Kill()
		return 0, fmt.Errorf("the program did not end within %v; shown: %q", wait, t.Seen())
	}
}
