package logs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func datagrams(t *testing.T, network, address string) (net.PacketConn, func() string) {
	t.Helper()
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, func() string {
		b := make([]byte, 64<<10)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _, err := c.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestSyslogFormats(t *testing.T) {
	c, next := datagrams(t, "udp", "127.0.0.1:0")
	for form, want := range map[string]string{
		"":             "<30>Jan  2 03:04:05 web[PID]: hello\n",
		"rfc3164":      "<30>Jan  2 03:04:05 HOST web[PID]: hello\n",
		"rfc5424":      "<30>1 2026-01-02T03:04:05Z HOST web PID web - hello\n",
		"rfc5424micro": "<30>1 2026-01-02T03:04:05.000007Z HOST web PID web - hello\n",
	} {
		o := Options{Driver: SyslogD, NoCopy: true, Container: Container{Tag: "web"},
			Syslog: &Syslog{Network: "udp", Address: c.LocalAddr().String(), Facility: 3, Format: form}}
		d, err := openSyslog(o)
		if err != nil {
			t.Fatal(err)
		}
		s := d.(*syslog)
		s.host, s.pid = "HOST", "PID"
		s.add(entry{time: time.Date(2026, 1, 2, 3, 4, 5, 7000, time.UTC), stream: Stdout, line: []byte("hello\n")})
		if got := next(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		s.close()
	}
}

// Over TCP each line ends in a line feed; a server that was started again gets
// what comes then; and `logs` reads the copy.
func TestSyslogOverTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	o := Options{Driver: SyslogD, Container: Container{Tag: "t"}, Syslog: &Syslog{Network: "tcp", Address: l.Addr().String(), Facility: 16}}
	w := openWriter(t, dir, o)
	defer w.Close()
	accept := func() net.Conn {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	read := func(c net.Conn) string {
		b := make([]byte, 1000)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	c := accept()
	w.Write(Stderr, []byte("one\n"))
	if got := read(c); !strings.HasPrefix(got, "<131>") || !strings.HasSuffix(got, ": one\n") {
		t.Errorf("%q", got)
	}
	c.Close()
	came := make(chan net.Conn, 1)
	go func() { came <- accept() }()
	for again := false; !again; { // the first write after the end still succeeds
		w.Write(Stdout, []byte("two\n"))
		select {
		case c = <-came:
			again = true
		case <-time.After(time.Millisecond):
		}
	}
	if got := read(c); !strings.HasPrefix(got, "<134>") || !strings.HasSuffix(got, ": two\n") {
		t.Errorf("%q", got)
	}
	c.Close()
	if got := past(t, dir, o, -1); !strings.HasPrefix(got, "one\ntwo\n") {
		t.Errorf("the copy has %q", got)
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, err = Open(t.TempDir(), Options{Driver: SyslogD, Syslog: &Syslog{Network: "tcp", Address: addr}})
	if want := fmt.Sprintf("dial tcp %s: connect: connection refused", addr); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := openJournald(filepath.Join(t.TempDir(), "none"), Options{}); err == nil || !strings.HasPrefix(err.Error(), "journald is not enabled on this host") {
		t.Error(err)
	}
}

func TestJournaldFields(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	_, next := datagrams(t, "unixgram", socket)
	d, err := openJournald(socket, Options{Container: Container{
		ID: "0123456789abcdef", Name: "web", Image: "busybox", Tag: "tag", Attrs: map[string]string{"com.example/x": "a\nb", "_9": "none"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	d.add(entry{time: time.Unix(5, 6).UTC(), stream: Stderr, line: []byte("a piece")})
	got := map[string]string{}
	for b := []byte(next()); len(b) > 0; {
		name, rest, ok := bytes.Cut(b, []byte{'\n'})
		if !ok || len(rest) < 8 {
			t.Fatalf("%q is no field", b)
		}
		n := binary.LittleEndian.Uint64(rest)
		got[string(name)], b = string(rest[8:8+n]), rest[8+n+1:]
	}
	want := map[string]string{
		"CONTAINER_ID": "0123456789ab", "CONTAINER_ID_FULL": "0123456789abcdef", "CONTAINER_NAME": "web", "IMAGE_NAME": "busybox",
		"CONTAINER_TAG": "tag", "SYSLOG_IDENTIFIER": "tag", "COM_EXAMPLE_X": "a\nb", "MESSAGE": "a piece", "PRIORITY": "3",
		"CONTAINER_PARTIAL_MESSAGE": "true", "SYSLOG_TIMESTAMP": "1970-01-01T00:00:05.000000006Z",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// slow is a driver that takes a line when the test says so.
type slow struct {
	open chan struct{}
	took []string
}

func (s *slow) add(e entry) {
	<-s.open
	s.took = append(s.took, string(e.line))
}
func (s *slow) flush() {}
func (s *slow) close() {}

func TestNonBlocking(t *testing.T) {
	s := &slow{open: make(chan struct{})}
	w := &Writer{to: newQueue(s, 100)}
	start := time.Now()
	for i := range 50 {
		w.Write(Stdout, []byte(fmt.Sprintf("line %04d\n", i))) // 10 bytes
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("the program waited %v", d)
	}
	close(s.open)
	w.Close()
	if got := strings.Join(s.took, ""); len(s.took) != 10 || !strings.HasPrefix(got, "line 0000\nline 0001\n") {
		t.Errorf("%d lines: %q", len(s.took), got)
	}
}
