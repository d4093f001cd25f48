package inside

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/test/lab"
)

// filterWord has the test binary put a filter on itself and become the rest of
// its arguments.
const filterWord = "under-a-filter"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == filterWord {
		if err := filter(); err != nil {
			panic(err)
		}
		panic(unix.Exec(os.Args[2], os.Args[2:], os.Environ()))
	}
	os.Exit(m.Run())
}

// filter forbids this thread user namespaces, as services and sandboxes do: the
// bit CLONE_NEWUSER in the first argument of clone and unshare is EPERM.
func filter() error {
	runtime.LockOSThread()
	stmt := func(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }
	jump := func(code uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: code, K: k, Jt: yes, Jf: no}
	}
	const load, equal, set, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	program := []unix.SockFilter{
		stmt(load, 0), // the number of the call
		jump(equal, unix.SYS_CLONE3, 5, 0),
		jump(equal, unix.SYS_CLONE, 1, 0),
		jump(equal, unix.SYS_UNSHARE, 0, 4),
		stmt(load, 16), // the low half of its first argument, on a machine of this byte order
		jump(set, unix.CLONE_NEWUSER, 0, 2),
		stmt(ret, unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM)),
		stmt(ret, unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)), // arguments that a filter cannot see
		stmt(ret, unix.SECCOMP_RET_ALLOW),
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return errno
	}
	return nil
}

// result is how a program ended.
type result struct {
	code     int
	out, err string
}

func run(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r := result{lab.ExitCode(cmd.ProcessState), out.String(), errs.String()}
	t.Logf("%s\ncode %d\n%s%s", strings.Join(cmd.Args[1:], " "), r.code, r.out, r.err)
	return r
}

// says checks that a text matches all of the patterns, line by line.
func says(t *testing.T, what, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(text) {
			t.Errorf("%s: no line matches %q in\n%s", what, p, text)
		}
	}
}

// outer is Debian's podman with a store of its own, whose containers have berth,
// and a folder for its data.
type outer struct {
	t     *testing.T
	lab   *lab.Lab
	dir   string
	image string
}

func newOuter(t *testing.T, l *lab.Lab) outer {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pod") // podman wants a short path
	if err != nil {
		t.Fatal(err)
	}
	o := outer{t, l, dir, l.Open + "/library/busybox:latest"}
	// Podman raises these limits by default, which needs a capability that even
	// root lacks on some machines.
	text := "[containers]\ndefault_ulimits = [\"nofile=1024:4096\", \"nproc=1024:1024\"]\n[engine]\nevents_logger = \"file\"\n"
	if err := os.WriteFile(filepath.Join(dir, "containers.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		o.podman("rm", "-f", "-a", "-t", "0").Run()
		exec.Command("umount", filepath.Join(dir, "root")).Run() // vfs leaves its folder mounted on itself
		os.RemoveAll(dir)
	})
	if out, err := o.podman("pull", "-q", "--tls-verify=false", o.image).CombinedOutput(); err != nil {
		t.Fatalf("podman pull: %v\n%s", err, out)
	}
	return o
}

func (o outer) podman(args ...string) *exec.Cmd {
	own := []string{"--root", filepath.Join(o.dir, "root"), "--runroot", filepath.Join(o.dir, "run"), "--tmpdir", filepath.Join(o.dir, "tmp"),
		"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"}
	cmd := exec.Command("podman", append(own, args...)...)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+filepath.Join(o.dir, "containers.conf"))
	return cmd
}

// sh runs a script in a container that has berth and reaches the registry.
func (o outer) sh(t *testing.T, script string, options ...string) result {
	t.Helper()
	data, err := os.MkdirTemp(o.dir, "data")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(data, 0o777); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"run", "--rm", "--network", "host", "-v", o.lab.Berth() + ":/bin/berth:ro", "-v", data + ":/data",
		"-e", "HOME=/data/home", "-e", "BERTH_ROOT=/data/root", "-e", "I=" + o.image}, options...)
	return run(t, o.podman(append(args, o.image, "sh", "-c", script)...))
}

// TestInPodman runs berth in a container of podman's: with all rights as root,
// and with those that a container has without a word as an account and as root.
func TestInPodman(t *testing.T) {
	l := lab.Open(t)
	o := newOuter(t, l)
	const look = `berth pull -q $I >/dev/null || exit 9; berth doctor; echo doctor $?; berth run --rm --network none $I sh -c 'echo uid $(id -u); ps | grep -c "[b]erth doctor\|[b]erth run"; true'; echo run $?`

	t.Run("privileged", func(t *testing.T) {
		r := o.sh(t, look, "--privileged")
		says(t, "output", r.out, `^ok +user-namespaces +root makes`, `^ok +user-namespaces +an ordinary account`, `^doctor 0$`, `^uid 0$`, `^0$`, `^run 0$`)
		if strings.Contains(r.out, "surroundings") || strings.Contains(r.err, "hides") {
			t.Errorf("with all rights nothing is missing:\n%s%s", r.out, r.err)
		}
	})
	t.Run("account", func(t *testing.T) {
		r := o.sh(t, look, "--user", "1000:1000")
		says(t, "output", r.out, `^warn +surroundings +a /proc of its own is refused`, `^ok +overlay`, `^doctor 0$`, `^uid 0$`, `^run 0$`)
		says(t, "errors", r.err, `^WARNING: The container around berth hides parts of /proc and /sys`)
		// The container sees what runs around it, and gets no hold of it: those
		// are processes of its own account, in another user namespace.
		r = o.sh(t, `berth pull -q $I >/dev/null; sleep 1000 & P=$!; berth run -d --name one --network none $I sleep 1000 >/dev/null 2>&1; echo up $?
			berth exec one sh -c "grep -q sleep /proc/$P/cmdline && echo seen; for f in environ mem maps; do cat /proc/$P/\$f 2>/dev/null | head -c 1 | wc -c; done; for f in root exe fd/0; do readlink /proc/$P/\$f && echo open; done; ls /proc/$P/root/ && echo open; cat /proc/$P/fd/0 && echo open; kill -9 $P && echo open; echo > /proc/sys/kernel/hostname && echo open; hostname"
			kill -0 $P && echo lives; hostname; berth exec -u 7 one id -u; berth rm -f one >/dev/null; echo gone $?`, "--user", "1000:1000", "--hostname", "around")
		says(t, "output", r.out, `^up 0$`, `^seen$`, `^0\n0\n0\naround$`, `^lives$`, `^7$`, `^gone 0$`)
		if strings.Contains(r.out, "open") || strings.Contains(r.out, "/bin") || strings.Contains(r.err, "Usage") {
			t.Errorf("a process outside was looked into:\n%s%s", r.out, r.err)
		}
	})
	t.Run("root", func(t *testing.T) {
		r := o.sh(t, look)
		says(t, "output", r.out, `^fail +user-namespaces +root may not make a mount namespace .*--privileged`, `^doctor 1$`, `^run 125$`)
		says(t, "errors", r.err, `^berth: cannot make the namespaces of a container .*CAP_SYS_ADMIN.*--privileged`)
		r = o.sh(t, `berth pull -q $I >/dev/null; berth images -q; berth save -o /data/x.tar $I; echo save $?; berth load -q -i /data/x.tar; echo load $?; berth tag $I other; echo tag $?; berth rmi other >/dev/null; echo rmi $?`)
		says(t, "what needs no container", r.out, `^save 0$`, `^load 0$`, `^tag 0$`, `^rmi 0$`)
	})
	t.Run("no filter", func(t *testing.T) {
		r := o.sh(t, look, "--user", "1000:1000", "--security-opt", "seccomp=unconfined", "--security-opt", "unmask=ALL")
		says(t, "output", r.out, `^ok +user-namespaces`, `^doctor 0$`, `^uid 0$`, `^0$`, `^run 0$`)
		if strings.Contains(r.out, "/proc of its own") {
			t.Errorf("nothing is hidden:\n%s", r.out)
		}
	})
}

// TestNoUserNamespaces: each lock is named by what it is.
func TestNoUserNamespaces(t *testing.T) {
	l := lab.Open(t)
	root, err := os.MkdirTemp(l.Dir, "root")
	if err != nil {
		t.Fatal(err)
	}
	// A folder that is a root for these tests: without marks of whatever
	// container they run in.
	for _, d := range []string{"proc", "dev", "tmp/home", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range [][]string{{"cp", l.Berth(), root + "/berth"}, {"cp", os.Args[0], root + "/test"}, {"chmod", "755", root, root + "/test"}, {"mknod", "-m", "666", root + "/dev/null", "c", "1", "3"}, {"chown", "-R", "54321:54321", root + "/tmp"}} {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", step, err, out)
		}
	}
	try := func(t *testing.T, prepare string, before ...string) result {
		t.Helper()
		words := append(append([]string{"chroot", "--userspec=54321:54321", root}, before...), "/berth", "doctor")
		cmd := exec.Command("sh", "-c", prepare+` && mount -t proc proc "$0/proc" && exec "$@"`, root)
		cmd.Args = append(cmd.Args, words...)
		cmd.Env = []string{"HOME=/tmp/home", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		return run(t, cmd)
	}
	for _, c := range []struct {
		name, prepare string
		before        []string
		says          string
	}{
		{"chroot", "true", nil, `^fail +user-namespaces +this is a chroot`},
		{"filter", `mount --bind "$0" "$0"`, []string{"/test", filterWord}, `^fail +user-namespaces +a seccomp filter .*SystemCallFilter`},
		{"container", `mount --bind "$0" "$0" && touch "$0/.dockerenv"`, []string{"/test", filterWord}, `^fail +user-namespaces +the container around this one .*--privileged`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := try(t, c.prepare, c.before...)
			says(t, "output", r.out, c.says, `pull, push, load, save`)
			if r.code != 1 || strings.Contains(r.out, "Subject:") {
				t.Errorf("code %d, and no administrator is to be written to:\n%s", r.code, r.out)
			}
		})
	}
}
