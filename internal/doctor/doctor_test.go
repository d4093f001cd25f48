package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/internal/disk"
	"berth/internal/host"
	"berth/internal/logind"
	"berth/internal/state"
)

// TestMain lets the test binary be the program that a trial starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ProbeWord {
		os.Exit(Probe(os.Args[2:], os.Stdout))
	}
	os.Exit(m.Run())
}

// machine makes files that stand for those of a machine; a value "-" is a
// folder.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if text == "-" {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// on is an ordinary account on such a machine.
func on(t *testing.T, files map[string]string) *patient {
	return &patient{root: machine(t, files), exe: "/home/a/berth", host: host.Host{Rootless: true, UID: 1000, GID: 1000}, getenv: func(string) string { return "" }}
}

// TestTrial: where these tests run, containers do, too.
func TestTrial(t *testing.T) {
	// A container needs a file system below it that takes an overlay.
	dir := filepath.Join(t.TempDir(), "layers")
	if err := layersIn(dir); err != nil {
		t.Fatal(err)
	}
	tr := try(t.Context(), os.Geteuid() != 0, dir)
	if tr.Refused != 0 || tr.Kind != "" || tr.Broken != "" || tr.crippled() != 0 {
		t.Fatalf("%+v", tr)
	}
	for _, s := range []string{stepPrivate, stepTmpfs, stepHostname, stepProc, stepSysfs, stepDevpts, stepMqueue, stepCgroup, stepOverlay, stepWhiteout, stepOpaque} {
		if e, tried := tr.Steps[s]; e != 0 || !tried {
			t.Errorf("%s: %v, tried %t", s, e, tried)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	// The test binary lies where only root may look: by /proc/self/exe it can
	// be started all the same.
	if tr := tryAs(t.Context(), nobody); tr.Refused != 0 || tr.Broken != "" || tr.crippled() != 0 || tr.Steps == nil {
		t.Errorf("as another account: %+v", tr)
	}
	if code := Probe([]string{"nonsense"}, os.Stderr); code != 2 {
		t.Errorf("nonsense ends with %d", code)
	}
}

func TestJudgeAccount(t *testing.T) {
	all := map[string]syscall.Errno{}
	ubuntu := map[string]syscall.Errno{stepPrivate: unix.EACCES, stepHostname: unix.EPERM, stepTmpfs: unix.EACCES}
	free := map[string]string{"proc/self/ns/user": "", "proc/sys/user/max_user_namespaces": "63000", "proc/self/mountinfo": "1 1 8:1 / / rw - ext4 a rw\n"}
	for _, c := range []struct {
		what   string
		files  map[string]string
		trial  trial
		status Status
		says   string
		letter string // part of it; empty: there is none
	}{
		{"free", nil, trial{Steps: all}, OK, "makes user namespaces", ""},
		{"max 0", map[string]string{"proc/sys/user/max_user_namespaces": "0\n"}, trial{Refused: unix.ENOSPC}, Failure,
			"echo user.max_user_namespaces=15000 | sudo tee /etc/sysctl.d/60-berth.conf", "echo user.max_user_namespaces=15000"},
		{"used up", nil, trial{Refused: unix.ENOSPC}, Failure, "user.max_user_namespaces=63000", "63000"},
		{"clone 0", map[string]string{"proc/sys/kernel/unprivileged_userns_clone": "0\n"}, trial{Refused: unix.EPERM}, Failure,
			"echo kernel.unprivileged_userns_clone=1", "default of Debian"},
		{"Ubuntu", map[string]string{"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, trial{Steps: ubuntu}, Failure,
			"sudo install /home/a/berth /usr/local/bin/berth", "profile berth /usr/local/bin/berth flags=(unconfined)"},
		{"Ubuntu without the profile", map[string]string{"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, trial{Refused: unix.EACCES}, Failure, "AppArmor", "apparmor_parser -r"},
		{"in a container", map[string]string{".dockerenv": ""}, trial{Refused: unix.EPERM}, Failure, "--privileged", ""},
		{"a filter", map[string]string{"proc/self/status": "Name:\tx\nSeccomp:\t2\n"}, trial{Refused: unix.EPERM}, Failure, "seccomp filter", ""},
		{"unknown", nil, trial{Refused: unix.EPERM}, Failure, "security policy", "journalctl -k"},
		{"no network namespaces", nil, trial{Refused: unix.ENOSPC, Kind: "net"}, Failure, "user.max_net_namespaces=15000", ""},
		{"no mount namespaces", nil, trial{Refused: unix.ENOSPC, Kind: "mount"}, Failure, "user.max_mnt_namespaces=15000", ""},
		{"broken", nil, trial{Broken: "it broke"}, Failure, "it broke", ""},
	} {
		files := map[string]string{}
		for _, m := range []map[string]string{free, c.files} {
			for k, v := range m {
				files[k] = v
			}
		}
		p := on(t, files)
		p.own = c.trial
		f := p.namespaces()
		line := f[0].Line()
		if len(f) != 1 || f[0].Status != c.status || !strings.Contains(line, c.says) || strings.Contains(line, "\n") {
			t.Errorf("%s: %v, want %s with %q", c.what, f, c.status, c.says)
		}
		letter := p.letter()
		if c.letter == "" && letter != "" || !strings.Contains(letter, c.letter) {
			t.Errorf("%s: letter %q, want %q in it", c.what, letter, c.letter)
		}
		// The same as root says: others are affected, root is not.
		p.host, p.other, p.own = host.Host{}, c.trial, trial{Steps: all}
		f = p.namespaces()
		if len(f) != 2 || f[0].Status != OK || f[1].Status == Failure || (f[1].Status == OK) != (c.status == OK) || p.letter() != "" {
			t.Errorf("%s, as root: %v", c.what, f)
		}
	}
}

func TestJudgeRoot(t *testing.T) {
	for says, tr := range map[string]trial{
		"may not make namespaces (operation not permitted)": {Refused: unix.EPERM},
		"may not make a net namespace":                      {Refused: unix.ENOSPC, Kind: "net"},
		"nothing in them (permission denied)":               {Steps: map[string]syscall.Errno{stepTmpfs: unix.EACCES}},
		"it broke":                                          {Broken: "it broke"},
	} {
		if f := judgeRoot(tr); f.Status != Failure || !strings.Contains(f.What, says) {
			t.Errorf("%v, want %q", f, says)
		}
	}
}

func TestCalls(t *testing.T) {
	h, err := host.Detect()
	if err != nil {
		t.Fatal(err)
	}
	if f := (&patient{host: h}).kernel(); f[0].Status != OK {
		t.Errorf("here: %v", f)
	}
	// A filter as Docker's answers for calls that it does not know.
	f := judgeCalls(h, func(c call) syscall.Errno {
		if c.name == "mount_setattr" || c.name == "open_tree" {
			return unix.EPERM
		}
		return unix.EINVAL
	})
	if f[0].Status != Failure || !strings.Contains(f[0].What, "open_tree and mount_setattr, and a seccomp filter") {
		t.Errorf("under a filter: %v", f)
	}
	// For calls that ordinary accounts may not make that is no news.
	f = judgeCalls(h, func(c call) syscall.Errno {
		if c.privileged {
			return unix.EPERM
		}
		return unix.EINVAL
	})
	if f[0].Status != OK {
		t.Errorf("an ordinary account: %v", f)
	}
}

func TestOverlay(t *testing.T) {
	for _, c := range []struct {
		what   string
		steps  map[string]syscall.Errno
		status Status
		says   string
	}{
		{"mounts", map[string]syscall.Errno{stepOverlay: 0}, OK, "mounted"},
		{"refused", map[string]syscall.Errno{stepOverlay: unix.EINVAL}, Warning, "gets a copy"},
		{"no whiteouts", map[string]syscall.Errno{stepOverlay: 0, stepWhiteout: unix.EPERM}, Failure, "cannot be removed"},
		{"no attributes", map[string]syscall.Errno{stepOverlay: 0, stepOpaque: unix.EOPNOTSUPP}, Failure, "cannot be removed"},
	} {
		p := on(t, nil)
		p.host, p.own = host.Host{}, trial{Steps: c.steps}
		if f := p.overlay(); len(f) != 1 || f[0].Status != c.status || !strings.Contains(f[0].Line(), c.says) {
			t.Errorf("%s: %v", c.what, f)
		}
	}
	if f := on(t, nil).overlay(); len(f) != 0 {
		t.Errorf("not tried: %v", f)
	}
}

func TestSurroundings(t *testing.T) {
	p := on(t, nil)
	p.own = trial{Steps: map[string]syscall.Errno{stepProc: unix.EPERM, stepSysfs: unix.EPERM, stepHostname: unix.EPERM, stepMqueue: unix.ENODEV}}
	f := p.surroundings()
	if len(f) != 4 || f[0].Status != Warning || f[1].Status != Warning || f[2].Status != Warning || f[3].Status != Failure {
		t.Errorf("%v", f)
	}
	p.own.Refused = unix.EPERM
	if f := p.surroundings(); len(f) != 0 {
		t.Errorf("where nothing can be mounted at all: %v", f)
	}
}

func TestSession(t *testing.T) {
	if f := on(t, nil).session(); len(f) != 1 || f[0].Status != OK || !strings.Contains(f[0].What, "no systemd") {
		t.Errorf("no systemd: %v", f)
	}
	for _, c := range []struct {
		session logind.Session
		status  Status
		fix     string
	}{
		{logind.Session{}, OK, ""},
		{logind.Session{Name: "ann", Login: true}, OK, ""},
		{logind.Session{Name: "ann", Login: true, Kills: true}, Warning, "loginctl enable-linger ann"},
		{logind.Session{Name: "ann", User: true}, Warning, "loginctl enable-linger ann"},
		{logind.Session{Name: "ann", User: true, Stays: true}, OK, ""},
	} {
		if f := on(t, nil).judgeSession(c.session); f.Status != c.status || f.Fix != c.fix || f.Fixable != (c.fix != "") {
			t.Errorf("%+v: %+v", c.session, f)
		}
	}
	// The repair is the printed command, and a machine without it is told so.
	f := on(t, nil).judgeSession(logind.Session{Name: "ann", Login: true, Kills: true})
	if _, err := f.repair(); err == nil || !strings.Contains(err.Error(), "loginctl is not installed") {
		t.Error(err)
	}
}

func TestGPUs(t *testing.T) {
	const driver = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version:  12.2.0\n"
	whole := map[string]string{"dev/nvidia0": "", "dev/nvidia1": "", "dev/nvidiactl": "", "dev/nvidia-uvm": "", "proc/driver/nvidia/version": driver, "usr/lib64/libcuda.so.1": ""}
	without := func(name string) map[string]string {
		out := map[string]string{}
		for k, v := range whole {
			if k != name {
				out[k] = v
			}
		}
		return out
	}
	for _, c := range []struct {
		what   string
		files  map[string]string
		status Status
		says   string
	}{
		{"none", nil, OK, "no NVIDIA or AMD"},
		{"two", whole, OK, "2 NVIDIA GPUs, driver 550.54.15, /usr/lib64/libcuda.so.1"},
		{"no uvm", without("dev/nvidia-uvm"), Warning, "nvidia-modprobe -u"},
		{"no library", without("usr/lib64/libcuda.so.1"), Warning, "libcuda"},
		{"no driver", without("proc/driver/nvidia/version"), Warning, "modprobe nvidia"},
		{"no nodes", map[string]string{"proc/driver/nvidia/version": driver}, Warning, "550.54.15 is loaded"},
		{"AMD", map[string]string{"dev/kfd": "", "dev/dri/renderD128": ""}, OK, "1 AMD"},
	} {
		if f := on(t, c.files).gpus(); len(f) != 1 || f[0].Status != c.status || !strings.Contains(f[0].Line(), c.says) {
			t.Errorf("%s: %v, want %s with %q", c.what, f, c.status, c.says)
		}
	}
}

func TestClock(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		now    time.Time
		theirs time.Time
		status Status
		says   string
	}{
		{now, now.Add(-4 * time.Minute), OK, "agrees"},
		{now, now.Add(time.Hour), Warning, "-1h0m0s off"},
		{now, time.Time{}, OK, "2026-11-24"},
		{time.Unix(0, 0).UTC(), time.Time{}, Warning, "1970-01-01"},
	} {
		f := judgeClock(c.now, []Answer{{Domain: "docker.io", Server: "registry x", Date: c.theirs}})
		if f[0].Status != c.status || !strings.Contains(f[0].Line(), c.says) {
			t.Errorf("%v against %v: %v", c.now, c.theirs, f)
		}
	}
}

func TestReachable(t *testing.T) {
	p := on(t, nil)
	p.answers = []Answer{{Domain: "docker.io", Server: "mirror a"}, {Domain: "ghcr.io", Why: "cannot reach registry ghcr.io: x"}}
	f := p.reachable()
	if len(f) != 2 || f[0].Status != OK || f[1].Status != Warning || !strings.Contains(f[1].Line(), "HTTPS_PROXY") {
		t.Errorf("%v", f)
	}
	p.badAsk = errors.New("no program")
	if f := p.reachable(); len(f) != 1 || f[0].Status != Warning {
		t.Errorf("%v", f)
	}
}

func TestCredentials(t *testing.T) {
	for _, c := range []struct {
		what, text string
		mode       os.FileMode
		status     Status
		says       string
	}{
		{"good", `{"auths":{"x":{"auth":"YTpi"}}}`, 0o600, OK, "only by its owner"},
		{"open", `{"auths":{"x":{"auth":"YTpi"}}}`, 0o644, Warning, "chmod 600"},
		{"open without secrets", `{"detachKeys":"ctrl-a"}`, 0o644, OK, "can be read"},
		{"broken", `{`, 0o600, Failure, "not valid JSON"},
		{"no helper", `{"credsStore":"berth-test-none"}`, 0o600, Warning, "docker-credential-berth-test-none is not installed"},
	} {
		p := on(t, nil)
		p.docker = t.TempDir()
		path := filepath.Join(p.docker, "config.json")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		f := p.credentials()
		if len(f) != 1 || f[0].Status != c.status || !strings.Contains(f[0].Line(), c.says) {
			t.Errorf("%s: %v, want %s with %q", c.what, f, c.status, c.says)
		}
		var said strings.Builder
		if ok := (Report{Findings: f}).Repair(&said); !ok || c.what == "open" != strings.Contains(said.String(), "fixed") {
			t.Errorf("%s: %t, %q", c.what, ok, said.String())
		}
		if fi, _ := os.Stat(path); c.what == "open" && fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v afterwards", c.what, fi.Mode())
		}
	}
	if f := on(t, nil).credentials(); f[0].Status != OK {
		t.Errorf("no file: %v", f)
	}
}

// TestLeftovers: what a dead process has left is counted, what belongs to a
// living one is not, and the repair removes exactly the former.
func TestLeftovers(t *testing.T) {
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := on(t, nil)
	p.dir, p.data = dir, dir.Root()
	mine, err := dir.Temp()
	if err != nil {
		t.Fatal(err)
	}
	if f := p.leftovers(); len(f) != 1 || f[0].Status != OK {
		t.Errorf("a clean data root: %v", f)
	}
	dead := dir.Path("tmp", "999999999.1-123")
	id := strings.Repeat("ab", 32)
	for _, path := range []string{dead, dir.Path("containers", id)} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"config.json": `{"v":1}`, "state.json": `{"v":1,"phase":"running","shim":{"pid":999999999,"start":1}}`} {
		if err := os.WriteFile(dir.Path("containers", id, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := p.leftovers()
	if len(f) != 2 || !f[0].Fixable || !strings.Contains(f[0].What, "1 half-made") || !strings.Contains(f[1].What, "1 containers") {
		t.Fatalf("%v", f)
	}
	var said strings.Builder
	if !(Report{Findings: f}).Repair(&said) || !strings.Contains(said.String(), "removed 1") {
		t.Errorf("%q", said.String())
	}
	_, gone := os.Stat(dead)
	_, kept := os.Stat(mine.Path())
	if !os.IsNotExist(gone) || kept != nil {
		t.Errorf("the dead one's: %v, ours: %v", gone, kept)
	}
}

func TestDataRoot(t *testing.T) {
	p := on(t, nil)
	dir, err := state.Open(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	p.dir, p.data = dir, dir.Root()
	if f := p.dataRoot(); len(f) != 1 || f[0].Status != OK {
		t.Errorf("%v", f)
	}
	if err := os.Chmod(p.data, 0o755); err != nil {
		t.Fatal(err)
	}
	f := p.dataRoot()
	if len(f) != 1 || f[0].Status != Warning || !f[0].Fixable || !strings.Contains(f[0].Fix, "chmod 700") {
		t.Errorf("open to others: %v", f)
	}
	p.badData = errors.New("it is a file")
	if f := p.dataRoot(); len(f) != 1 || f[0].Status != Failure {
		t.Errorf("%v", f)
	}
	for _, c := range []struct {
		can    disk.Ability
		status Status
	}{{disk.Ability{Files: errors.New("it has no locks")}, Failure}, {disk.Ability{Marks: errors.New("it has no whiteouts")}, Warning}} {
		if f := p.judgeAbility(c.can); len(f) != 1 || f[0].Status != c.status || !strings.Contains(f[0].Line(), "it has no") {
			t.Errorf("%v: %v", c.can, f)
		}
	}
}

func TestQuota(t *testing.T) {
	for _, c := range []struct {
		q    diskQuota
		warn bool
	}{
		{diskQuota{}, false},
		{diskQuota{SoftBlocks: 10 << 20, Space: 1 << 30}, false},
		{diskQuota{SoftBlocks: 10 << 20, Space: 9 << 30}, true},
		{diskQuota{HardBlocks: 10 << 20, Space: 10 << 30}, true},
	} {
		if f, got := judgeQuota(c.q); got != c.warn {
			t.Errorf("%+v: %v", c.q, f)
		}
	}
}

func TestReport(t *testing.T) {
	r := Report{Findings: []Finding{fine("a"), warning("b", "so", "do"), fine("c")}}
	if r.Worst() != Warning || (Report{}).Worst() != OK {
		t.Error(r.Worst())
	}
	r.Findings = append(r.Findings, failure("d\n\x1b[31m", "", ""), warning("e", "", ""))
	if r.Worst() != Failure {
		t.Error(r.Worst())
	}
	if line := r.Findings[3].Line(); strings.ContainsAny(line, "\n\x1b") {
		t.Errorf("%q", line)
	}
	if line := r.Findings[1].Line(); !strings.Contains(line, "b: so. Fix: do") {
		t.Errorf("%q", line)
	}
	var said strings.Builder
	if !r.Repair(&said) || !strings.Contains(said.String(), "Nothing") {
		t.Errorf("%q", said.String())
	}
	said.Reset()
	r.Findings = append(r.Findings, fine("f").by(func() (string, error) { return "", errors.New("no") }))
	if r.Repair(&said) || !strings.Contains(said.String(), "not fixed") {
		t.Errorf("%q", said.String())
	}
}
