package oci

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sendConsole hands the master of the container's terminal to whoever listens
// at a socket: the protocol of runc's --console-socket, one message with the
// descriptor and a name for it.
func sendConsole(socket string, master *os.File) error {
	defer master.Close()
	return sendFD(socket, []byte("/dev/ptmx"), master)
}

// relay copies between our terminal and a container's. While it works ours is
// raw: every key is the container's.
type relay struct {
	own     *os.File // our terminal
	saved   *unix.Termios
	console *os.File
	done    chan struct{} // all output has been copied
}

// newRelay starts to copy. Whoever asks for a terminal in the foreground must
// have one.
func (a *app) newRelay(console *os.File) (*relay, error) {
	t := &relay{own: a.Stdin, console: console, done: make(chan struct{})}
	if !isTerminal(t.own) {
		tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return nil, err
		}
		t.own = tty
	}
	var err error
	if t.saved, err = unix.IoctlGetTermios(int(t.own.Fd()), unix.TCGETS); err != nil {
		return nil, os.NewSyscallError("tcgetattr", err)
	}
	raw := *t.saved // as cfmakeraw(3)
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(t.own.Fd()), unix.TCSETS, &raw); err != nil {
		return nil, os.NewSyscallError("tcsetattr", err)
	}
	t.resize()
	go func() { io.Copy(console, a.Stdin) }()
	go func() {
		// The end of the last process on the terminal shows as EIO.
		if _, err := io.Copy(a.Stdout, console); err != nil && !errors.Is(err, unix.EIO) {
			a.log.debugf("%v", err)
		}
		close(t.done)
	}()
	return t, nil
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// resize gives the container's terminal the size of ours.
func (t *relay) resize() {
	if size, err := unix.IoctlGetWinsize(int(t.own.Fd()), unix.TIOCGWINSZ); err == nil {
		unix.IoctlSetWinsize(int(t.console.Fd()), unix.TIOCSWINSZ, size)
	}
}

// drain waits for the last output, which a process left behind may withhold.
func (t *relay) drain() {
	select {
	case <-t.done:
	case <-time.After(time.Second):
	}
}

func (t *relay) stop() {
	unix.IoctlSetTermios(int(t.own.Fd()), unix.TCSETS, t.saved)
	t.console.Close()
}
