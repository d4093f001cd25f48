package escape

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"berth/test/images"
	"berth/test/lab"
)

// world is what an attack plays in: one account's corner, a folder of the host
// with a secret in it, and a process of the host.
type world struct {
	*testing.T
	p      *lab.Place
	dir    string // of the test, on the host
	canary string // holds the file secret with images.Secret
	host   int    // a process of the account outside of all containers
	n      int
}

// play makes a world, has an attack tried in it, and looks what is left of it.
func play(t *testing.T, l *lab.Lab, try func(w *world)) {
	dir := t.TempDir()
	// Other accounts' programs walk through here.
	for p := dir; p != os.TempDir() && len(p) > 1; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			break
		}
	}
	w := &world{T: t, dir: dir, canary: filepath.Join(dir, "canary")}
	if err := os.Mkdir(w.canary, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.canary, "secret"), []byte(images.Secret), 0o644); err != nil {
		t.Fatal(err)
	}
	sleep := exec.Command("sleep", "3600")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sleep.Process.Kill(); sleep.Wait() })
	w.host = sleep.Process.Pid
	w.p = l.Place(t, filepath.Join(dir, "place"))
	try(w)
	w.untouched()
	if left := w.p.Clean(); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// agent builds the attacker's program, once for both accounts.
func agent(t *testing.T, l *lab.Lab) string {
	path := filepath.Join(l.Dir, "agent")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "build", "-o", path, "./agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the attacker: %v\n%s", err, out)
	}
	return path
}

// image imports an image of busybox, the agent and some entries; changes are
// lines of a Dockerfile.
func (w *world) image(changes []string, entries ...images.Entry) string {
	w.Helper()
	box, err := os.ReadFile("/usr/bin/busybox")
	if err != nil {
		w.Fatalf("no busybox: run test/packages.sh: %v", err)
	}
	own, err := os.ReadFile(filepath.Join(w.p.Lab.Dir, "agent"))
	if err != nil {
		w.Fatal(err)
	}
	all := []images.Entry{
		{Name: "bin/"}, {Name: "etc/"}, {Name: "tmp/", Mode: 0o1777}, {Name: "vol/"},
		{Name: "bin/busybox", Body: string(box), Mode: 0o755}, {Name: "bin/agent", Body: string(own), Mode: 0o755},
		{Name: "etc/passwd", Body: "root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n"}, {Name: "etc/group", Body: "root:x:0:\n"},
	}
	for _, name := range []string{"sh", "cat", "echo", "true", "sleep", "ls", "id", "touch", "ln", "mkdir", "mv", "rm", "cp", "grep", "kill", "pwd", "mount", "chmod", "head"} {
		all = append(all, images.Entry{Name: "bin/" + name, Type: '2', Link: "busybox"})
	}
	w.n++
	name := fmt.Sprintf("attack%d", w.n)
	args := []string{"import"}
	for _, c := range append([]string{"ENV PATH=/bin"}, changes...) {
		args = append(args, "-c", c)
	}
	cmd := w.p.Command("berth", append(args, "-", name)...)
	cmd.Stdin = bytes.NewReader(images.Tar(append(all, entries...)...))
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatalf("import: %v\n%s", err, out)
	}
	return name
}

// run runs berth. Whatever comes of it, it comes soon, and tells no secret.
func (w *world) run(args ...string) lab.Result {
	w.Helper()
	const patience = time.Minute
	start := time.Now()
	r := w.p.RunFor(patience, args...)
	if time.Since(start) >= patience {
		w.Errorf("berth %s hangs", strings.Join(args, " "))
	}
	if strings.Contains(r.Out+r.Err, images.Secret) {
		w.Errorf("berth %s told the host's secret", strings.Join(args, " "))
	}
	for _, bad := range []string{"panic:", "goroutine "} {
		if strings.Contains(r.Out+r.Err, bad) {
			w.Errorf("berth %s crashed: %s", strings.Join(args, " "), r.Err)
		}
	}
	return r
}

// start runs a container in the background and waits for the line that says
// that its program is at work.
func (w *world) start(name, line string, args ...string) {
	w.Helper()
	w.p.Must(w, append([]string{"run", "-d", "--name", name}, args...)...)
	for start := time.Now(); time.Since(start) < lab.Patience; time.Sleep(20 * time.Millisecond) {
		if line == "" || strings.Contains(w.p.Run("logs", name).Out, line) {
			return
		}
	}
	w.Fatalf("container %s never said %q: %+v", name, line, w.p.Run("logs", name))
}

// untouched fails if somebody has been in the host's folder.
func (w *world) untouched() {
	w.Helper()
	entries, err := os.ReadDir(w.canary)
	if err != nil || len(entries) != 1 || entries[0].Name() != "secret" {
		w.Errorf("the host's folder has changed: %v, %v", entries, err)
		for _, e := range entries {
			if e.Name() != "secret" {
				os.RemoveAll(filepath.Join(w.canary, e.Name()))
			}
		}
	}
	secret := filepath.Join(w.canary, "secret")
	fi, err := os.Stat(secret)
	if err != nil || fi.Mode() != 0o644 {
		w.Errorf("the host's file has changed: %v, %v", fi, err)
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != images.Secret {
		w.Errorf("the host's file has changed: %q, %v", b, err)
	}
}

// noSecret fails if a file below dir tells the host's secret.
func (w *world) noSecret(dir string) {
	w.Helper()
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if b, _ := os.ReadFile(path); bytes.Contains(b, []byte(images.Secret)) {
			w.Errorf("%s tells the host's secret", path)
		}
		return nil
	})
}

// none fails if a line of out matches.
func (w *world) none(out, pattern string) {
	w.Helper()
	for _, line := range regexp.MustCompile("(?m)^.*"+pattern+".*$").FindAllString(out, -1) {
		w.Errorf("%s", line)
	}
}

// throughHost is the canary seen through the root of a process of the host, for
// a folder at which /proc of the host can be found.
func (w *world) throughHost(proc string) string {
	return fmt.Sprintf("%s/%d/root%s", proc, w.host, w.canary)
}
