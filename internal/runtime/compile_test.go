package runtime

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
	"berth/internal/sys"
)

func sample() *specs.Spec {
	return &specs.Spec{
		Hostname: "box",
		Root:     &specs.Root{Readonly: true},
		Process: &specs.Process{
			Args: []string{"prog", "x"}, Env: []string{"PATH=/a:/b"}, Cwd: "/w/d",
			Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
			{Destination: "/data", Type: "bind", Source: "/host/data", Options: []string{"rbind", "ro"}},
		},
		Linux: &specs.Linux{
			Namespaces:    []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.UTSNamespace}},
			MaskedPaths:   []string{"/proc/kcore"},
			ReadonlyPaths: []string{"/proc/sys"},
		},
	}
}

func compile(t *testing.T, s *specs.Spec, root Rootfs) *nsinit.Program {
	t.Helper()
	p, err := Compile(Config{
		Spec: s, Root: root,
		IsDir: func(p string) bool { return !strings.HasSuffix(p, "file") },
		Node:  func(d specs.LinuxDevice) string { return d.Path },
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// calls returns the names of a program's operations, and what they are for.
func calls(p *nsinit.Program) []string {
	var out []string
	for _, op := range p.Ops {
		out = append(out, strings.TrimSpace(op.Call+" "+op.What))
	}
	return out
}

// before checks that an operation starting with a comes ahead of one with b.
func before(t *testing.T, ops []string, a, b string) {
	t.Helper()
	find := func(s string) int {
		return slices.IndexFunc(ops, func(op string) bool { return strings.HasPrefix(op, s) })
	}
	i, j := find(a), find(b)
	if i < 0 || j < 0 || i >= j {
		t.Errorf("%q is at %d, %q at %d; want the first ahead\n%s", a, i, b, j, strings.Join(ops, "\n"))
	}
}

var overlay = Rootfs{Base: "/root", Lower: []string{"layers/b/tree", "layers/a/tree"}, Upper: "c/upper", Work: "c/work", Target: "c/rootfs"}

func TestOrderOfAStart(t *testing.T) {
	p := compile(t, sample(), overlay)
	ops := calls(p)
	// Sources while the host is there, the pivot, then places; the user's
	// mount ahead of /proc, so that it cannot cover it.
	before(t, ops, "open_tree mount /host/data", "pivot_root")
	before(t, ops, "fsmount make a proc file system", "pivot_root")
	before(t, ops, "umount2 leave the host", "move_mount mount /data")
	before(t, ops, "move_mount mount /data", "move_mount mount /proc")
	before(t, ops, "move_mount mount /proc", "openat2 mask /proc/kcore")
	before(t, ops, "openat2 mask /proc/kcore", "mount_setattr make the root file system read-only")
	before(t, ops, "mkdirat make /w/d", "mount_setattr make the root file system read-only")
	// No descriptor is left when a path of the image is entered, and a
	// dead shim is noticed after its socket is closed here.
	before(t, ops, "close-all", "fchdir enter the working directory /w/d")
	before(t, ops, "close-all", "alive")
	before(t, ops, "alive", "execve run prog")
	if last := p.Ops[len(p.Ops)-1]; last.Call != nsinit.CallFail {
		t.Errorf("the search in PATH ends with %s", last.Call)
	}
	if want := uint64(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS); p.Flags != want {
		t.Errorf("flags %#x, want %#x", p.Flags, want)
	}
	if got := strings.Count(strings.Join(ops, "\n"), "prctl drop CAP_"); got != len(sys.Capabilities())-1 {
		t.Errorf("%d capabilities are dropped, want all but one", got)
	}
}

func TestSkipsStayInside(t *testing.T) {
	s := sample()
	s.Process.Terminal = true
	oom := 100
	s.Process.OOMScoreAdj = &oom
	p := compile(t, s, overlay)
	for i, op := range p.Ops {
		if i+op.Skip >= len(p.Ops) || i+op.Then >= len(p.Ops) {
			t.Errorf("operation %d (%s) skips past the end", i, op.Call)
		}
		if op.Skip > 0 && len(op.Allow) == 0 {
			t.Errorf("operation %d (%s) skips but allows no error", i, op.Call)
		}
	}
}

// TestMountLabel: the root and what is mounted for the container alone get its
// SELinux label, quoted where a comma in it would end an option.
func TestMountLabel(t *testing.T) {
	const label = "system_u:object_r:container_file_t:s0:c1,c2"
	root := func(label string) string {
		s := sample()
		s.Linux.MountLabel = label
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue"})
		p := compile(t, s, overlay)
		text := fmt.Sprint(p.Ops)
		if n := strings.Count(text, "{fsconfig"); n == 0 {
			t.Fatal("no file system is made")
		}
		for _, op := range p.Ops {
			if strings.Contains(op.What, "(overlay)") {
				return fmt.Sprint(op.Args) + "|" + text
			}
		}
		t.Fatal("no overlay")
		return ""
	}
	_, without, _ := strings.Cut(root(""), "|")
	over, with, _ := strings.Cut(root(label), "|")
	if !strings.Contains(over, `,context="`+label+`"`) {
		t.Errorf("the root: %s", over)
	}
	if strings.Contains(without, "context") || strings.Count(with, label) < 2 {
		t.Errorf("%d mounts have the label", strings.Count(with, label))
	}
}

func TestManyLayers(t *testing.T) {
	root := overlay
	for i := range 500 {
		root.Lower = append(root.Lower, fmt.Sprintf("l/%d", i))
	}
	if ops := calls(compile(t, sample(), root)); !slices.Contains(ops, "mount mount the image's layers (overlay)") {
		t.Error("500 layers with short names are not mounted by one call")
	}
	root.Lower = append(root.Lower, strings.Repeat("a", pageLimit))
	_, err := Compile(Config{Spec: sample(), Root: root, IsDir: func(string) bool { return true }, Node: func(specs.LinuxDevice) string { return "/dev/null" }})
	if err == nil || !strings.Contains(err.Error(), "the image has") {
		t.Errorf("more than a page: %v", err)
	}
}

func TestRootlessOtherUser(t *testing.T) {
	s := sample()
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 5, Size: 1}}
	s.Linux.GIDMappings = s.Linux.UIDMappings
	s.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{7}}
	ops := calls(compile(t, s, overlay))
	before(t, ops, "write map user ids", "pivot_root")
	before(t, ops, "move_mount mount /proc", "unshare make a user namespace for user 1000")
	for _, op := range ops {
		if strings.HasPrefix(op, "setgroups") || strings.HasPrefix(op, "setresuid") {
			t.Errorf("%s: a single id cannot change", op)
		}
	}
}

func TestJoinComesFirst(t *testing.T) {
	s := sample()
	s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace},
		{Type: specs.NetworkNamespace, Path: "/proc/9/ns/net"}, {Type: specs.UserNamespace, Path: "/proc/9/ns/user"}}
	p, err := Compile(Config{Spec: s, Root: overlay, OwnerUser: true, IsDir: func(string) bool { return true }, Node: func(specs.LinuxDevice) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	if p.Flags != 0 {
		t.Errorf("namespaces %#x are made before the others are joined", p.Flags)
	}
	ops := calls(p)
	before(t, ops, "setns join the user namespace", "setns join the network namespace")
	before(t, ops, "setns join the network namespace", "clone make a process in new namespaces")
}

func TestParseOptions(t *testing.T) {
	const ro, nosuid, nodev, noexec = unix.MOUNT_ATTR_RDONLY, unix.MOUNT_ATTR_NOSUID, unix.MOUNT_ATTR_NODEV, unix.MOUNT_ATTR_NOEXEC
	for _, tt := range []struct {
		opts string
		want options
	}{
		{"bind,ro", options{top: attrs{set: ro}, bind: true}},
		{"rbind,nodev,rslave", options{top: attrs{set: nodev}, all: attrs{propagation: unix.MS_SLAVE}, bind: true, rec: true}},
		{"nosuid,noexec,size=1m,mode=1777", options{top: attrs{set: nosuid | noexec}, data: []string{"size=1m", "mode=1777"}}},
		{"nodev,dev,ro,rw", options{top: attrs{clr: nodev | ro}}},
		{"rro,rnosuid,rdev", options{all: attrs{set: ro | nosuid, clr: nodev}}},
		{"noatime,relatime,strictatime", options{top: attrs{set: unix.MOUNT_ATTR_STRICTATIME, clr: unix.MOUNT_ATTR__ATIME}}},
		{"ridmap,tmpcopyup,unbindable", options{idmap: true, idmapAll: true, tmpcopyup: true, top: attrs{propagation: unix.MS_UNBINDABLE}}},
	} {
		got := parseOptions(specs.Mount{Options: strings.Split(tt.opts, ",")})
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.opts, got, tt.want)
		}
	}
}

// What a bind and a recursive bind ask of the kernel.
func TestChanges(t *testing.T) {
	const ro = unix.MOUNT_ATTR_RDONLY
	for _, tt := range []struct {
		opts   string
		engine bool
		want   []change
	}{
		{"bind,rro,slave", false, []change{{unix.AT_EMPTY_PATH, attrs{set: ro, propagation: unix.MS_SLAVE}}}},
		{"rbind,ro,rslave", false, []change{{unix.AT_EMPTY_PATH | unix.AT_RECURSIVE, attrs{propagation: unix.MS_SLAVE}}, {unix.AT_EMPTY_PATH, attrs{set: ro}}}},
		{"rbind", false, nil},
		{"rbind,ro,dev", true, []change{{unix.AT_EMPTY_PATH | unix.AT_RECURSIVE, attrs{set: ro, propagation: unix.MS_PRIVATE}}}},
	} {
		o := parseOptions(specs.Mount{Options: strings.Split(tt.opts, ",")})
		if tt.engine {
			o.everywhere()
		}
		if got := o.changes(); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.opts, got, tt.want)
		}
	}
}

func TestForeign(t *testing.T) {
	for _, tt := range []struct{ path, ns, inside string }{
		{"/proc/12/root/dev/shm", "/proc/12/ns/mnt", "/dev/shm"},
		{"/proc/self/root/dev/shm", "", ""},
		{"/proc/12/ns/net", "", ""},
		{"/dev/shm", "", ""},
	} {
		ns, inside, ok := foreign(tt.path)
		if ns != tt.ns || inside != tt.inside || ok != (tt.ns != "") {
			t.Errorf("%s: %q %q %v", tt.path, ns, inside, ok)
		}
	}
}

func TestSysctlPath(t *testing.T) {
	for key, want := range map[string]string{
		"net.ipv4.ip_forward":          "/proc/sys/net/ipv4/ip_forward",
		"net/ipv4/conf/eth0.1/forward": "/proc/sys/net/ipv4/conf/eth0.1/forward",
	} {
		if got := sysctlPath(key); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}

// The host's /dev/null and other nodes keep their owner and mode.
func TestHostNodesAreSafe(t *testing.T) {
	owners := func(p *nsinit.Program) (n int) {
		for _, op := range p.Ops {
			if op.Call == "fchown" {
				n++
			}
		}
		return n
	}
	s := sample()
	s.Process.User.UID = 1000
	if n := owners(compile(t, s, Rootfs{Base: "/r"})); n != 2 {
		t.Errorf("%d streams change owner, want those for output only", n)
	}
	s.Process.Terminal = true
	if n := owners(compile(t, s, Rootfs{Base: "/r"})); n != 3 {
		t.Errorf("%d streams of a terminal change owner", n)
	}
	want := structBytes(unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSUID, Propagation: unix.MS_PRIVATE})
	for _, op := range compile(t, sample(), Rootfs{Base: "/r"}).Ops {
		if op.Call == "mount_setattr" && op.What == "mount /dev/null" && !reflect.DeepEqual(op.Args[3], want) {
			t.Error("the container's /dev/null is not mounted read-only")
		}
	}
}

// TestNoNameOfItsOwn: only a container of an account's may go without.
func TestNoNameOfItsOwn(t *testing.T) {
	for _, rootless := range []bool{false, true} {
		s := sample()
		s.Hostname = "there"
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UTSNamespace})
		if rootless {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 5, Size: 1}}
			s.Linux.GIDMappings = s.Linux.UIDMappings
		}
		found := false
		for _, op := range compile(t, s, overlay).Ops {
			if op.Call == "sethostname" {
				found = true
				if got := slices.Equal(op.Allow, []int{int(unix.EPERM)}); got != rootless {
					t.Errorf("rootless %t: %v is allowed", rootless, op.Allow)
				}
			}
		}
		if !found {
			t.Errorf("rootless %t: no host name is set", rootless)
		}
	}
}
