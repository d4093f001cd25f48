package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"berth/internal/layer"
)

func TestAptFile(t *testing.T) {
	e := openAt(t, filepath.Join(t.TempDir(), "root"))
	id := strings.Repeat("a", 64)
	withContainer(t, e, id)
	r, _, err := e.load(id)
	if err != nil {
		t.Fatal(err)
	}
	tree := t.TempDir()
	put(t, filepath.Join(tree, "etc/apt/sources.list"), "")
	for _, c := range []struct {
		name     string
		tree     string
		rootless bool
		dev      bool
		want     bool
	}{
		{"an account's, with apt", tree, true, false, true},
		{"root's", tree, false, false, false},
		{"without apt", t.TempDir(), true, false, false},
		{"with the user's /dev", tree, true, true, false},
	} {
		view, err := layer.NewView("", []string{c.tree})
		if err != nil {
			t.Fatal(err)
		}
		e.host.Rootless = c.rootless
		r.Mounts = nil
		if c.dev {
			r.Mounts = []container.MountPoint{{Destination: "/dev"}}
		}
		path, err := e.writeAptFile(r, view)
		view.Close()
		if err != nil || (path != "") != c.want || e.aptFileOf(r) != path {
			t.Errorf("%s: %q, %v, of a running one %q", c.name, path, err, e.aptFileOf(r))
		}
		if b, _ := os.ReadFile(path); c.want && !strings.Contains(string(b), `APT::Sandbox::User "root";`) {
			t.Errorf("%s: %s", c.name, b)
		}
	}
}
