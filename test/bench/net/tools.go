package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// account is the ordinary account that berth is measured as, too: it owns
// nothing but its folder.
const account = 54321

// image is the name that iperf3 has as an image.
const image = "bench-net:latest"

// tool is one engine, as one account.
type tool struct {
	name    string
	network string // a bridge of its own
	// published is on which port of the host the server answers.
	published string
	command   func(args ...string) *exec.Cmd
	options   []string // for run
	served    bool     // its server has been started
}

// findTools returns berth, as root and as an ordinary account, and what else is
// installed. What does not work is found out when it is measured.
func findTools(dir string) ([]*tool, error) {
	archive := filepath.Join(dir, "image.tar")
	if err := writeImage(archive); err != nil {
		return nil, err
	}
	program := filepath.Join(dir, "berth")
	if err := copyFile("bin/berth", program); err != nil {
		return nil, fmt.Errorf("%w: make build", err)
	}
	tools := []*tool{
		{name: "berth, root", command: berth(program, filepath.Join(dir, "root"), 0)},
		{name: "berth, ordinary account", command: berth(program, filepath.Join(dir, "account"), account)},
	}
	if path, err := exec.LookPath("podman"); err == nil {
		root := filepath.Join(dir, "podman")
		podman := func(args ...string) *exec.Cmd {
			return exec.Command(path, append([]string{"--root", root, "--runroot", root + ".run", "--cgroup-manager", "cgroupfs", "--runtime", "runc"}, args...)...)
		}
		// It would raise these limits, which not every root may.
		tools = append(tools, &tool{name: "podman, root", command: podman, options: []string{"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}})
	}
	if path, err := exec.LookPath("docker"); err == nil && exec.Command(path, "version").Run() == nil {
		// Its daemon is in the machine's network: only what stays there can be
		// compared.
		tools = append(tools, &tool{name: "docker", command: func(args ...string) *exec.Cmd { return exec.Command(path, args...) }})
	}
	for i, t := range tools {
		t.network, t.published = "bench-net", fmt.Sprint(15201+i)
		if out, err := t.command("import", archive, image).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: import: %w\n%s", t.name, err, out)
		}
		if out, err := t.command("network", "create", t.network).CombinedOutput(); err != nil {
			fmt.Printf("%s: network create: %v: %s\n", t.name, err, out)
		}
	}
	return tools, nil
}

// berth is how to call it with a data root of its own.
func berth(program, root string, id int) func(args ...string) *exec.Cmd {
	_ = os.MkdirAll(root, 0o755)
	_ = os.Chown(root, id, id)
	return func(args ...string) *exec.Cmd {
		cmd := exec.Command(program, args...)
		cmd.Dir = root
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + root, "BERTH_ROOT=" + root + "/data"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(id), Gid: uint32(id)}}
		return cmd
	}
}

func (t *tool) run(args ...string) *exec.Cmd {
	return t.command(slices.Concat([]string{"run"}, t.options, args)...)
}

// start returns how long a container takes that does nothing.
func (t *tool) start(options ...string) func() (float64, error) {
	return func() (float64, error) {
		cmd := t.run(append(options, "--rm", image, "/bin/busybox", "true")...)
		began := time.Now()
		out, err := cmd.CombinedOutput()
		if err != nil {
			return 0, withOutput(err, out)
		}
		return float64(time.Since(began).Microseconds()) / 1000, nil
	}
}

// serve starts the container that others connect to.
func (t *tool) serve() error {
	if t.served {
		return nil
	}
	_ = t.command("rm", "-f", "server").Run()
	out, err := t.run("-d", "--name", "server", "--network", t.network, "-p", t.published+":5201",
		image, "/usr/bin/iperf3", "-s").CombinedOutput()
	if err != nil {
		return withOutput(err, out)
	}
	t.served = true
	time.Sleep(500 * time.Millisecond) // until it listens
	return nil
}

// client measures from a container on the same network.
func (t *tool) client(to, port string) (float64, error) {
	return iperf(t.run(append([]string{"--rm", "--network", t.network, image}, clientArguments(to, port)...)...))
}

func toolPair(t *tool) func() (float64, error) {
	return func() (float64, error) {
		if err := t.serve(); err != nil {
			return 0, err
		}
		out, err := t.command("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "server").Output()
		if err != nil {
			return 0, withOutput(err, out)
		}
		return t.client(strings.TrimSpace(string(out)), "5201")
	}
}

func toHost(t *tool) func() (float64, error) {
	return func() (float64, error) { return t.client(host, "5202") }
}

func toPort(t *tool) func() (float64, error) {
	return func() (float64, error) {
		if err := t.serve(); err != nil {
			return 0, err
		}
		a := clientArguments("127.0.0.1", t.published)
		return iperf(exec.Command(a[0], a[1:]...))
	}
}

func (t *tool) clean() {
	_ = t.command("rm", "-f", "server").Run()
	_ = t.command("network", "rm", t.network).Run()
	_ = t.command("rmi", image).Run()
}

// writeImage packs iperf3 with its libraries, and busybox.
func writeImage(to string) error {
	out, err := exec.Command("ldd", "/usr/bin/iperf3").Output()
	if err != nil {
		return fmt.Errorf("iperf3: %w: test/packages.sh installs it", err)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	// iperf3 keeps what it sends in a file there.
	err = w.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777})
	files := append(regexp.MustCompile(`/\S+`).FindAllString(string(out), -1), "/usr/bin/iperf3")
	for _, name := range files {
		err = errors.Join(err, pack(w, name, name))
	}
	return errors.Join(err, pack(w, busybox, "/bin/busybox"), w.Close(), f.Close())
}

func pack(w *tar.Writer, file, name string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(name, "/"), Size: info.Size(), Mode: 0o755}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("bin/berth is missing")
	}
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}
