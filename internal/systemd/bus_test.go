package systemd

import (
	"bufio"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/internal/cgroup"
)

// TestRealBus speaks with a real bus, which ends the connection at the first
// byte that is not as the specification has it. Nobody is called systemd on it,
// and it says so when a whole call has been read.
func TestRealBus(t *testing.T) {
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Fatal("this test starts a bus: install the Debian package dbus-daemon")
	}
	socket := filepath.Join(t.TempDir(), "bus")
	cmd := exec.CommandContext(t.Context(), daemon, "--session", "--nofork", "--nopidfile", "--address=unix:path="+socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var b *bus
	for end := time.Now().Add(30 * time.Second); b == nil; time.Sleep(10 * time.Millisecond) {
		if b, err = connect([]string{"/not/there", socket}); b == nil && time.Now().After(end) {
			t.Fatal(err)
		}
	}
	defer b.close()
	all := cgroup.Limits{Memory: 1 << 30, MemorySwap: 1 << 31, MemoryReservation: 5, PidsLimit: -1, CPUShares: 5, CPUQuota: 7000, CPUPeriod: 50000}
	list := append([]property{{"Delegate", true}, {"PIDs", []uint32{1, 2, 3}}, {"AllowedCPUs", []byte{1, 2, 3}}, {"Slice", "a.slice"}}, limits(all, true)...)
	for range 2 { // the second call is read only if the first was whole
		var told *busError
		err := b.start("x.scope", list)
		if !errors.As(err, &told) || told.name == "org.freedesktop.DBus.Error.InvalidArgs" || !strings.Contains(told.text, "systemd1") {
			t.Fatalf("the bus answers %v", err)
		}
	}
}

// fake is a systemd that answers on its own socket.
type fake struct {
	t      *testing.T
	conn   net.Conn
	in     *bufio.Reader
	failed bool   // a unit of the name has failed before
	result string // of the job
	calls  []string
}

func (f *fake) serve(l net.Listener) {
	var err error
	if f.conn, err = l.Accept(); err != nil {
		return
	}
	f.in = bufio.NewReader(f.conn)
	for line := ""; line != "BEGIN\r\n"; {
		if line, err = f.in.ReadString('\n'); err != nil {
			return
		}
		switch {
		case strings.HasSuffix(line, "AUTH EXTERNAL\r\n"):
			f.conn.Write([]byte("DATA\r\n"))
		case line == "DATA\r\n":
			f.conn.Write([]byte("OK 0123\r\n"))
		}
	}
	b := &bus{in: f.in}
	for serial := uint32(1); ; serial++ {
		m, err := b.receive()
		if err != nil {
			f.conn.Close()
			return
		}
		f.calls = append(f.calls, m.member)
		switch m.member {
		case "StartTransientUnit":
			if f.failed {
				f.failed = false
				f.send(kindError, serial, "s", func(w *writer) { w.str("it is there") }, manager+".UnitExists")
				continue
			}
			// Somebody else's job, and ours before its call is answered.
			f.signal("/job/1", "failed")
			f.signal("/job/2", f.result)
			f.send(kindReply, serial, "o", func(w *writer) { w.str("/job/2") }, "")
		default:
			f.send(kindReply, serial, "", nil, "")
		}
	}
}

func (f *fake) signal(job, result string) {
	f.send(kindSignal, 0, "uoss", func(w *writer) { w.u32(7); w.str(job); w.str("x.scope"); w.str(result) }, "")
}

func (f *fake) send(kind byte, replyTo uint32, sig string, body func(*writer), name string) {
	var args writer
	if body != nil {
		body(&args)
	}
	w := writer{b: []byte{'l', kind, 0, 1}}
	w.u32(uint32(len(args.b)))
	w.u32(99)
	w.array(8, func() {
		field := func(code byte, v any) {
			w.align(8)
			w.b = append(w.b, code)
			w.variant(v)
		}
		if kind == kindSignal {
			field(fieldMember, "JobRemoved")
		} else {
			w.align(8)
			w.b = append(w.b, fieldReplyTo)
			w.sig("u")
			w.u32(replyTo)
		}
		if name != "" {
			field(fieldError, name)
		}
		field(fieldSignature, signature(sig))
	})
	w.align(8)
	f.conn.Write(append(w.b, args.b...))
}

func TestStart(t *testing.T) {
	for _, c := range []struct {
		fake  fake
		want  string
		calls []string
	}{
		{fake{result: "done"}, "", []string{"Subscribe", "StartTransientUnit"}},
		{fake{result: "done", failed: true}, "", []string{"Subscribe", "StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"}},
		{fake{result: "canceled"}, `systemd answers "canceled"`, []string{"Subscribe", "StartTransientUnit"}},
	} {
		dir := t.TempDir()
		os.Mkdir(filepath.Join(dir, "systemd"), 0o755)
		l, err := net.Listen("unix", filepath.Join(dir, "systemd", "private"))
		if err != nil {
			t.Fatal(err)
		}
		f := c.fake
		f.t = t
		done := make(chan bool)
		go func() { f.serve(l); close(done) }()
		b, err := connect([]string{l.Addr().String()})
		if err != nil {
			t.Fatal(err)
		}
		err = b.start("x.scope", []property{{"Description", "x"}})
		b.close()
		<-done
		l.Close()
		if text := errorText(err); text != c.want || !slices.Equal(f.calls, c.calls) {
			t.Errorf("%+v: %q after %q", c, text, f.calls)
		}
	}
}

// TestConnectTellsOfWhatIsThere: a socket that nobody listens on says more than
// one that is not there, wherever it stands in the list.
func TestConnectTellsOfWhatIsThere(t *testing.T) {
	dead := filepath.Join(t.TempDir(), "bus")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, list := range [][]string{{"/not/there", dead}, {dead, "/not/there"}} {
		_, err := connect(list)
		if want := "cannot reach systemd: connect to " + dead + ": connection refused"; err == nil || err.Error() != want {
			t.Errorf("%v: %v, want %s", list, err, want)
		}
	}
	if _, err := connect([]string{"/not/there", "/nor/here"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}

// TestEncloseLooks: a systemd that says it has moved a process is not believed.
func TestEncloseLooks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "systemd", "private")
	os.Mkdir(filepath.Dir(path), 0o755)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f := fake{t: t, result: "done"}
	go f.serve(l)
	_, err = enclose([]string{path}, "user.slice", "berth-1", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), "systemd has") {
		t.Errorf("%v", err)
	}
}

// TestBelow: who is in the tree of his systemd need not be moved into it.
func TestBelow(t *testing.T) {
	for group, want := range map[string]bool{
		"/user.slice/user-1000.slice/session-3.scope":                             false,
		"/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope":    true,
		"/user.slice/user-1000.slice/user@1000.service":                           true,
		"/user.slice/user-100.slice/user@100.service/user.slice/berth-made.scope": false,
		"/user.slice/user-1000.slice/user@1000.services/x":                        false,
	} {
		if got := below(group, 1000); got != want {
			t.Errorf("%s: %v", group, got)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestHold(t *testing.T) {
	h, err := hold()
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("kill", "-0", "--", strconv.Itoa(h.pid)).Run(); err != nil {
		t.Errorf("the holder is not there: %v", err)
	}
	if fds, err := os.ReadDir("/proc/" + strconv.Itoa(h.pid) + "/fd"); err != nil || len(fds) > 0 {
		t.Errorf("the holder keeps %d descriptors: %v", len(fds), err)
	}
	h.release()
	h.release()
	if _, err := os.Stat("/proc/" + strconv.Itoa(h.pid)); err == nil {
		t.Error("the holder stays")
	}
}

func TestNames(t *testing.T) {
	for _, c := range [][5]string{
		{"a.slice", "berth", "1", "berth-1.scope", "a.slice"},
		{"a.slice", "", "1", "1.scope", "a.slice"},
		{"a.slice", "berth", "x.scope", "x.scope", "a.slice"},
		{"a/b.slice", "", "1", "", ""},
		{"a", "", "1", "", ""},
		{"a.slice", "..", "/../x", "", ""},
	} {
		if unit, slice, err := names(c[0], c[1], c[2]); unit != c[3] || slice != c[4] || (err != nil) != (c[3] == "") {
			t.Errorf("%v: %q, %q, %v", c, unit, slice, err)
		}
	}
}

func TestQuota(t *testing.T) {
	for _, c := range []struct {
		l    cgroup.Limits
		want uint64
	}{
		{cgroup.Limits{NanoCPUs: 15e8}, 1500000},
		{cgroup.Limits{CPUQuota: 1000}, 10000},
		{cgroup.Limits{CPUQuota: 33333, CPUPeriod: 100000}, 340000},
		{cgroup.Limits{CPUQuota: -1}, 1<<64 - 1},
	} {
		list := quota(c.l)
		if got := list[len(list)-1]; got.name != "CPUQuotaPerSecUSec" || got.value != c.want {
			t.Errorf("%+v: %+v, want %d", c.l, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(call(1, "a", "/b", "c", "d", "s", func(w *writer) { w.str("x") }))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headLen {
			return
		}
		if m, err := parse(b); err == nil {
			m.body.u32()
			m.body.str()
			m.body.sig()
		}
	})
}
