package runtime

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func (b *box) namespace(t specs.LinuxNamespaceType, path string) {
	b.Spec.Linux.Namespaces = append(b.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: t, Path: path})
}

// inUser puts the bundle into a user namespace with ids from 100000 on.
func (b *box) inUser() {
	b.namespace(specs.UserNamespace, "")
	b.UIDGIDMapsByParent = true
	b.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1000}}
	b.Spec.Linux.GIDMappings = b.Spec.Linux.UIDMappings
	// t.TempDir is closed to the container's root.
	for p := b.Path; p != os.TempDir(); p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	root := filepath.Join(b.Path, "rootfs")
	err := filepath.WalkDir(root, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, 100000, 100000)
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) bind(src, dest string, options ...string) {
	b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: dest, Source: src, Type: "bind", Options: append([]string{"bind"}, options...)})
}

func TestUserNamespace(t *testing.T) {
	b := newBox(t, "id -u; cat /proc/self/uid_map | grep -c 100000; cat /etc/one; stat -c %u /mnt; test -c /dev/null && echo x >/dev/null && echo null")
	b.inUser()
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil { // not for the container's root
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(closed, "one"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.write("etc/one", "", 0o644)
	b.bind(filepath.Join(closed, "one"), "/etc/one", "rprivate")
	b.bind(closed, "/mnt", "rprivate")
	b.says("0\n1\n1\n65534\nnull")
}

func TestIDMappedMount(t *testing.T) {
	for _, user := range []bool{false, true} {
		b := newBox(t, "stat -c %u /mnt /mnt/f")
		src := t.TempDir()
		if err := os.WriteFile(filepath.Join(src, "f"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		b.bind(src, "/mnt", "idmap")
		want := "0\n0"
		if user {
			b.inUser()
		} else {
			// Mount options of their own: the host's 0 is seen as 7.
			m := &b.Spec.Mounts[len(b.Spec.Mounts)-1]
			m.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 7, Size: 1}}
			m.GIDMappings = m.UIDMappings
			want = "7\n7"
		}
		b.says(want)
	}
}

func TestTimeNamespace(t *testing.T) {
	b := newBox(t, "read up rest < /proc/uptime; up=${up%.*}; test $up -gt 999000 && echo later; readlink /proc/self/ns/time >/dev/null")
	b.namespace(specs.TimeNamespace, "")
	b.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1000000}, "monotonic": {Secs: 5}}
	b.says("later")
	b.inUser()
	b.says("later")
}

func TestMountOptions(t *testing.T) {
	src := t.TempDir()
	if err := os.Mkdir(filepath.Join(src, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", filepath.Join(src, "sub"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(filepath.Join(src, "sub"), unix.MNT_DETACH) })
	for _, tt := range []struct{ options, want string }{
		{"ro", "top\n"},       // not below
		{"rro", "top\nsub\n"}, // below too
		{"rro,rw", "sub\n"},   // all, but not the top
		{"rrw", ""},
	} {
		b := newBox(t, "touch /mnt/f 2>/dev/null || echo top; touch /mnt/sub/f 2>/dev/null || echo sub")
		b.bind(src, "/mnt", append([]string{"rbind"}, strings.Split(tt.options, ",")...)...)
		b.says(tt.want)
	}
	b := newBox(t, "grep ' /mnt ' /proc/self/mountinfo | cut -d' ' -f6")
	b.bind(src, "/mnt", "noatime", "nodiratime", "nosymfollow", "nosuid", "noexec", "nodev")
	out, _, err := b.run()
	for _, o := range []string{"noatime", "nodiratime", "nosymfollow", "nosuid", "noexec", "nodev"} {
		if !strings.Contains(out, o) {
			t.Errorf("mount options %q lack %s (%v)", out, o, err)
		}
	}
}

func TestPropagation(t *testing.T) {
	for _, tt := range []struct{ root, option, want string }{
		{"", "rshared", "shared:"}, {"", "rslave", "master:"}, {"", "", "master:"}, {"", "rprivate", "- tmpfs"}, {"", "unbindable", "unbindable"},
	} {
		src := t.TempDir()
		if err := unix.Mount("tmpfs", src, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		unix.Mount("", src, "", unix.MS_SHARED, "")
		b := newBox(t, "grep ' /mnt ' /proc/self/mountinfo")
		b.Spec.Linux.RootfsPropagation = tt.root
		b.bind(src, "/mnt", tt.option)
		if out, _, err := b.run(); err != nil || !strings.Contains(out, tt.want) || tt.option == "rprivate" && strings.Contains(out, "master") {
			t.Errorf("%q: %q, %v", tt.option, out, err)
		}
		unix.Unmount(src, unix.MNT_DETACH)
	}
	for flag, want := range map[string]string{"shared": "shared:", "slave": "master:", "unbindable": "unbindable", "private": " - "} {
		b := newBox(t, "grep ' / / \\| / rw\\|rootfs / ' /proc/self/mountinfo | head -n 1")
		root := filepath.Join(b.Path, "rootfs")
		if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		unix.Mount("", root, "", unix.MS_SHARED, "")
		b.Spec.Linux.RootfsPropagation = flag
		if out, _, err := b.run(); err != nil || !strings.Contains(out, want) {
			t.Errorf("rootfsPropagation %s: %q, %v", flag, out, err)
		}
		unix.Unmount(root, unix.MNT_DETACH)
	}
}

func TestDevices(t *testing.T) {
	mode, owner := os.FileMode(0o640), uint32(7)
	for _, user := range []bool{false, true} {
		b := newBox(t, "stat -c '%a %u %t %T' /dev/fuse; for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; readlink /dev/stdin; readlink /dev/ptmx")
		b.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: &mode, UID: &owner, GID: &owner}}
		want := "640 7 a e5\n/proc/self/fd/0\npts/ptmx"
		if user {
			b.inUser()
			b.Spec.Linux.Devices = nil
			b.Spec.Process.Args[2] = strings.Replace(b.Spec.Process.Args[2], "stat -c '%a %u %t %T' /dev/fuse; ", "", 1)
			want = "/proc/self/fd/0\npts/ptmx"
		}
		b.says(want)
	}
}

// A path of the image that leads to what the starting process holds open.
func TestNoWayOut(t *testing.T) {
	canary := t.TempDir()
	b, c := newBox(t, "true"), newBox(t, "true")
	c.bind(canary, "/etc/link/place")
	for fd := 3; fd < 30; fd++ {
		out := "/proc/self/fd/" + strconv.Itoa(fd) + "/" + strconv.Itoa(os.Getpid()) + "/root" + canary
		b.Spec.Process.Cwd = out + "/up"
		b.run()
		link := filepath.Join(c.Path, "rootfs/etc/link")
		os.Remove(link)
		os.Symlink(out, link)
		c.run()
	}
	if left, _ := os.ReadDir(canary); len(left) > 0 {
		t.Errorf("%s was made on the host", left[0].Name())
	}
}

func TestCgroupMount(t *testing.T) {
	b := newBox(t, "ls /sys/fs/cgroup | head -n 1 | grep -c .")
	b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "ro"}})
	b.says("1")
}

func TestSettings(t *testing.T) {
	b := newBox(t, "cat /proc/sys/net/ipv4/ping_group_range | head -c 1; echo; hostname -f 2>/dev/null; cat /proc/sys/kernel/domainname; uname -m; cat /proc/self/limits | grep -c 'Max open files *77 '; umask; grep -E 'Cap(Inh|Prm|Amb)' /proc/self/status; id -G")
	b.Spec.Hostname, b.Spec.Domainname = "box", "lab"
	b.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ping_group_range": "5 9"}
	b.Spec.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
	mask := uint32(0o27)
	p := b.Spec.Process
	p.User = specs.User{UID: 5, GID: 6, AdditionalGids: []uint32{7, 8}, Umask: &mask}
	p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 77, Hard: 77}, {Type: "RLIMIT_NPROC", Soft: 50, Hard: 50}}
	p.Capabilities = capabilities("CAP_KILL")
	p.Capabilities.Inheritable, p.Capabilities.Ambient = p.Capabilities.Bounding, p.Capabilities.Bounding
	p.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 3}
	p.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 5}
	b.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolDefault}
	b.Spec.Process.Args[2] = strings.Replace(p.Args[2], "hostname -f 2>/dev/null; ", "hostname; ", 1)
	b.says("5\nbox\nlab\ni686\n1\n0027\nCapInh:\t0000000000000020\nCapPrm:\t0000000000000020\nCapAmb:\t0000000000000020\n6 7 8")
}

func TestProtectedPaths(t *testing.T) {
	b := newBox(t, "cat /proc/version; ls /proc/irq; (echo x >/proc/sys/kernel/domainname) 2>&1 | grep -o 'Read-only'; touch /x 2>&1 | grep -o 'Read-only'; cat /proc/keys; ls -d /nosuch 2>/dev/null; mount -o remount,rw /dev/shm 2>/dev/null; touch /dev/ro/x 2>&1 | grep -o 'Read-only'; touch /dev/ro/in/y")
	b.Spec.Linux.MaskedPaths = []string{"/proc/version", "/proc/irq", "/proc/keys", "/proc/nosuch"}
	b.Spec.Linux.ReadonlyPaths = []string{"/proc/sys", "/proc/nosuch"}
	b.Spec.Root.Readonly = true
	b.Spec.Mounts = append(b.Spec.Mounts,
		specs.Mount{Destination: "/dev/ro", Type: "tmpfs", Source: "tmpfs", Options: []string{"ro"}},
		specs.Mount{Destination: "/dev/ro/in", Type: "tmpfs", Source: "tmpfs"})
	b.says("Read-only\nRead-only\nRead-only")
}

func TestNoPivotAndHooks(t *testing.T) {
	for _, hooks := range []bool{false, true} {
		b := newBox(t, "ls / | grep -c .; ls /proc/1/root/ | grep -c rootfs; cat /etc/x")
		b.NoPivot, b.Hooks = true, hooks
		b.write("etc/x", "x\n", 0o644)
		out, _, err := b.run()
		if err != nil || !strings.HasSuffix(out, "\n0\nx\n") {
			t.Errorf("%q, %v", out, err)
		}
	}
}

func TestTmpCopyUp(t *testing.T) {
	b := newBox(t, "cat /etc/a/b; readlink /etc/l; stat -c '%a %u' /etc/a/b /etc/a; touch /etc/new && echo new")
	root := filepath.Join(b.Path, "rootfs")
	os.Mkdir(filepath.Join(root, "etc/a"), 0o750)
	b.write("etc/a/b", "text\n", 0o644)
	os.Chown(filepath.Join(root, "etc/a/b"), 5, 5)
	os.Symlink("a/b", filepath.Join(root, "etc/l"))
	b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: "/etc", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup"}})
	b.says("text\na/b\n644 5\n750 0\nnew")
	if _, err := os.Stat(filepath.Join(root, "etc/new")); err == nil {
		t.Error("it was written through to the image")
	}
}

func TestJoinNamespaces(t *testing.T) {
	first := newBox(t, "hostname first; sleep 100")
	p, err := first.compile().Create(nil, Events{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { unix.Kill(p.Pid, unix.SIGKILL); end(t, p.Pid) }()
	second := newBox(t, "hostname; ps | grep -c 'sleep 100'")
	second.Spec.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	for kind, file := range map[specs.LinuxNamespaceType]string{specs.PIDNamespace: "pid", specs.UTSNamespace: "uts", specs.IPCNamespace: "ipc", specs.NetworkNamespace: "net"} {
		second.namespace(kind, "/proc/"+strconv.Itoa(p.Pid)+"/ns/"+file)
	}
	for range 100 { // until the shell has set its name
		if out, _, _ := second.run(); strings.HasPrefix(out, "first") {
			break
		}
	}
	if out, _, err := second.run(); err != nil || !strings.HasPrefix(out, "first\n") || strings.HasSuffix(out, "\n0\n") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestListenerAndTerminal(t *testing.T) {
	b := newBox(t, "test -t 0 && readlink /proc/self/fd/0; test -c /dev/console && echo console; mkdir /x 2>/dev/null; exit 4")
	// if nr == mkdir: ask, else allow (struct seccomp_data begins with nr).
	b.Filters = [][]byte{filterBytes([]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(unix.SYS_MKDIRAT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	})}
	b.Listener, b.Spec.Process.Terminal = true, true
	for _, nnp := range []bool{false, true} {
		b.Spec.Process.NoNewPrivileges = nnp
		p, err := b.compile().Create(nil, Events{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Console == nil || p.Listener == nil {
			t.Fatal("no console or no listener")
		}
		buf := make([]byte, 200)
		n, _ := p.Console.Read(buf)
		for !strings.Contains(string(buf[:n]), "console") {
			m, err := p.Console.Read(buf[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		if out := string(buf[:n]); !strings.HasPrefix(out, "/dev/pts/0") {
			t.Errorf("terminal %q", out)
		}
		p.Console.Close()
		p.Listener.Close()
		end(t, p.Pid)
	}
}

func filterBytes(f []unix.SockFilter) []byte {
	var b []byte
	for _, i := range f {
		b = append(b, byte(i.Code), byte(i.Code>>8), i.Jt, i.Jf, byte(i.K), byte(i.K>>8), byte(i.K>>16), byte(i.K>>24))
	}
	return b
}
