package host

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// put writes a file below a test's folder.
func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDetect(t *testing.T) {
	t.Setenv("HOME", "/home/from-env")
	h, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	if h.Home != "/home/from-env" || h.UID != os.Geteuid() || h.Rootless != (h.UID != 0) {
		t.Errorf("%+v", h)
	}
	t.Setenv("HOME", "")
	if h, _ := Detect(); h.UID == 0 && h.Home != "/root" {
		t.Errorf("without HOME: %+v", h)
	}
	release, err := exec.Command("uname", "-r").Output()
	if err != nil || h.KernelVersion() != strings.TrimSpace(string(release)) {
		t.Errorf("kernel %q, uname says %q (%v)", h.KernelVersion(), release, err)
	}
	if last, err := h.LastCap(); err != nil || last < 37 {
		t.Errorf("last capability %d, %v", last, err)
	}
	if h.MemTotal() < 1<<20 || h.NCPU() < 1 || h.Machine() == "" || h.Hostname() == "" {
		t.Errorf("memory %d, processors %d, machine %q, name %q", h.MemTotal(), h.NCPU(), h.Machine(), h.Hostname())
	}
}

func TestLookupAccount(t *testing.T) {
	path := put(t, filepath.Join(t.TempDir(), "passwd"), "root:x:0:0:root:/root:/bin/bash\n\n# note\nbroken:x:7\n"+
		"ann:x:1000:1000:Ann,,,:/home/ann:/bin/sh\nlast:x:1001:1001::/home/last:")
	for uid, want := range map[int]account{
		0: {"root", "/root"}, 1000: {"ann", "/home/ann"}, 1001: {"last", "/home/last"}, 7: {}, 100: {},
	} {
		if got := lookupAccount(path, uid); got != want {
			t.Errorf("%d: %+v, want %+v", uid, got, want)
		}
	}
	if got := lookupAccount(path+"x", 0); got != (account{}) {
		t.Errorf("a missing file: %+v", got)
	}
}

func TestVersionAtLeast(t *testing.T) {
	for _, c := range []struct {
		release      string
		major, minor int
		want         bool
	}{
		{"6.1.0-18-amd64", 5, 11, true},
		{"5.11.0", 5, 11, true},
		{"5.10.234", 5, 11, false},
		{"4.18", 5, 0, false},
		{"5.15-rc1", 5, 15, true},
		{"", 1, 0, false},
		{"six", 1, 0, false},
		{"6", 6, 0, true},
	} {
		if got := versionAtLeast(c.release, c.major, c.minor); got != c.want {
			t.Errorf("%q at least %d.%d: %v", c.release, c.major, c.minor, got)
		}
	}
}

func TestUnquoteShell(t *testing.T) {
	for in, want := range map[string]string{
		`plain`: "plain", `"Debian GNU/Linux 12 (bookworm)"`: "Debian GNU/Linux 12 (bookworm)",
		`'a\b'`: `a\b`, `"a\"b\$c"`: `a"b$c`, `""`: "", `"`: `"`, ``: "",
	} {
		if got := unquoteShell(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestExplainUserns(t *testing.T) {
	if ExplainUserns(nil) != nil {
		t.Error("nil must stay nil")
	}
	free := map[string]string{
		"proc/self/ns/user":                         "",
		"proc/sys/user/max_user_namespaces":         "63000\n",
		"proc/sys/kernel/unprivileged_userns_clone": "1\n",
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		err   error
		want  string // part of the sentence
	}{
		{"no support", map[string]string{"proc/self/ns/user": "-"}, unix.EINVAL, "built without user namespaces"},
		{"none allowed", map[string]string{"proc/sys/user/max_user_namespaces": "0\n"}, unix.ENOSPC, "sysctl -w user.max_user_namespaces=15000"},
		{"too many", nil, unix.ENOSPC, "sysctl -w user.max_user_namespaces=63000"},
		{"too deep", nil, unix.EUSERS, "nested too deeply"},
		{"old Debian", map[string]string{"proc/sys/kernel/unprivileged_userns_clone": "0\n"}, unix.EPERM, "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"Ubuntu", map[string]string{"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, unix.EACCES, "sudo install '/home/a b/berth' /usr/local/bin/berth && printf"},
		{"in Docker", map[string]string{".dockerenv": ""}, unix.EPERM, "start it with --privileged"},
		{"in Podman", map[string]string{"run/.containerenv": ""}, unix.EPERM, "start it with --privileged"},
		{"in Kubernetes", map[string]string{"var/run/secrets/kubernetes.io/serviceaccount/token": ""}, unix.EPERM, "start it with --privileged"},
		{"in a chroot", map[string]string{"proc/self/mountinfo": "30 1 8:1 / /proc rw - proc proc rw\n"}, unix.EPERM, "this is a chroot"},
		{"under a filter", map[string]string{"proc/self/status": "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"}, unix.EPERM, "a seccomp filter"},
		{"something else", map[string]string{"proc/self/mountinfo": "30 1 8:1 / / rw - ext4 /dev/sda rw\n", "proc/self/status": "Name:\tx\nSeccomp:\t0\n"}, unix.EPERM, "a security policy"},
		{"Ubuntu, let through", map[string]string{"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n", "proc/self/attr/current": "berth (unconfined)\n"}, unix.EPERM, "a security policy"},
		{"not about namespaces", nil, unix.ENOMEM, ""},
	} {
		root := t.TempDir()
		for path, text := range free {
			put(t, filepath.Join(root, path), text)
		}
		for path, text := range c.files {
			if text == "-" {
				os.Remove(filepath.Join(root, path))
			} else {
				put(t, filepath.Join(root, path), text)
			}
		}
		err := usernsError(c.err, FindLock(root, "/home/a b/berth", c.err))
		if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", c.name, err, c.want)
		}
	}
	if s := apparmorRemedy("/usr/bin/berth"); strings.Contains(s, "install ") || !strings.Contains(s, "profile berth /usr/bin/berth flags") {
		t.Errorf("for /usr/bin: %s", s)
	}
}

// TestRootError: what root is told names the right that it lacks and the way out.
func TestRootError(t *testing.T) {
	err := rootError(unix.EPERM)
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_SYS_ADMIN") || !strings.Contains(err.Error(), "setpriv") || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}

// TestCovered: folders that nothing is mounted on are not covered, and what
// something is mounted on is seen.
func TestCovered(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "proc/kcore"), "")
	put(t, filepath.Join(root, "sys/firmware/x"), "")
	if proc, sys := covered(root); proc || sys {
		t.Errorf("plain folders: %t, %t", proc, sys)
	}
	if !isMount("/proc") || isMount(root) || isMount(root+"/none") {
		t.Error("a mount is not told from a folder")
	}
}

func TestNodes(t *testing.T) {
	null, err := Nodes("/dev/null")
	if err != nil || len(null) != 1 || null[0] != (Node{Path: "/dev/null", Type: "c", Major: 1, Minor: 3}) {
		t.Errorf("%+v, %v", null, err)
	}
	if none, err := Nodes("/etc/passwd"); err != nil || len(none) != 0 {
		t.Errorf("a file: %+v, %v", none, err)
	}
	if _, err := Nodes("/dev/nothing/there"); err == nil {
		t.Error("what is not there was found")
	}
	all, err := AllNodes()
	if err != nil || !slices.Contains(all, null[0]) {
		t.Errorf("%d nodes, %v", len(all), err)
	}
	for _, n := range all {
		if strings.HasPrefix(n.Path, "/dev/pts/") {
			t.Errorf("a terminal: %+v", n)
		}
	}
}

func TestProcesses(t *testing.T) {
	own := map[int]bool{os.Getpid(): true}
	table, err := Processes(t.Context(), own, nil)
	if err != nil || len(table.Rows) != 1 || !slices.Contains(table.Titles, "PID") || len(table.Rows[0]) != len(table.Titles) {
		t.Errorf("%+v, %v", table, err)
	}
	var without Table
	without.own(own)
	if len(without.Rows) != 1 || without.Rows[0][1] != strconv.Itoa(os.Getpid()) {
		t.Errorf("without ps: %+v", without)
	}
	if _, err := Processes(t.Context(), own, []string{"-o", "comm"}); err == nil || err.Error() != "Couldn't find PID field in ps output" {
		t.Error(err)
	}
	if _, err := Processes(t.Context(), own, []string{"--nonsense"}); err == nil {
		t.Error("nonsense was taken")
	}
}
