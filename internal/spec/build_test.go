package spec

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "write the golden files anew")

func ptr[T any](v T) *T { return &v }

// root is a container of root's on a machine of today.
func root() Input {
	return Input{
		ID:         "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		Name:       "eager_gauss",
		Config:     &container.Config{Cmd: []string{"bash"}, Env: []string{"LANG=C.UTF-8"}},
		HostConfig: &container.HostConfig{NetworkMode: "none", IpcMode: "private"},
		Rootfs:     "/r/containers/01/merged",
		Host: Host{
			CgroupV2: true,
			Kernel:   Kernel{6, 1},
			Arch:     "amd64",
			LastCap:  40,
		},
		Files:       Files{Hosts: "/r/c/hosts", ResolvConf: "/r/c/resolv.conf", Hostname: "/r/c/hostname"},
		Users:       etc{"/etc/passwd": passwdFile, "/etc/group": groupFile},
		CgroupsPath: "/berth/0123",
	}
}

func TestAptSettings(t *testing.T) {
	in := rootless()
	in.Files.Apt = "/r/c/apt.conf"
	has := func(s *specs.Spec) bool {
		return slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool { return m.Source == in.Files.Apt && m.Destination == "/dev/.apt.conf" })
	}
	r, _, err := Build(in)
	if err != nil || !has(r) || !slices.Contains(r.Process.Env, "APT_CONFIG=/dev/.apt.conf") {
		t.Errorf("%v: %v", err, r)
	}
	p, err := BuildProcess(in, ExecRequest{Args: []string{"apt"}})
	if err != nil || !slices.Contains(p.Env, "APT_CONFIG=/dev/.apt.conf") {
		t.Errorf("exec: %v: %v", err, p)
	}
	in.Config.Env = []string{"APT_CONFIG=/own"} // the user's word counts
	if r, _, err = Build(in); err != nil || !slices.Contains(r.Process.Env, "APT_CONFIG=/own") {
		t.Errorf("%v: %v", err, r)
	}
}

// rootless is the same for an ordinary account.
func rootless() Input {
	in := root()
	in.Host.Rootless, in.Host.UID, in.Host.GID = true, 1000, 100
	in.HostConfig.NetworkMode = "host"
	return in
}

func TestGolden(t *testing.T) {
	tests := []struct {
		name string
		make func() Input
	}{
		{"root", root},
		{"rootless", rootless},
		{"root-host-network", func() Input {
			in := root()
			in.HostConfig.NetworkMode = "host"
			in.Config.Hostname = "box.example.org"
			in.Config.Domainname = "example.org"
			return in
		}},
		{"rootless-no-network", func() Input {
			in := rootless()
			in.HostConfig.NetworkMode = "none"
			in.Config.User = "1000:1000"
			return in
		}},
		{"root-privileged", func() Input {
			in := root()
			in.HostConfig.Privileged = true
			in.HostConfig.CapDrop = []string{"ALL"}
			in.HostDevices = []specs.LinuxDevice{
				{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: ptr(os.FileMode(0o666))},
				{Path: "/dev/ptmx", Type: "c", Major: 5, Minor: 2},
				{Path: "/dev/pts/0", Type: "c", Major: 136},
			}
			return in
		}},
		{"rootless-privileged", func() Input {
			in := rootless()
			in.HostConfig.Privileged = true
			return in
		}},
		{"root-host-namespaces", hostNamespaces(root)},
		{"rootless-host-namespaces", hostNamespaces(rootless)},
		{"root-joined", joined(root)},
		{"rootless-joined", joined(rootless)},
		{"root-cgroup-v1", func() Input {
			in := root()
			in.Host.CgroupV2 = false
			in.CgroupDirs = map[string]string{"memory": "/sys/fs/cgroup/memory/berth/0123", "cpu,cpuacct": "/sys/fs/cgroup/cpu,cpuacct/berth/0123"}
			return in
		}},
		{"root-mounts", userMounts(root)},
		{"rootless-mounts", userMounts(rootless)},
		{"root-limits", limits(root)},
		{"rootless-limits", limits(rootless)},
		{"root-readonly-user", func() Input {
			in := root()
			in.Config.User = "alice"
			in.Config.Tty = true
			in.Config.WorkingDir = "/srv//app/"
			in.HostConfig.ConsoleSize = [2]uint{40, 120}
			in.HostConfig.ReadonlyRootfs = true
			in.HostConfig.Init = ptr(true)
			in.Files.Init = "/usr/bin/berth-init"
			in.HostConfig.GroupAdd = []string{"video", "1234"}
			in.HostConfig.SecurityOpt = []string{"no-new-privileges", "systempaths=unconfined"}
			return in
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, warnings, err := Build(tt.make())
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tt.name, struct {
				Warnings []string `json:"warnings,omitempty"`
				Spec     *specs.Spec
			}{warnings, s})
		})
	}
}

func hostNamespaces(base func() Input) func() Input {
	return func() Input {
		in := base()
		hc := in.HostConfig
		hc.NetworkMode, hc.IpcMode, hc.PidMode, hc.UTSMode, hc.CgroupnsMode = "host", "host", "host", "host", "host"
		in.Config.Hostname = "machine"
		return in
	}
}

func joined(base func() Input) func() Input {
	return func() Input {
		in := base()
		hc := in.HostConfig
		hc.NetworkMode, hc.IpcMode, hc.PidMode = "container:a", "container:b", "container:c"
		in.Join = map[string]string{"network": "/proc/1/ns/net", "ipc": "/proc/2/ns/ipc", "pid": "/proc/3/ns/pid"}
		if in.Host.Rootless {
			in.Join["user"] = "/proc/3/ns/user"
		}
		in.Files.Shm = "/r/b/shm"
		return in
	}
}

func userMounts(base func() Input) func() Input {
	return func() Input {
		in := base()
		in.Mounts = []Mount{
			{Type: "bind", Source: "/home/a/models/x", Destination: "/models/x/", ReadOnly: true},
			{Type: "bind", Source: "/home/a/models", Destination: "/models", Propagation: "rslave"},
			{Type: "bind", Source: "/dev/shm", Destination: "/dev/shm"},
			{Type: "bind", Source: "/home/a/hosts", Destination: "/etc/hosts", NonRecursive: true, ReadOnly: true, ReadOnlyNonRecursive: true},
			{Type: "bind", Source: "/srv/etc", Destination: "/etc"},
			{Type: "tmpfs", Destination: "/run", TmpfsOptions: "size=64m,exec,uid=1000,mode=755"},
		}
		in.Devices = []Device{{Source: "/dev/nvidia0", LinuxDevice: specs.LinuxDevice{Path: "/dev/gpu", Type: "c", Major: 195}, Permissions: "rw"}}
		return in
	}
}

func limits(base func() Input) func() Input {
	return func() Input {
		in := base()
		hc := in.HostConfig
		hc.Memory = 64 << 20
		hc.NanoCPUs = 1_500_000_000
		hc.CpusetCpus = "0-1"
		hc.PidsLimit = ptr(int64(100))
		hc.ShmSize = 16 << 30
		hc.Ulimits = []*container.Ulimit{{Name: "memlock", Soft: -1, Hard: -1}, {Name: "nofile", Soft: 1024, Hard: 2048}}
		hc.Sysctls = map[string]string{"kernel.shmmax": "65536"}
		hc.OomScoreAdj = 500
		hc.CapAdd = []string{"sys_ptrace", "CAP_NET_RAW"}
		hc.CapDrop = []string{"mknod"}
		hc.DeviceCgroupRules = []string{"c 189:* rmw"}
		in.Mounts = []Mount{{Type: "bind", Source: "/dev/bus/usb", Destination: "/dev/bus/usb"}}
		hc.Annotations = map[string]string{"org.example.team": "nlp"}
		return in
	}
}

func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s (run the test with -update and look at the difference):\n%s", path, firstDifference(got, want))
	}
}

func firstDifference(got, want []byte) string {
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got  " + g[i] + "\nwant " + w[i]
		}
	}
	return "one is longer"
}

// TestBuildLeavesInputAlone is what "pure" means: the same input twice gives
// the same answer, and nothing of the input has changed in between.
func TestBuildLeavesInputAlone(t *testing.T) {
	for _, mk := range []func() Input{root, userMounts(rootless), limits(root)} {
		in := mk()
		before, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		first, _, err := Build(in)
		if err != nil {
			t.Fatal(err)
		}
		one, _ := json.Marshal(first)
		second, _, err := Build(in)
		if err != nil {
			t.Fatal(err)
		}
		two, _ := json.Marshal(second)
		after, _ := json.Marshal(in)
		if !bytes.Equal(before, after) {
			t.Errorf("the input changed:\n%s\n%s", before, after)
		}
		if !bytes.Equal(one, two) {
			t.Error("two calls gave two answers")
		}
	}
}

func TestBuildErrors(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Input)
		want string
	}{
		{"no command", func(in *Input) { in.Config.Cmd = nil }, "no command specified"},
		{"ipc", func(in *Input) { in.HostConfig.IpcMode = "mine" }, "invalid IPC mode: mine"},
		{"pid", func(in *Input) { in.HostConfig.PidMode = "container:" }, "invalid PID mode: container:"},
		{"uts", func(in *Input) { in.HostConfig.UTSMode = "x" }, "invalid UTS mode: x"},
		{"cgroupns", func(in *Input) { in.HostConfig.CgroupnsMode = "x" }, "invalid cgroup namespace mode: x"},
		{"not running", func(in *Input) { in.HostConfig.PidMode = "container:db" }, "cannot join the pid namespace of container db: it is not running"},
		{"no user namespace", func(in *Input) {
			in.Host.Rootless = true
			in.HostConfig.PidMode = "container:db"
			in.Join = map[string]string{"pid": "/proc/9/ns/pid"}
		}, "without its user namespace"},
		{"user", func(in *Input) { in.Config.User = "nobody-knows" }, "unable to find user nobody-knows: no matching entries in passwd file"},
		{"group", func(in *Input) { in.HostConfig.GroupAdd = []string{"nobody-knows"} }, "unable to find group nobody-knows: no matching entries in group file"},
		{"capability", func(in *Input) { in.HostConfig.CapAdd = []string{"fly"} }, `invalid CapAdd: unknown capability: "CAP_FLY"`},
		{"drop", func(in *Input) { in.HostConfig.CapDrop = []string{"fly"} }, `invalid CapDrop: unknown capability: "CAP_FLY"`},
		{"old kernel", func(in *Input) { in.Host.LastCap = 37; in.HostConfig.CapAdd = []string{"bpf"} }, `not supported by your kernel or not available in the current environment: "CAP_BPF"`},
		{"no such right", func(in *Input) { in.Host.Bounding = 1; in.HostConfig.CapAdd = []string{"sys_admin"} }, `"CAP_SYS_ADMIN"`},
		{"workdir", func(in *Input) { in.Config.WorkingDir = "x" }, "the working directory 'x' is invalid, it needs to be an absolute path"},
		{"ulimit", func(in *Input) { in.HostConfig.Ulimits = []*container.Ulimit{{Name: "as"}} }, "invalid ulimit type: as"},
		{"relative mount", func(in *Input) { in.Mounts = []Mount{{Type: "tmpfs", Destination: "x"}} }, "invalid mount path: 'x' mount path must be absolute"},
		{"root mount", func(in *Input) { in.Mounts = []Mount{{Type: "tmpfs", Destination: "/x/.."}} }, "invalid specification: destination can't be '/'"},
		{"proc mount", func(in *Input) { in.Mounts = []Mount{{Type: "tmpfs", Destination: "//proc"}} }, "nothing can be mounted at or below /proc"},
		{"below proc", func(in *Input) { in.Mounts = []Mount{{Type: "tmpfs", Destination: "/x/../proc/sys"}} }, "nothing can be mounted at or below /proc"},
		{"twice", func(in *Input) {
			in.Mounts = []Mount{{Type: "tmpfs", Destination: "/x"}, {Type: "tmpfs", Destination: "/x/"}}
		}, "Duplicate mount point: /x"},
		{"mount type", func(in *Input) { in.Mounts = []Mount{{Type: "nfs", Destination: "/x"}} }, "mount type unknown"},
		{"mount source", func(in *Input) { in.Mounts = []Mount{{Type: "bind", Source: "x", Destination: "/x"}} }, "invalid mount path: 'x'"},
		{"propagation", func(in *Input) {
			in.Mounts = []Mount{{Type: "bind", Source: "/x", Destination: "/x", Propagation: "up"}}
		}, "invalid propagation mode: up"},
		{"read-only", func(in *Input) {
			in.Mounts = []Mount{{Type: "bind", Source: "/x", Destination: "/x", ReadOnly: true, ReadOnlyForceRecursive: true}}
			in.Host.Kernel = Kernel{5, 10}
		}, "this kernel is older than 5.12"},
		{"read-only twice", func(in *Input) {
			in.Mounts = []Mount{{Type: "bind", Source: "/x", Destination: "/x", ReadOnly: true, ReadOnlyForceRecursive: true, ReadOnlyNonRecursive: true}}
		}, "mount options conflict"},
		{"tmpfs", func(in *Input) { in.Mounts = []Mount{{Type: "tmpfs", Destination: "/x", TmpfsOptions: "bind"}} }, `invalid tmpfs option "bind"`},
		{"sysctl", func(in *Input) { in.HostConfig.Sysctls = map[string]string{"kernel.panic": "1"} }, "sysctl 'kernel.panic=1' is not allowed"},
		{"net sysctl", func(in *Input) {
			in.HostConfig.NetworkMode = "host"
			in.HostConfig.Sysctls = map[string]string{"net/core/somaxconn": "1"}
		}, `sysctl "net.core.somaxconn" not allowed in host network namespace`},
		{"ipc sysctl", func(in *Input) {
			in.HostConfig.IpcMode = "host"
			in.HostConfig.Sysctls = map[string]string{"fs.mqueue.msg_max": "1"}
		}, `sysctl "fs.mqueue.msg_max" is not allowed in the hosts ipc namespace`},
		{"cpuset", func(in *Input) { in.HostConfig.CpusetCpus = "0-3"; in.Host.CPUs = "0-1" }, "Requested CPUs are not available - requested 0-3, available: 0-1"},
		{"cpuset form", func(in *Input) { in.HostConfig.CpusetMems = "a" }, "Invalid value a for cpuset mems: invalid format: a"},
		{"device rule", func(in *Input) { in.HostConfig.DeviceCgroupRules = []string{"c 1:3"} }, "invalid device cgroup rule format: 'c 1:3'"},
		{"security", func(in *Input) { in.HostConfig.SecurityOpt = []string{"magic"} }, `invalid --security-opt: "magic"`},
		{"annotation", func(in *Input) { in.HostConfig.Annotations = map[string]string{"berth.rootfs.options": "dev"} }, "berth's own"},
		{"empty annotation", func(in *Input) { in.HostConfig.Annotations = map[string]string{"": ""} }, "the empty string is not permitted"},
		{"writable cgroups", func(in *Input) {
			in.Host.Rootless = true
			in.HostConfig.SecurityOpt = []string{"writable-cgroups=true"}
		}, "option WritableCgroups conflicts"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := root()
			tt.edit(&in)
			_, _, err := Build(in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestNetworkNamespace: who is in a network, or in none, has a network namespace
// of his own, whoever it is that makes interfaces in it.
func TestNetworkNamespace(t *testing.T) {
	for mode, want := range map[container.NetworkMode]bool{"bridge": true, "mine": true, "none": true, "host": false} {
		in := root()
		in.HostConfig.NetworkMode = mode
		s, _, err := Build(in)
		if err != nil {
			t.Fatal(err)
		}
		own := slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
			return n.Type == specs.NetworkNamespace && n.Path == ""
		})
		if own != want {
			t.Errorf("network %s: own network namespace: %t, want %t", mode, own, want)
		}
	}
}

// TestNodev is the rule of the house: unless a container is privileged, device
// nodes work on no mount but those that bring one.
func TestNodev(t *testing.T) {
	for _, mk := range []func() Input{root, rootless, userMounts(root), userMounts(rootless), hostNamespaces(rootless), joined(root)} {
		for _, privileged := range []bool{false, true} {
			in := mk()
			in.HostConfig.Privileged = privileged
			s, _, err := Build(in)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Annotations[AnnotationRootOptions] == "nodev"; got == privileged {
				t.Errorf("privileged %v: root file system nodev is %v", privileged, got)
			}
			for _, m := range s.Mounts {
				if slices.Contains(m.Options, optionDevice) {
					t.Errorf("%s: an inner word got out: %v", m.Destination, m.Options)
				}
				if privileged || m.Destination == "/dev/pts" || m.Destination == "/dev/gpu" {
					continue
				}
				if !slices.Contains(m.Options, "nodev") && !slices.Contains(m.Options, "rnodev") {
					t.Errorf("%s lacks nodev: %v", m.Destination, m.Options)
				}
			}
		}
	}
}

func TestNodevBelowDev(t *testing.T) {
	in := root()
	in.Mounts = []Mount{{Type: "bind", Source: "/dev", Destination: "/dev"}, {Type: "bind", Source: "/", Destination: "/host"}}
	s, _, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range s.Mounts {
		switch {
		case m.Destination == "/dev" && !slices.Contains(m.Options, "nodev"),
			m.Destination == "/host" && !slices.Contains(m.Options, "rnodev"):
			t.Errorf("%s: %v", m.Destination, m.Options)
		case strings.HasPrefix(m.Destination, "/dev/"):
			t.Errorf("%s is hidden by the user's /dev", m.Destination)
		}
	}
	in.Host.Kernel = Kernel{5, 4}
	s, _, err = Build(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range s.Mounts {
		if slices.Contains(m.Options, "rnodev") || slices.Contains(m.Options, "rro") {
			t.Errorf("%s has an option this kernel lacks: %v", m.Destination, m.Options)
		}
	}
}

func TestBuildProcess(t *testing.T) {
	base := func() Input {
		in := limits(root)()
		in.Config.User = "alice"
		in.Config.WorkingDir = "/srv"
		in.HostConfig.SecurityOpt = []string{"no-new-privileges"}
		return in
	}
	tests := []struct {
		name string
		in   func() Input
		exec ExecRequest
	}{
		{"exec", base, ExecRequest{Args: []string{"sh"}}},
		{"exec-other", base, ExecRequest{
			Args: []string{"id"}, User: "0:video", Cwd: "/tmp/", Tty: true, Privileged: true,
			Env: []string{"LANG=de", "A=b", "HOME=/x"}, ConsoleSize: [2]uint{24, 80},
		}},
		{"exec-rootless", func() Input {
			in := rootless()
			in.HostConfig.Privileged = true
			return in
		}, ExecRequest{Args: []string{"id"}, User: "1000", Env: []string{"LANG"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := BuildProcess(tt.in(), tt.exec)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tt.name, p)
		})
	}
	for want, exec := range map[string]ExecRequest{
		"no exec command specified":       {},
		"unable to find user x":           {Args: []string{"a"}, User: "x"},
		"needs to be an absolute path":    {Args: []string{"a"}, Cwd: "x"},
		"uids and gids must be in range ": {Args: []string{"a"}, User: "4294967296"},
	} {
		if _, err := BuildProcess(base(), exec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestCommand(t *testing.T) {
	got, err := Command(&container.Config{Entrypoint: []string{"a"}, Cmd: []string{"b", "c"}})
	if err != nil || !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestMergeEnv(t *testing.T) {
	got := mergeEnv([]string{"A=1", "B=2", "C=3"}, []string{"B=x=y", "A", "D=4", "Z", "=odd", "D=5"})
	if want := []string{"B=x=y", "C=3", "D=5", "=odd"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkBuild(b *testing.B) {
	in := root()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Build(in); err != nil {
			b.Fatal(err)
		}
	}
}

// TestCovered: where the container around berth hides parts of /proc or /sys, an
// account's container has the surrounding one, and that is said. Root mounts its
// own all the same.
func TestCovered(t *testing.T) {
	for _, c := range []struct {
		base      func() Input
		proc, sys bool
		kinds     string // of /proc and /sys
		says      string
	}{
		{rootless, false, false, "proc sysfs", ""},
		{rootless, true, false, "bind sysfs", "hides parts of /proc,"},
		{rootless, false, true, "proc bind", "hides parts of /sys,"},
		{rootless, true, true, "bind bind", "/proc and /sys"},
		{root, true, true, "proc sysfs", ""},
	} {
		in := c.base()
		in.HostConfig.NetworkMode = "none"
		in.Host.ProcCovered, in.Host.SysCovered = c.proc, c.sys
		s, warnings, err := Build(in)
		if err != nil {
			t.Fatal(err)
		}
		kind := map[string]string{}
		for _, m := range s.Mounts {
			kind[m.Destination] = m.Type
		}
		if got := kind["/proc"] + " " + kind["/sys"]; got != c.kinds {
			t.Errorf("%+v: %s", c, got)
		}
		if said := strings.Join(warnings, " "); c.says == "" && strings.Contains(said, "hides") || !strings.Contains(said, c.says) {
			t.Errorf("%+v: %q", c, said)
		}
		if (len(s.Linux.Sysctl) == 0) != (c.kinds[0] == 'b') {
			t.Errorf("%+v: sysctls %v", c, s.Linux.Sysctl)
		}
		if len(s.Linux.MaskedPaths) == 0 || (len(s.Linux.ReadonlyPaths) == 0) != (c.kinds[0] == 'b') {
			t.Errorf("%+v: masked %v, read-only %v", c, s.Linux.MaskedPaths, s.Linux.ReadonlyPaths)
		}
	}
}
