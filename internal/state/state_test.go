package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Most of these tests need other processes, because that is what locks and
// owners are about. This program plays their parts.
const roleVar = "BERTH_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		d, err := Open(os.Getenv("ROOT"))
		if err == nil {
			err = play(d, role)
		}
		if err != nil {
			fmt.Println("ERROR", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func play(d *Dir, role string) error {
	id := os.Getenv("ID")
	switch role {
	case "claim", "claim and wait":
		err := d.Names("names", exists(d)).Claim("web", id)
		var used *NameInUseError
		switch {
		case err == nil:
			fmt.Println("WON", id)
		case errors.As(err, &used):
			fmt.Println("LOST to", used.ID)
		default:
			return err
		}
		if role == "claim and wait" {
			time.Sleep(time.Minute)
		}
	case "temp and wait":
		t, err := d.Temp()
		if err != nil {
			return err
		}
		if err := os.MkdirAll(t.Path("a", "b"), 0o755); err != nil {
			return err
		}
		if err := os.Chmod(t.Path("a"), 0); err != nil {
			return err
		}
		fmt.Println("TEMP", t.Path())
		time.Sleep(time.Minute)
	case "lock and wait":
		if _, err := Lock(d.Path("lock")); err != nil {
			return err
		}
		fmt.Println("LOCKED")
		time.Sleep(time.Minute)
	case "count":
		for range 20 {
			if err := count(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// count adds one to a number in a file, under a lock.
func count(d *Dir) error {
	tx, err := Lock(d.Path("lock"))
	if err != nil {
		return err
	}
	defer tx.Unlock()
	var n int
	if err := ReadJSON(d.Path("number"), &n); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return WriteJSON(d.Path("number"), n+1)
}

func exists(d *Dir) func(string) bool {
	return func(id string) bool {
		_, err := os.Stat(d.Path("containers", id))
		return err == nil
	}
}

func openDir(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func part(d *Dir, role, id string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVar+"="+role, "ROOT="+d.Root(), "ID="+id)
	return cmd
}

// begin starts a part and returns the first line it says. The test kills it.
func begin(t *testing.T, d *Dir, role, id string) (*exec.Cmd, string) {
	t.Helper()
	cmd := part(d, role, id)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	b := make([]byte, 4096)
	n, err := out.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(string(b[:n]))
}

func kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// atOnce runs n parts together and returns all they said.
func atOnce(t *testing.T, n int, d *Dir, role string) []string {
	t.Helper()
	said := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			out, err := part(d, role, fmt.Sprintf("id%d", i)).CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			said[i] = strings.TrimSpace(string(out))
		})
	}
	wg.Wait()
	return said
}

func TestOpen(t *testing.T) {
	d := openDir(t)
	if fi, err := os.Stat(d.Root()); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if b, err := os.ReadFile(d.Path("version")); err != nil || string(b) != "1\n" {
		t.Errorf("version %q, %v", b, err)
	}
	if _, err := Open(d.Root()); err != nil {
		t.Errorf("again: %v", err)
	}
	for _, c := range []struct{ version, want string }{
		{"3\n", "was written by a newer berth (layout 3, this one knows 2)"},
		{"2\n", ErrUnplaced.Error()},
		{"x", `its version file holds "x", not a number`},
		{"", `its version file holds "", not a number`},
	} {
		if err := os.WriteFile(d.Path("version"), []byte(c.version), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(d.Root()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("version %q: %v", c.version, err)
		}
	}
	if _, err := Open("relative"); err == nil {
		t.Error("a relative root was taken")
	}
	// A crash while the root was made: no version yet, some folders.
	half := filepath.Join(t.TempDir(), "half")
	if err := os.MkdirAll(filepath.Join(half, "oci"), 0o700); err != nil {
		t.Fatal(err)
	}
	if d, err := Open(half); err != nil {
		t.Error(err)
	} else if _, err := os.Stat(d.Path("tmp")); err != nil {
		t.Error(err)
	}
}

func TestOpenAtOnce(t *testing.T) {
	d := &Dir{root: filepath.Join(t.TempDir(), "a", "b")}
	atOnce(t, 20, d, "nothing")
	if left, _ := filepath.Glob(d.Path(".version*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestWriteFileIsAtomic: a reader beside a writer sees one text or the other.
func TestWriteFileIsAtomic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	texts := [][]byte{bytes.Repeat([]byte("a"), 100_000), bytes.Repeat([]byte("b"), 70_000)}
	if err := WriteFile(path, texts[0], 0o640); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				got, err := os.ReadFile(path)
				if err != nil || !bytes.Equal(got, texts[0]) && !bytes.Equal(got, texts[1]) {
					t.Errorf("a reader saw %d bytes, %v", len(got), err)
					return
				}
			}
		})
	}
	for i := range 200 {
		write := WriteVolatile
		if i%20 == 0 {
			write = WriteFile
		}
		if err := write(path, texts[i%2], 0o640); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	wg.Wait()
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestWriteFileFails(t *testing.T) {
	dir := t.TempDir()
	if err := WriteFile(filepath.Join(dir, "missing", "file"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a missing folder: %v", err)
	}
	// In the place of a folder nothing can be renamed.
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "folder"), nil, 0o600); err == nil {
		t.Error("over a folder: no error")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestReadJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	if err := ReadJSON(path, new(int)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := WriteJSON(path, map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	var m map[string]int
	if err := ReadJSON(path, &m); err != nil || m["a"] != 1 {
		t.Errorf("%v, %v", m, err)
	}
	if err := os.WriteFile(path, []byte(`{"a":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ReadJSON(path, &m); err == nil || !strings.Contains(err.Error(), path+" is damaged") {
		t.Errorf("damaged: %v", err)
	}
	if err := WriteJSON(path, make(chan int)); err == nil {
		t.Error("a channel was written")
	}
}

func TestLockCounts(t *testing.T) {
	d := openDir(t)
	atOnce(t, 10, d, "count")
	var n int
	if err := ReadJSON(d.Path("number"), &n); err != nil || n != 200 {
		t.Errorf("10 processes added 20 each and got %d, %v", n, err)
	}
}

func TestLockKinds(t *testing.T) {
	d := openDir(t)
	path := d.Path("lock")
	a, err := RLock(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := RLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("beside two readers: %v", err)
	}
	a.Unlock()
	a.Unlock() // a second time is harmless
	b.Unlock()
	x, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	x.Unlock()
	var none *Tx
	none.Unlock()
	if _, err := Lock(filepath.Join(d.Root(), "missing", "lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a missing folder: %v", err)
	}
}

// TestLockEndsWithItsHolder: SIGKILL frees it.
func TestLockEndsWithItsHolder(t *testing.T) {
	d := openDir(t)
	cmd, said := begin(t, d, "lock and wait", "")
	if said != "LOCKED" {
		t.Fatal(said)
	}
	if _, err := TryLock(d.Path("lock")); !errors.Is(err, ErrLocked) {
		t.Errorf("beside its holder: %v", err)
	}
	kill(cmd)
	tx, err := Lock(d.Path("lock"))
	if err != nil {
		t.Fatal(err)
	}
	tx.Unlock()
}

// TestLockRelink: who waited for a lock whose file was removed and made anew
// must not believe that he holds it.
func TestLockRelink(t *testing.T) {
	d := openDir(t)
	folder := d.Path("containers", "x")
	path := filepath.Join(folder, "lock")
	for range 50 {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		first, err := Lock(path)
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan *Tx, 1)
		go func() {
			tx, err := Lock(path)
			if err != nil {
				t.Error(err)
			}
			got <- tx
		}()
		time.Sleep(time.Millisecond)
		// The folder goes and comes back with a lock of its own, which is
		// taken before the old one is released.
		if err := os.Rename(folder, folder+".gone"); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		second, err := TryLock(path)
		if errors.Is(err, ErrLocked) {
			// On a busy machine the other one comes only now, and rightly
			// gets the new lock.
			first.Unlock()
			(<-got).Unlock()
			if err := errors.Join(os.RemoveAll(folder), os.RemoveAll(folder+".gone")); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		first.Unlock()
		select {
		case tx := <-got:
			if tx != nil {
				t.Fatal("two hold the lock")
			}
		case <-time.After(5 * time.Millisecond):
		}
		second.Unlock()
		third := <-got
		if third == nil {
			t.Fatal("nobody holds the lock")
		}
		third.Unlock()
		if err := errors.Join(os.RemoveAll(folder), os.RemoveAll(folder+".gone")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOwner(t *testing.T) {
	d := openDir(t)
	if !Self().Alive() || (Owner{}).Alive() {
		t.Error("Alive")
	}
	cmd, _ := begin(t, d, "lock and wait", "")
	o, err := OwnerOf(cmd.Process.Pid)
	if err != nil || !o.Alive() {
		t.Fatalf("%v, %v", o, err)
	}
	if (Owner{Pid: o.Pid, Start: o.Start + 1}).Alive() {
		t.Error("another process with the same pid counts as this one")
	}
	if back, err := ParseOwner(o.String()); err != nil || back != o {
		t.Errorf("%v became %v, %v", o, back, err)
	}
	kill(cmd)
	if o.Alive() {
		t.Error("alive after SIGKILL")
	}
	for _, s := range []string{"", "1", "1.", ".1", "a.b", "1.2.3", "-1.-2", "1.-2", "99999999999999999999.1"} {
		if o, err := ParseOwner(s); err == nil {
			t.Errorf("ParseOwner(%q) = %v", s, o)
		}
	}
}

func FuzzParseOwner(f *testing.F) {
	f.Add("12.345")
	f.Fuzz(func(t *testing.T, s string) {
		if o, err := ParseOwner(s); err == nil {
			if back, err := ParseOwner(o.String()); err != nil || back != o {
				t.Errorf("%q: %v, then %v, %v", s, o, back, err)
			}
		}
	})
}
