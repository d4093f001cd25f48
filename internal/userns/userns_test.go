package userns

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"berth/internal/host"
	"berth/internal/nsinit"
	"berth/internal/userns/usernstest"
)

// account54321 is who the tests with real namespaces run as.
const account54321 = usernstest.ID

func TestMain(m *testing.M) { usernstest.Main(m) }

func TestExtends(t *testing.T) {
	had := Map{UIDs: []Range{{0, 1000, 1}, {1, 100000, 10}}, GIDs: []Range{{0, 1000, 1}, {1, 100000, 10}}}
	with := func(uids ...Range) Map { return Map{UIDs: append([]Range{{0, 1000, 1}}, uids...), GIDs: had.GIDs} }
	for what, c := range map[string]struct {
		now  Map
		want bool
	}{
		"the same":     {had, true},
		"more":         {with(Range{1, 100000, 10}, Range{11, 200000, 5}), true},
		"a longer one": {with(Range{1, 100000, 65536}), true},
		"in two":       {with(Range{1, 100000, 4}, Range{5, 100004, 6}), true},
		"moved":        {with(Range{1, 100001, 10}), false},
		"shorter":      {with(Range{1, 100000, 9}), false},
		"in the back":  {with(Range{1, 200000, 5}, Range{6, 100000, 10}), false},
		"none":         {with(), false},
		"other groups": {Map{UIDs: had.UIDs, GIDs: []Range{{0, 1000, 1}, {1, 5, 10}}}, false},
		"another id":   {Map{UIDs: []Range{{0, 1001, 1}, {1, 100000, 10}}, GIDs: had.GIDs}, false},
	} {
		if got := c.now.Extends(had); got != c.want {
			t.Errorf("%s: %t", what, got)
		}
	}
}

func TestRanges(t *testing.T) {
	if !usernstest.As(t, "other:100000:5\nranged:200000:10\n54321:300000:65536\nranged:54320:3\nranged:200005:1\n", "ranged:400000:7\n") {
		return
	}
	got, err := Ranges(host.Host{UID: account54321, GID: account54321})
	if err != nil {
		t.Fatal(err)
	}
	want := Map{
		UIDs: []Range{{0, 54321, 1}, {1, 200000, 10}, {11, 300000, 65536}},
		GIDs: []Range{{0, 54321, 1}, {1, 400000, 7}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got.Max() != 7 || !got.Inside(65546, 7) || got.Inside(65547, 7) || got.Inside(1, 8) {
		t.Errorf("Max %d, Inside %t %t %t", got.Max(), got.Inside(65546, 7), got.Inside(65547, 7), got.Inside(1, 8))
	}
}

func TestRangesOfNobody(t *testing.T) {
	if !usernstest.As(t, "other:100000:65536\n", "other:100000:65536\n") {
		return
	}
	_, err := Ranges(host.Host{UID: account54321, GID: account54321})
	want := "/etc/subuid has no line for ranged (uid 54321): an administrator grants 65536 ids with: echo ranged:165536:65536 | sudo tee -a /etc/subuid /etc/subgid"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestRangesOfRoot(t *testing.T) {
	if _, err := Ranges(host.Host{}); err == nil || !strings.Contains(err.Error(), "root has all ids") {
		t.Errorf("got %v", err)
	}
}

// TestNoHelpers looks for the programs where there are none, and where one has
// no rights.
func TestNoHelpers(t *testing.T) {
	for _, c := range []struct {
		name string
		root fs.FS
		want string
	}{
		{"none", fstest.MapFS{}, "newuidmap is not installed"},
		{"no program", fstest.MapFS{"usr/bin/newuidmap": {Mode: 0o644}}, "newuidmap is not installed"},
		{"elsewhere", fstest.MapFS{"opt/newuidmap": {Mode: 0o755}}, "newuidmap is not installed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := usable(c.root, []string{"relative", "/usr/bin"})
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if why := powerless(plain); !strings.HasPrefix(why, "it has neither the set-user-ID bit") {
		t.Errorf("a plain program: %q", why)
	}
}

func TestExists(t *testing.T) {
	have := parseMap("         0       1000          1\n         1     100000      65536\n")
	for _, c := range []struct {
		r    Range
		want bool
	}{
		{Range{Outside: 0, Size: 65537}, true}, {Range{Outside: 65536, Size: 1}, true},
		{Range{Outside: 65536, Size: 2}, false}, {Range{Outside: 100000, Size: 1}, false},
	} {
		if got := exists(have, c.r); got != c.want {
			t.Errorf("%v: %t", c.r, got)
		}
	}
}

func TestAsked(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "passwd: files sss\n": false, "subid: files\n": false, " subid:  sss\n": true, "#subid: sss\n": false,
	} {
		if got := asked(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

func TestStart(t *testing.T) {
	if !usernstest.As(t, "ranged:200000:100\n", "ranged:300000:100\n") {
		return
	}
	m, err := Ranges(host.Host{UID: account54321, GID: account54321})
	if err != nil {
		t.Fatal(err)
	}
	ns, err := Open(m)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	dir, err := os.MkdirTemp("/tmp", "userns-test-")
	if err != nil {
		t.Fatal(err)
	}
	in, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	inW.WriteString("hello\n")
	inW.Close()
	outR, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	const script = `read word; echo "$(id -u) $(id -g) $PWD $A $word $(cat /proc/self/setgroups)"
cat /proc/self/uid_map | tr -s ' '; touch mine his && chown 7:9 his && echo fourth >&3; ls /proc/self/fd | tr '\n' ' '
mount -t tmpfs none /proc/sys && echo mounted`
	p, err := Start(ns, Command{
		Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"A=b", "PATH=/usr/bin:/bin"}, Dir: dir,
		Files: []*os.File{in, out, out, out}, Namespaces: unix.CLONE_NEWNS,
	})
	in.Close()
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(outR)
	if code := p.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	want := "0 0 " + dir + " b hello allow\n 0 54321 1\n 1 200000 100\nfourth\n0 1 2 3 4 mounted\n"
	if string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "his"), &st); err != nil || st.Uid != 200006 || st.Gid != 300008 {
		t.Errorf("the file of another: %v, owner %d:%d", err, st.Uid, st.Gid)
	}
	if _, err := os.ReadDir("/proc/self/fd"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	p, err = Start(ns, Command{Path: "/bin/rm", Args: []string{"rm", "-r", dir}})
	if err != nil || p.Wait() != 0 {
		t.Error("cannot remove the folder from inside:", err)
	}
	if _, err := Start(ns, Command{Path: "/nowhere"}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a program that is not there: %v", err)
	}
}

// TestNest changes the places of two ids.
func TestNest(t *testing.T) {
	if !usernstest.As(t, "ranged:200000:100\n", "ranged:300000:100\n") {
		return
	}
	m, err := Ranges(host.Host{UID: account54321, GID: account54321})
	if err != nil {
		t.Fatal(err)
	}
	ns, err := Open(m)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	swap := []Range{{0, 5, 1}, {1, 1, 4}, {5, 0, 1}, {6, 6, 95}}
	inner, err := Nest(ns, Map{UIDs: swap, GIDs: swap})
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "userns-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	script := "id -u; stat -c %u " + dir + "; chown 3 " + dir + "; chown 5 " + dir + "; tr -s ' ' </proc/self/gid_map"
	zero := nsinit.Int(0)
	// The inner one is entered from the outer one, whose root has made it.
	p := &nsinit.Program{Ops: []nsinit.Op{
		enter(),
		{Call: "setns", Args: []nsinit.Arg{nsinit.Ref(nsinit.RegFree), nsinit.Flags(unix.CLONE_NEWUSER)}},
		{Call: "dup3", Args: []nsinit.Arg{nsinit.Ref(nsinit.RegStdout), nsinit.Int(1), nsinit.Int(0)}},
		{Call: "setresuid", Args: []nsinit.Arg{zero, zero, zero}},
		{Call: "execve", Args: []nsinit.Arg{nsinit.Str("/bin/sh"), nsinit.Vec([]string{"sh", "-c", script}), nsinit.Vec([]string{"PATH=/usr/bin:/bin"})}},
	}}
	regs := registers(ns)
	regs[nsinit.RegFree], regs[nsinit.RegStdout] = int(inner.Fd()), int(w.Fd())
	if _, err := nsinit.Spawn(p, regs); err != nil {
		t.Fatal(err)
	}
	w.Close()
	got, _ := io.ReadAll(r)
	if want := "0\n5\n 0 5 1\n 1 1 4\n 5 0 1\n 6 6 95\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestOpenRefused asks for an id that nobody has granted.
func TestOpenRefused(t *testing.T) {
	if !usernstest.As(t, "ranged:200000:100\n", "ranged:300000:100\n") {
		return
	}
	_, err := Open(Map{UIDs: []Range{{0, 54321, 1}, {1, 200000, 101}}, GIDs: []Range{{0, 54321, 1}}})
	if err == nil || !strings.HasPrefix(err.Error(), "cannot map the ids of /etc/subuid and /etc/subgid: newuidmap: ") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkOpen(b *testing.B) {
	h, err := host.Detect()
	if err != nil {
		b.Fatal(err)
	}
	m, err := Ranges(h)
	if err != nil {
		b.Skip(err)
	}
	for b.Loop() {
		ns, err := Open(m)
		if err != nil {
			b.Fatal(err)
		}
		ns.Close()
	}
}

func TestKeep(t *testing.T) {
	m := Map{UIDs: []Range{{0, 1000, 1}, {1, 100000, 10}}, GIDs: []Range{{0, 1000, 1}, {1, 100000, 2}}}
	for _, c := range []struct {
		uid, gid uint32
		want     Map
	}{
		{0, 0, Map{}},
		{5, 0, Map{UIDs: []Range{{0, 5, 1}, {1, 1, 4}, {5, 0, 1}, {6, 6, 5}}, GIDs: []Range{{0, 0, 3}}}},
		{1, 2, Map{UIDs: []Range{{0, 1, 1}, {1, 0, 1}, {2, 2, 9}}, GIDs: []Range{{0, 2, 1}, {1, 1, 1}, {2, 0, 1}}}},
		{1234567, 10, Map{UIDs: []Range{{0, 10, 1}, {1, 1, 9}, {1234567, 0, 1}}, GIDs: []Range{{0, 2, 1}, {1, 1, 1}, {10, 0, 1}}}},
	} {
		if got := m.Keep(c.uid, c.gid); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%d:%d: got %v, want %v", c.uid, c.gid, got, c.want)
		}
	}
}
