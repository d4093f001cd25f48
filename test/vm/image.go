package vm

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"berth/test/lab"
)

//go:embed system.sh
var recipe []byte

// suites are the archives the kernels come from, by the first words of their
// versions. The older one has no overlay for ordinary accounts, no
// mount_setattr and no cgroup.kill.
var suites = map[string]string{
	"6.1":  "deb http://deb.debian.org/debian bookworm main",
	"5.10": "deb http://deb.debian.org/debian-security bullseye-security main",
}

// newest is the kernel that there must be.
const newest = "6.1"

// noKernel says that Debian's archive cannot be reached, or has no kernel.
type noKernel struct{ error }

func (e *noKernel) Unwrap() error { return e.error }

// image is a system that can be booted.
type image struct{ dir string }

func (i image) disk() string { return filepath.Join(i.dir, "disk") }
func (i image) key() string  { return filepath.Join(i.dir, "key") }

// kernel returns the newest kernel of a version.
func (i image) kernel(version string) (string, error) {
	found, err := filepath.Glob(filepath.Join(i.dir, "vmlinuz-"+version+".*"))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("no kernel %s in %s", version, i.dir)
	}
	return found[len(found)-1], nil
}

// openImage makes the system, or finds the one that this recipe has made
// before. It takes some minutes and 250 MB of downloads. Where there can be no
// such machine the test is left out.
func openImage(t *testing.T) image {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("left out: the machines are made for amd64 only")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skipf("left out: no QEMU (test/packages.sh installs it): %v", err)
	}
	cache := lab.Cache(t)
	sum := sha256.Sum256(recipe)
	dir := filepath.Join(cache, "vm-"+hex.EncodeToString(sum[:8]))
	lock, err := os.OpenFile(filepath.Join(cache, "vm.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		return image{dir}
	}
	fmt.Fprintln(os.Stderr, "vm: making a Debian system with two kernels (some minutes, kept for later runs)")
	work, err := os.MkdirTemp(cache, "vm-making-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	var unreachable *noKernel
	switch err := makeImage(work); {
	case errors.As(err, &unreachable):
		t.Skipf("left out: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(work, "image"), dir); err != nil {
		t.Fatal(err)
	}
	return image{dir}
}

func makeImage(work string) error {
	var debs []string
	for version, suite := range suites {
		deb, err := fetchKernel(filepath.Join(work, version), version, suite)
		switch {
		case err != nil && version == newest:
			return &noKernel{err}
		case err != nil: // a suite of the past may be taken away
			fmt.Fprintf(os.Stderr, "vm: no machine with Linux %s: %v\n", version, err)
		default:
			debs = append(debs, deb)
		}
	}
	script := filepath.Join(work, "system.sh")
	if err := os.WriteFile(script, recipe, 0o755); err != nil {
		return err
	}
	sys, out := filepath.Join(work, "system"), filepath.Join(work, "image")
	if err := do(work, script, append([]string{sys}, debs...)...); err != nil {
		return err
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	disk := filepath.Join(out, "disk")
	if err := do(work, "mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1,root_owner=0:0", "-d", sys, disk, "8G"); err != nil {
		return err
	}
	kernels, err := filepath.Glob(sys + ".kernel/boot/vmlinuz-*")
	if err != nil || len(kernels) != len(debs) {
		return fmt.Errorf("made %d kernels, want %d (%v)", len(kernels), len(debs), err)
	}
	if err := do(work, "cp", append(kernels, out)...); err != nil {
		return err
	}
	return do(work, "cp", "-p", sys+".key", filepath.Join(out, "key"))
}

// fetchKernel downloads the package with the newest kernel of a suite, with a
// state of apt that is its own.
func fetchKernel(dir, version, suite string) (string, error) {
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return "", err
		}
	}
	conf := filepath.Join(dir, "apt.conf")
	text := fmt.Sprintf("Dir::State %q;\nDir::State::lists %q;\nDir::Cache %q;\nDir::Etc::sourcelist %q;\nDir::Etc::sourceparts \"-\";\nDir::Etc::trustedparts \"/usr/share/keyrings\";\nAPT::Architecture \"amd64\";\nAPT::Sandbox::User \"root\";\nDir::State::status \"/dev/null\";\n",
		dir, filepath.Join(dir, "lists"), filepath.Join(dir, "cache"), filepath.Join(dir, "sources.list"))
	for name, body := range map[string]string{conf: text, filepath.Join(dir, "sources.list"): suite + "\n"} {
		if err := os.WriteFile(name, []byte(body), 0o644); err != nil {
			return "", err
		}
	}
	if err := do(dir, "apt-get", "-c", conf, "-qq", "update"); err != nil {
		return "", err
	}
	list, err := exec.Command("apt-cache", "-c", conf, "show", "linux-image-cloud-amd64").Output()
	if err != nil {
		return "", fmt.Errorf("no kernel in %q: %w", suite, err)
	}
	for line := range strings.Lines(string(list)) {
		depends, ok := strings.CutPrefix(line, "Depends: linux-image-"+version+".")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(depends, " ")
		name = "linux-image-" + version + "." + strings.TrimSpace(name)
		if err := do(dir, "apt-get", "-c", conf, "-qq", "download", name); err != nil {
			return "", err
		}
		found, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
		if err != nil || len(found) != 1 {
			return "", fmt.Errorf("%s: downloaded %d packages (%v)", name, len(found), err)
		}
		return found[0], nil
	}
	return "", fmt.Errorf("%q has no kernel %s", suite, version)
}

// do runs a program, and shows its output when it fails.
func do(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		if len(out) > 4000 {
			out = out[len(out)-4000:]
		}
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
