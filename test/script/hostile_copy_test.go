package script

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/test/images"
	"berth/test/lab"
)

// swapper is a container that never lets a folder be what it was: now a
// folder, now a link to somewhere on the host.
const swapper = `mkdir -p /w/a/sub /w/b; echo inside > /w/a/sub/f; ln -s CANARY /w/evil; ln -s /etc /w/etc
while :; do
	mv /w/a /w/was; ln -s CANARY /w/a; rm /w/a; mv /w/was /w/a
	mv /w/a/sub /w/a/was; ln -s CANARY /w/a/sub; rm -rf /w/a/sub; ln -s /proc/1/root /w/a/sub; rm /w/a/sub; mv /w/a/was /w/a/sub
done`

// TestHostileCopy copies into and out of a container that exchanges folders for
// links meanwhile. However it ends, the host's folder stays as it was and its
// secret is not told.
func TestHostileCopy(t *testing.T) {
	lab.Accounts(t, func(t *testing.T, l *lab.Lab) {
		canary(t)
		p := l.Place(t, t.TempDir())
		here := t.TempDir()
		src := filepath.Join(here, "src", "sub")
		if err := os.MkdirAll(src, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"secret", "f", "new"} {
			if err := os.WriteFile(filepath.Join(src, name), []byte("from the host\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p.Must(t, "run", "-d", "--name", "swapper", "--network", "none", "busybox", "sh", "-c", strings.ReplaceAll(swapper, "CANARY", images.Canary))
		in, out := 0, 0
		for range 100 {
			if p.Run("cp", filepath.Join(here, "src")+"/.", "swapper:/w/a").Code == 0 {
				in++
			}
			dst := filepath.Join(here, "out")
			r := p.Run("cp", "swapper:/w/a/", dst)
			if r.Code == 0 {
				out++
			}
			noSecret(t, dst)
			if t.Failed() {
				break
			}
			os.RemoveAll(dst)
		}
		if in == 0 || out == 0 {
			t.Errorf("%d copies in and %d out came to an end: this tests nothing", in, out)
		}
		t.Logf("%d of 100 in, %d of 100 out", in, out)
		entries, err := os.ReadDir(images.Canary)
		if err != nil || len(entries) != 1 {
			t.Errorf("the host's folder has changed: %v, %v", entries, err)
		}
		if b, err := os.ReadFile(filepath.Join(images.Canary, "secret")); err != nil || string(b) != images.Secret {
			t.Errorf("the host's file has changed: %q, %v", b, err)
		}
		p.Must(t, "rm", "-f", "swapper")
		if left := p.Clean(); len(left) > 0 {
			t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
		}
	})
}

// noSecret fails if a file below dir tells the host's secret.
func noSecret(t *testing.T, dir string) {
	t.Helper()
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if b, _ := os.ReadFile(path); strings.Contains(string(b), images.Secret) {
			t.Errorf("%s tells the host's secret", path)
		}
		return nil
	})
}
