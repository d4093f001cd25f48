package oci

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/internal/cgroup"
)

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		args  string
		mixed bool
		want  string // words, then name=value
		err   string
	}{
		{"a b", true, "a b", ""},
		{"--text x a", true, "a text=x", ""},
		{"a -text=x", true, "a text=x", ""},
		{"a -t x", false, "a -t x", ""},
		{"-s a -t", false, "a -t switch", ""},
		{"-s=false a", true, "a", ""},
		{"-- -t", true, "-t", ""},
		{"- a", true, "- a", ""},
		{"--text", true, "", "flag needs an argument: -text"},
		{"--nope", true, "", "flag provided but not defined: -nope"},
		{"-s=maybe", true, "", `invalid value "maybe" for flag -s`},
	} {
		var o options
		var text string
		var on bool
		o.text(&text, "text,t", "T", "")
		o.toggle(&on, "switch,s", "")
		words, err := o.parse(strings.Fields(tt.args), tt.mixed)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: got %v, want %q", tt.args, err, tt.err)
			}
			continue
		}
		if text != "" {
			words = append(words, "text="+text)
		}
		if on {
			words = append(words, "switch")
		}
		if got := strings.Join(words, " "); got != tt.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", tt.args, got, err, tt.want)
		}
	}
}

func TestLog(t *testing.T) {
	var b bytes.Buffer
	l := &logger{w: &b}
	l.errorf("container %q", "x")
	if got := b.String(); !strings.HasPrefix(got, `time="`) || !strings.HasSuffix(got, ` level=error msg="container \"x\""`+"\n") {
		t.Errorf("text: %s", got)
	}
	b.Reset()
	l.warningf("plain")
	if got := b.String(); !strings.HasSuffix(got, " level=warning msg=plain\n") {
		t.Errorf("text: %s", got)
	}
	b.Reset()
	l.json = true
	l.errorf("bad <thing>")
	var line map[string]string
	if err := json.Unmarshal(b.Bytes(), &line); err != nil || line["level"] != "error" || line["msg"] != "bad <thing>" || line["time"] == "" {
		t.Errorf("json: %s, %v", b.Bytes(), err)
	}
	b.Reset()
	if l.debugf("hidden"); b.Len() > 0 {
		t.Errorf("debug without --debug: %s", b.Bytes())
	}
}

func TestSignals(t *testing.T) {
	for s, want := range map[string]int{
		"9": 9, "KILL": 9, "SIGKILL": 9, "kill": 9, "TERM": 15, "0": 0, "RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX-1": 63, "64": 64, "WINCH": 28,
	} {
		if got, err := parseSignal(s); err != nil || int(got) != want {
			t.Errorf("%s: %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "BOGUS", "65", "-1", "RTMIN+31", "RTMAX-31", "RTMIN-1", "RTMIN+", "SIGSIGKILL"} {
		if got, err := parseSignal(s); err == nil {
			t.Errorf("%q: %d, want an error", s, got)
		}
	}
}

func TestIDs(t *testing.T) {
	for _, id := range []string{"a", "A-b_c+d.e", "0123456789abcdef", "-"} {
		if err := validID(id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	for _, id := range []string{"", ".", "..", ".hidden", "a/b", "../a", "ä", "a b", "a\n", strings.Repeat("x", 201)} {
		if validID(id) == nil {
			t.Errorf("%q is accepted", id)
		}
	}
}

// TestValidate changes a good configuration in one place each.
func TestValidate(t *testing.T) {
	minus, zero, two := -1001, 0, int64(2)
	for _, tt := range []struct {
		change func(s *specs.Spec)
		want   string
	}{
		{func(s *specs.Spec) {}, ""},
		{func(s *specs.Spec) { s.Version = "" }, "no ociVersion"},
		{func(s *specs.Spec) { s.Version = "2.0.0" }, "version 2.0.0"},
		{func(s *specs.Spec) { s.Root = nil }, "root property must not be empty"},
		{func(s *specs.Spec) { s.Process = nil }, "process property must not be empty"},
		{func(s *specs.Spec) { s.Process.Cwd = "" }, "Cwd property must not be empty"},
		{func(s *specs.Spec) { s.Process.Cwd = "x" }, "Cwd must be an absolute path"},
		{func(s *specs.Spec) { s.Process.Args = nil }, "args must not be empty"},
		{func(s *specs.Spec) { s.Process.Env = []string{"X"} }, "invalid environment variable"},
		{func(s *specs.Spec) { s.Process.OOMScoreAdj = &minus }, "oomScoreAdj -1001"},
		{func(s *specs.Spec) { s.Process.Rlimits[0].Soft = 2000 }, "above the hard limit"},
		{func(s *specs.Spec) { s.Process.Rlimits = append(s.Process.Rlimits, s.Process.Rlimits[0]) }, "given twice"},
		{func(s *specs.Spec) { s.Process.IOPriority = &specs.LinuxIOPriority{Priority: 8} }, "ioPriority.Priority: 8"},
		{func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Priority: 1} }, "scheduler.priority"},
		{func(s *specs.Spec) { s.Linux = nil }, "needs a mount namespace"},
		{func(s *specs.Spec) { s.Linux.Namespaces[0].Type = "galaxy" }, `namespace "galaxy" does not exist`},
		{func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, s.Linux.Namespaces[0]) }, "duplicated ns pid"},
		{func(s *specs.Spec) { s.Linux.Namespaces[0].Path = "x" }, "is not absolute"},
		{without(specs.UTSNamespace), "unable to set hostname without a private UTS namespace"},
		{func(s *specs.Spec) { s.Linux.UIDMappings = make([]specs.LinuxIDMapping, 1) }, "user namespace isn't enabled"},
		{func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		}, "no mappings specified"},
		{func(s *specs.Spec) { s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"monotonic": {}} }, "time namespace isn't enabled"},
		{func(s *specs.Spec) { s.Mounts[0].Destination = "" }, "mount 0 has no destination"},
		{func(s *specs.Spec) { s.Linux.MaskedPaths[0] = "x" }, "is not absolute"},
		{func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"} }, ""},
		{func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.core_pattern": "|x"} }, "not in a separate kernel namespace"},
		{func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net.x+kernel.core_pattern=|y": "1"} }, "invalid sysctl"},
		{func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net/../kernel/core_pattern": "1"} }, "invalid sysctl"},
		{func(s *specs.Spec) {
			without(specs.IPCNamespace)(s)
			s.Linux.Sysctl = map[string]string{"kernel.sem": "1"}
		}, "hosts ipc namespace"},
		{func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "x"}}} }, "is not absolute"},
		{func(s *specs.Spec) { s.Hooks = &specs.Hooks{Prestart: []specs.Hook{{Path: "/x", Timeout: &zero}}} }, "greater than zero"},
		{func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "z"}} }, `invalid type "z"`},
		{func(s *specs.Spec) { s.Annotations = map[string]string{"": "x"} }, "annotations must have a name"},
		{func(s *specs.Spec) { s.Linux.Resources.CPU = &specs.LinuxCPU{Idle: &two} }, "cpu.idle"},
		{func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActNotify} }, "default action"},
		{notify("write", "/x"), "cannot be used for the write syscall"},
		{notify("mkdir", ""), "listenerPath is not set"},
		{notify("mkdir", "/x"), ""},
	} {
		s := example()
		tt.change(s)
		_, err := validate(s, 0)
		switch {
		case tt.want == "" && err != nil:
			t.Error(err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
	if _, err := validate(example(), 1000); err == nil || err.Error() != "rootless container requires user namespaces" {
		t.Errorf("an account without a user namespace: %v", err)
	}
}

func without(kind specs.LinuxNamespaceType) func(s *specs.Spec) {
	return func(s *specs.Spec) {
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
	}
}

func notify(call, listener string) func(s *specs.Spec) {
	return func(s *specs.Spec) {
		s.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, ListenerPath: listener,
			Syscalls: []specs.LinuxSyscall{{Names: []string{call}, Action: specs.ActNotify}},
		}
	}
}

func TestWarnings(t *testing.T) {
	s := example()
	s.Process.Capabilities.Bounding = append([]string{"CAP_FLY"}, s.Process.Capabilities.Bounding...)
	s.Mounts[0].Destination = "proc"
	warnings, err := validate(s, 0)
	if err != nil || len(warnings) != 2 {
		t.Fatalf("%q, %v, want two warnings", warnings, err)
	}
	if slices.Contains(s.Process.Capabilities.Bounding, "CAP_FLY") || s.Mounts[0].Destination != "/proc" {
		t.Error("what was warned of is not put right")
	}
}

func TestResources(t *testing.T) {
	i, u, w := int64(7), uint64(8), uint16(9)
	major := int64(10)
	l, err := limitsOf(&specs.LinuxResources{
		Memory:  &specs.LinuxMemory{Limit: &i, Swap: &i, Swappiness: &u},
		CPU:     &specs.LinuxCPU{Shares: &u, Quota: &i, Cpus: "0"},
		Pids:    &specs.LinuxPids{Limit: &i},
		BlockIO: &specs.LinuxBlockIO{Weight: &w, ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{{Rate: 5}}},
		Devices: []specs.LinuxDeviceCgroup{{Allow: true, Type: "c", Major: &major, Access: "rw"}},
		Unified: map[string]string{"memory.high": "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if l.Memory != 7 || l.MemorySwap != 7 || *l.MemorySwappiness != 8 || l.CPUShares != 8 || l.CPUQuota != 7 || l.CpusetCpus != "0" ||
		l.PidsLimit != 7 || l.BlkioWeight != 9 || l.ReadBps[0].Rate != 5 || l.Unified["memory.high"] != "1" || !l.PlainSwap {
		t.Errorf("limits %+v", l)
	}
	if want := (cgroup.Device{Allow: true, Type: 'c', Major: 10, Minor: -1, Access: "rw"}); l.Devices[1] != want || l.Devices[0].Allow {
		t.Errorf("devices %+v", l.Devices)
	}
	for _, bad := range []*specs.LinuxResources{
		{Devices: []specs.LinuxDeviceCgroup{{Type: "x"}}},
		{Devices: []specs.LinuxDeviceCgroup{{Access: "rx"}}},
		{Unified: map[string]string{"../x": "1"}},
		{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "../2MB"}}},
	} {
		if _, err := limitsOf(bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func TestHome(t *testing.T) {
	passwd := func() (*os.File, error) {
		f := tempFile(t)
		f.WriteString("root:x:0:0::/root:/bin/sh\nbroken\nu:x:1000:1000::/home/u:\n")
		_, err := f.Seek(0, 0)
		return f, err
	}
	for _, tt := range []struct {
		env  []string
		uid  uint32
		want []string
	}{
		{[]string{"A=b"}, 0, []string{"A=b", "HOME=/root"}},
		{[]string{"HOME=/x"}, 0, []string{"HOME=/x"}},
		{[]string{"HOME="}, 1000, []string{"HOME=/home/u"}},
		{nil, 5, []string{"HOME=/"}},
	} {
		if got := withHome(tt.env, tt.uid, passwd); !slices.Equal(got, tt.want) {
			t.Errorf("%q of %d: %q, want %q", tt.env, tt.uid, got, tt.want)
		}
	}
}

func TestExecProcess(t *testing.T) {
	own := example().Process
	e := &execution{user: "5:6", gids: []string{"7"}, env: []string{"X=1"}, caps: []string{"CAP_CHOWN"}, cwd: "/tmp", tty: true}
	p, err := e.of(own, []string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if p.User.UID != 5 || p.User.GID != 6 || !slices.Equal(p.User.AdditionalGids, []uint32{7}) || p.Cwd != "/tmp" || !p.Terminal || !p.NoNewPrivileges {
		t.Errorf("process %+v", p)
	}
	if !slices.Contains(p.Env, "X=1") || !slices.Contains(p.Capabilities.Bounding, "CAP_CHOWN") || slices.Contains(own.Capabilities.Bounding, "CAP_CHOWN") {
		t.Errorf("process %+v, and the container's %+v", p, own.Capabilities)
	}
	for _, user := range []string{"x", "-1", "4294967295", "4294967296", "0:x", "99999999999999999999"} { // CVE-2024-40635
		if _, err := (&execution{user: user}).of(own, []string{"a"}); err == nil {
			t.Errorf("the user %s is accepted", user)
		}
	}
}

func TestFeatures(t *testing.T) {
	a := &app{Env: Env{Version: func() string { return "1" }}}
	f := a.features()
	if !slices.Contains(f.MountOptions, "rro") || !slices.Contains(f.Linux.Namespaces, "time") || !slices.IsSorted(f.MountOptions) {
		t.Errorf("features %+v", f)
	}
	var b bytes.Buffer
	a.printVersion(&b)
	if !strings.HasPrefix(b.String(), "runc version "+runcVersion) || !strings.Contains(b.String(), "\nspec: "+specs.Version+"\n") {
		t.Errorf("version: %s", b.String())
	}
}

func TestRootlessExample(t *testing.T) {
	s := example()
	makeRootless(s)
	if _, err := validate(s, 1000); err != nil {
		t.Error(err)
	}
	if s.Linux.Resources != nil || reflect.DeepEqual(s, example()) {
		t.Error("it is the one for root")
	}
}

func TestSystemdPath(t *testing.T) {
	if s, p, n, err := systemdPath("a.slice:b:c", "id"); err != nil || s+p+n != "a.slicebc" {
		t.Errorf("%s %s %s %v", s, p, n, err)
	}
	if _, _, _, err := systemdPath("/a/b", "id"); err == nil {
		t.Error("a path is accepted as slice:prefix:name")
	}
}

// TestNumbers reads lists of processors.
func TestNumbers(t *testing.T) {
	for in, want := range map[string][]uint16{"0-2,7\n": {0, 1, 2, 7}, "": nil, "3": {3}, "x,1": {1}, "5-4": nil} {
		if got := numbers(in); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

// TestUnsupported: whatever the options are, the answer is the same.
func TestUnsupported(t *testing.T) {
	a := &app{name: "runc"}
	for _, name := range []string{"checkpoint", "restore"} {
		if err := a.do(find(name), []string{"--image-path", "x", "c"}); err == nil || !strings.HasPrefix(err.Error(), name+" is not supported") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
