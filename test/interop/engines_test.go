package interop

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"berth/test/lab"
)

// engine is another container engine with a store of its own.
type engine struct {
	name  string
	cmd   func(args ...string) *exec.Cmd
	pulls []string            // options of pull
	saves map[string][]string // kinds of archives, as skopeo calls them, with the options of save
}

// engines returns those that are installed. They want root.
func (p *person) engines() []engine {
	p.t.Helper()
	if !lab.Root() {
		return nil
	}
	var all []engine
	if _, err := exec.LookPath("podman"); err == nil {
		dir := p.t.TempDir()
		all = append(all, engine{
			name: "podman",
			cmd: func(args ...string) *exec.Cmd {
				store := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}
				return exec.Command("podman", append(store, args...)...)
			},
			pulls: []string{"--tls-verify=false"},
			saves: map[string][]string{"docker-archive": {"--format", "docker-archive"}, "oci-archive": {"--format", "oci-archive"}},
		})
	}
	if _, err := exec.LookPath("dockerd"); err == nil {
		d, docker, err := lab.StartDocker(p.t.TempDir(), "{}")
		if err != nil {
			// Installed, and not able to run here: it cannot be asked.
			p.t.Logf("docker is left out: %v", err)
			return all
		}
		p.t.Cleanup(d.Stop)
		all = append(all, engine{name: "docker", cmd: docker, saves: map[string][]string{"docker-archive": nil}})
	}
	return all
}

func (e engine) run(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(output(t, e.cmd(args...)))
}

func (e engine) load(t *testing.T, file string) {
	t.Helper()
	e.run(t, "load", "-i", file)
}

// id returns the ID of an image, written as berth does.
func (e engine) id(t *testing.T, name string) string {
	t.Helper()
	return "sha256:" + strings.TrimPrefix(e.run(t, "image", "inspect", "-f", "{{.Id}}", name), "sha256:")
}

func (e engine) pull(t *testing.T, source, name string) {
	t.Helper()
	e.run(t, append(append([]string{"pull", "-q"}, e.pulls...), source)...)
	e.run(t, "tag", source, name)
}
