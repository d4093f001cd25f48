package script

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/test/images"
	"berth/test/lab"
)

// accepted are hostile images that a careful engine can start all the same:
// the odd thing in them is harmless, or stays inside.
var accepted = []string{
	"hostile/hosts-link", "hostile/resolv-link", "hostile/passwd-junk",
	"hostile/tar-same-twice", "hostile/tar-file-then-dir", "hostile/tar-dir-then-file",
	"hostile/tar-root-entry", "hostile/tar-newline-name", "hostile/tar-empty",
}

// refused are hostile images whose start, or pull, must fail.
var refused = []string{
	"hostile/workdir-fd3", "hostile/workdir-fd7", "hostile/workdir-fd10",
	"hostile/user-huge", "hostile/user-max", "hostile/user-negative", "hostile/user-long", "hostile/group-huge",
	"hostile/entry-fifo", "hostile/entry-folder", "hostile/entry-missing", "hostile/entry-empty",
	"hostile/tar-hardlink-out", "hostile/tar-hardlink-dots", "hostile/tar-hardlink-nobody",
	"hostile/tar-cut", "hostile/tar-junk", "hostile/tar-wrong-diffid", "hostile/tar-no-gzip", "hostile/tar-root-file",
}

// TestHostileImages pulls and runs each hostile image. Whatever berth makes of
// it, in bounded time: the host's folder stays as it was, its secret is not
// told, an error is one readable text with Docker's code, and nothing is left.
func TestHostileImages(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		canary(t)
		dir := t.TempDir()
		for _, repo := range images.HostileNames() {
			t.Run(strings.TrimPrefix(repo, "hostile/"), func(t *testing.T) { runHostile(t, l, dir, repo) })
		}
	})
}

func canary(t *testing.T) {
	secret := filepath.Join(images.Canary, "secret")
	if lab.Root() {
		if err := os.MkdirAll(images.Canary, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(images.Canary, 0o777); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(secret) })
	}
	os.Remove(secret)
	if err := os.WriteFile(secret, []byte(images.Secret), 0o644); err != nil {
		t.Fatal(err)
	}
}

func runHostile(t *testing.T, l *lab.Lab, dir, repo string) {
	p := l.Place(t, dir)
	image := l.Open + "/" + repo
	pull := p.Run("pull", "-q", image)
	run := lab.Result{Code: 125, Err: "was not pulled"}
	if pull.Code == 0 {
		run = p.Run("run", "--rm", "--network", "none", image)
	}
	for what, r := range map[string]lab.Result{"pull": pull, "run": run} {
		said := r.Out + r.Err
		if r.Code == -1 || r.Code == 128+9 {
			t.Errorf("%s hung", what)
		}
		if strings.Contains(said, images.Secret) {
			t.Errorf("%s told the host's secret", what)
		}
		if strings.Contains(said, "goroutine ") || strings.Contains(said, "panic") {
			t.Errorf("%s crashed: %s", what, said)
		}
		if r.Code >= 125 && strings.TrimSpace(r.Err) == "" { // below it is the program's own
			t.Errorf("%s failed with code %d and without a word", what, r.Code)
		}
	}
	if pull.Code != 0 && pull.Code != 1 {
		t.Errorf("pull: exit code %d", pull.Code)
	}
	started := pull.Code == 0 && run.Code == 0 && strings.Contains(run.Out, "started")
	if slices.Contains(accepted, repo) && !started {
		t.Errorf("could run, but: %s%s", pull.Err, run.Err)
	}
	if slices.Contains(refused, repo) && pull.Code == 0 && run.Code == 0 {
		t.Errorf("must be refused, but ran: %s", run.Out)
	}
	t.Logf("pull %d, run %d: %.300s", pull.Code, run.Code, pull.Err+run.Err)
	entries, err := os.ReadDir(images.Canary)
	if err != nil || len(entries) != 1 || entries[0].Name() != "secret" {
		t.Errorf("the host's folder has changed: %v %v", entries, err)
		for _, e := range entries {
			os.RemoveAll(filepath.Join(images.Canary, e.Name()))
		}
		canary(t)
	}
	if left := p.Clean(); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	p.Run("image", "prune", "-af")
}
