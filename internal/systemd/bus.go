package systemd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	manager     = "org.freedesktop.systemd1"
	managerPath = "/org/freedesktop/systemd1"
	managerFace = "org.freedesktop.systemd1.Manager"
	busName     = "org.freedesktop.DBus"
	busPath     = "/org/freedesktop/DBus"
)

// patience is how long systemd may take for an answer. It needs some ms.
const patience = 30 * time.Second

// busError is what a method answered instead of a result.
type busError struct{ name, text string }

func (e *busError) Error() string { return "systemd: " + e.text }

// bus is a connection to one systemd.
type bus struct {
	conn    *os.File
	in      *bufio.Reader
	serial  uint32
	private bool // without a bus in between
	signals []*message
}

// sockets lists where systemd can be reached: the bus, and without one its own
// socket. An account's systemd is the one of its session.
func sockets() []string {
	if owner := outerUID(); owner != 0 {
		dir := os.Getenv("XDG_RUNTIME_DIR")
		if !filepath.IsAbs(dir) {
			dir = "/run/user/" + strconv.Itoa(owner)
		}
		return []string{dir + "/bus", dir + "/systemd/private"}
	}
	return []string{"/run/dbus/system_bus_socket", "/run/systemd/private"}
}

// outerUID is who this process is outside its user namespace: root of one is
// still an ordinary account to systemd.
func outerUID() int {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return os.Geteuid()
	}
	for line := range strings.Lines(string(b)) {
		var inner, outer, n int
		if c, _ := fmt.Sscan(line, &inner, &outer, &n); c == 3 && os.Geteuid() >= inner && os.Geteuid()-inner < n {
			return outer + os.Geteuid() - inner
		}
	}
	return os.Geteuid()
}

// connect finds systemd. Its error is that of a socket which is there, if any is.
func connect(sockets []string) (*bus, error) {
	var told error
	for _, path := range sockets {
		conn, err := dial(path)
		if err == nil {
			b := &bus{conn: conn, in: bufio.NewReader(conn), private: strings.HasSuffix(path, "/private")}
			if err = b.greet(); err == nil {
				return b, nil
			}
			conn.Close()
		}
		if told == nil || errors.Is(told, fs.ErrNotExist) && !errors.Is(err, fs.ErrNotExist) {
			told = err
		}
	}
	return nil, fmt.Errorf("cannot reach systemd: %w", told)
}

// Reachable reports whether there is a socket of systemd's for this account.
func Reachable() bool {
	for _, path := range sockets() {
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return false
}

// dial connects to a socket. (Package net would cost every start of a command
// that can come here, whether it does or not.)
func dial(path string) (*os.File, error) {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	bound := unix.NsecToTimeval(patience.Nanoseconds())
	unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &bound) // of connect, too
	for {
		if err = unix.Connect(s, &unix.SockaddrUnix{Name: path}); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(s)
		return nil, &fs.PathError{Op: "connect to", Path: path, Err: err}
	}
	unix.SetNonblock(s, true)
	return os.NewFile(uintptr(s), path), nil
}

func (b *bus) close() { b.conn.Close() }

// greet says who we are, which the other side takes from the socket, and asks
// to hear of jobs.
func (b *bus) greet() error {
	b.conn.SetDeadline(time.Now().Add(patience))
	if _, err := b.conn.Write([]byte("\x00AUTH EXTERNAL\r\nDATA\r\n")); err != nil {
		return err
	}
	for {
		line, err := b.in.ReadString('\n')
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(line, "DATA"):
			continue
		case !strings.HasPrefix(line, "OK "):
			return fmt.Errorf("it does not let us in: %s", strings.TrimSpace(line))
		}
		break
	}
	if _, err := b.conn.Write([]byte("BEGIN\r\n")); err != nil {
		return err
	}
	if !b.private {
		if _, err := b.call(busName, busPath, busName, "Hello", "", nil); err != nil {
			return err
		}
		rule := "type='signal',sender='" + manager + "',interface='" + managerFace + "',member='JobRemoved'"
		if _, err := b.call(busName, busPath, busName, "AddMatch", "s", func(w *writer) { w.str(rule) }); err != nil {
			return err
		}
	}
	_, err := b.manager("Subscribe", "", nil)
	var told *busError
	if errors.As(err, &told) {
		return nil // subscribed already
	}
	return err
}

func (b *bus) manager(member, sig string, body func(*writer)) (*message, error) {
	destination := manager
	if b.private {
		destination = ""
	}
	return b.call(destination, managerPath, managerFace, member, sig, body)
}

// call waits for the answer. Signals that come first are kept.
func (b *bus) call(destination, path, iface, member, sig string, body func(*writer)) (*message, error) {
	b.serial++
	b.conn.SetDeadline(time.Now().Add(patience))
	if _, err := b.conn.Write(call(b.serial, destination, path, iface, member, sig, body)); err != nil {
		return nil, err
	}
	for {
		m, err := b.receive()
		switch {
		case err != nil:
			return nil, err
		case m.kind == kindSignal:
			b.signals = append(b.signals, m)
		case m.replyTo != b.serial:
		case m.kind == kindError:
			text := m.err
			if s := m.body.str(); s != "" {
				text = s
			}
			return nil, &busError{m.err, text}
		case m.kind == kindReply:
			return m, nil
		}
	}
}

// job waits for the end of a job, and returns how it ended: "done" is well.
func (b *bus) job(path string) (string, error) {
	b.conn.SetDeadline(time.Now().Add(patience))
	for {
		for _, m := range b.signals {
			if m.member != "JobRemoved" {
				continue
			}
			body := m.body // number, path, unit, result
			body.u32()
			p := body.str()
			body.str()
			if result := body.str(); p == path && !body.bad {
				return result, nil
			}
		}
		m, err := b.receive()
		if err != nil {
			return "", err
		}
		b.signals = nil
		if m.kind == kindSignal {
			b.signals = []*message{m}
		}
	}
}

func (b *bus) receive() (*message, error) {
	head := make([]byte, headLen)
	if _, err := io.ReadFull(b.in, head); err != nil {
		return nil, err
	}
	fields, body, err := lengths(head)
	if err != nil {
		return nil, err
	}
	rest := make([]byte, fields+body)
	if _, err := io.ReadFull(b.in, rest); err != nil {
		return nil, err
	}
	return parse(append(head, rest...))
}
