package spec

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"berth/internal/sys"
)

func TestValidate(t *testing.T) {
	cpus := runtime.NumCPU()
	tests := []struct {
		name string
		edit func(*container.Config, *container.HostConfig)
		want string // empty: valid
	}{
		{"nothing", func(*container.Config, *container.HostConfig) {}, ""},
		{"all well", func(c *container.Config, h *container.HostConfig) {
			c.Env = []string{"A=b", "C"}
			c.WorkingDir = "/x"
			h.NetworkMode = "default"
			h.Memory, h.MemorySwap = 6<<20, -1
			h.NanoCPUs = int64(cpus) * 1e9
			h.CpusetCpus = "0-1,3"
			h.Ulimits = []*container.Ulimit{{Name: "core", Soft: 0, Hard: -1}}
			h.CapAdd, h.CapDrop = []string{"all"}, []string{"Net_Raw", "CAP_CHOWN"}
			h.RestartPolicy = container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 3}
			h.Sysctls = map[string]string{"net.ipv4.conf.eth0/100.forwarding": "1", "kernel.sem": "1 2\t3"}
			h.Devices = []container.DeviceMapping{{PathOnHost: "/dev/fuse", PathInContainer: "/dev/fuse", CgroupPermissions: "rwm"}}
			h.Tmpfs = map[string]string{"/run": "", "/x": "rw,noexec,size=1g"}
			h.SecurityOpt = []string{"seccomp=unconfined", "apparmor:x", "label=type:t", "label=disable", "disable", "no-new-privileges:false", "writable-cgroups"}
		}, ""},
		{"workdir", func(c *container.Config, _ *container.HostConfig) { c.WorkingDir = "x" }, "the working directory 'x' is invalid, it needs to be an absolute path"},
		{"hostname", func(c *container.Config, _ *container.HostConfig) { c.Hostname = strings.Repeat("x", 65) }, `is too long (maximum 64 bytes)`},
		{"env", func(c *container.Config, _ *container.HostConfig) { c.Env = []string{"=x"} }, "invalid environment variable: =x"},
		{"env zero", func(c *container.Config, _ *container.HostConfig) { c.Env = []string{"a=\x00"} }, "zero byte"},
		{"health", func(c *container.Config, _ *container.HostConfig) {
			c.Healthcheck = &container.HealthConfig{Interval: time.Microsecond}
		}, "Interval in Healthcheck cannot be less than 1ms"},
		{"retries", func(c *container.Config, _ *container.HostConfig) {
			c.Healthcheck = &container.HealthConfig{Retries: -1}
		}, "Retries in Healthcheck cannot be negative"},
		{"memory", func(_ *container.Config, h *container.HostConfig) { h.Memory = 6<<20 - 1 }, "Minimum memory limit allowed is 6MB"},
		{"swap", func(_ *container.Config, h *container.HostConfig) { h.Memory, h.MemorySwap = 8<<20, 7<<20 }, "Minimum memoryswap limit should be larger than memory limit, see usage"},
		{"swap alone", func(_ *container.Config, h *container.HostConfig) { h.MemorySwap = 7 << 20 }, "You should always set the Memory limit when using Memoryswap limit, see usage"},
		{"reservation", func(_ *container.Config, h *container.HostConfig) { h.MemoryReservation = 1 }, "Minimum memory reservation allowed is 6MB"},
		{"more reserved", func(_ *container.Config, h *container.HostConfig) { h.Memory, h.MemoryReservation = 8<<20, 9<<20 }, "Minimum memory limit can not be less than memory reservation limit, see usage"},
		{"swappiness", func(_ *container.Config, h *container.HostConfig) { h.MemorySwappiness = ptr(int64(101)) }, "valid memory swappiness range is 0-100"},
		{"shm", func(_ *container.Config, h *container.HostConfig) { h.ShmSize = -1 }, "SHM size can not be less than 0"},
		{"cpus", func(_ *container.Config, h *container.HostConfig) { h.NanoCPUs = int64(cpus)*1e9 + 1 },
			fmt.Sprintf("range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", cpus, cpus)},
		{"cpus below", func(_ *container.Config, h *container.HostConfig) { h.NanoCPUs = -1 }, "range of CPUs"},
		{"cpus and quota", func(_ *container.Config, h *container.HostConfig) { h.NanoCPUs, h.CPUQuota = 1, 1 }, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"},
		{"cpus and period", func(_ *container.Config, h *container.HostConfig) { h.NanoCPUs, h.CPUPeriod = 1, 1 }, "Conflicting options: Nano CPUs and CPU Period cannot both be set"},
		{"period", func(_ *container.Config, h *container.HostConfig) { h.CPUPeriod = 1 }, "CPU cfs period can not be less than 1ms"},
		{"quota", func(_ *container.Config, h *container.HostConfig) { h.CPUQuota = 1 }, "CPU cfs quota can not be less than 1ms"},
		{"shares", func(_ *container.Config, h *container.HostConfig) { h.CPUShares = -1 }, "invalid CPU shares (-1): value must be a positive integer"},
		{"cpuset", func(_ *container.Config, h *container.HostConfig) { h.CpusetCpus = "3-1" }, "Invalid value 3-1 for cpuset cpus: invalid format: 3-1"},
		{"cpuset far", func(_ *container.Config, h *container.HostConfig) { h.CpusetCpus = "0-4000000000" }, "value out of range, maximum is 8191"},
		{"cpuset mems", func(_ *container.Config, h *container.HostConfig) { h.CpusetMems = "0," }, "Invalid value 0, for cpuset mems"},
		{"blkio", func(_ *container.Config, h *container.HostConfig) { h.BlkioWeight = 1 }, "Range of blkio weight is from 10 to 1000"},
		{"oom", func(_ *container.Config, h *container.HostConfig) { h.OomScoreAdj = 1001 }, "Invalid value 1001, range for oom score adj is [-1000, 1000]"},
		{"ulimit", func(_ *container.Config, h *container.HostConfig) {
			h.Ulimits = []*container.Ulimit{{Name: "nofile", Soft: 2, Hard: 1}}
		}, "ulimit soft limit must be less than or equal to hard limit: 2 > 1"},
		{"ulimit endless", func(_ *container.Config, h *container.HostConfig) {
			h.Ulimits = []*container.Ulimit{{Name: "nofile", Soft: -1, Hard: 1}}
		}, "soft: -1 (unlimited), hard: 1"},
		{"ulimit below", func(_ *container.Config, h *container.HostConfig) {
			h.Ulimits = []*container.Ulimit{{Name: "nofile", Soft: -2, Hard: -1}}
		}, "invalid ulimit argument: nofile=-2:-1"},
		{"ulimit nil", func(_ *container.Config, h *container.HostConfig) { h.Ulimits = []*container.Ulimit{nil} }, "invalid ulimit argument"},
		{"auto remove", func(_ *container.Config, h *container.HostConfig) {
			h.AutoRemove = true
			h.RestartPolicy.Name = "always"
		}, "can't create 'AutoRemove' container with restart policy"},
		{"retry", func(_ *container.Config, h *container.HostConfig) {
			h.RestartPolicy = container.RestartPolicy{Name: "always", MaximumRetryCount: 1}
		}, "maximum retry count can only be used with 'on-failure'"},
		{"policy", func(_ *container.Config, h *container.HostConfig) { h.RestartPolicy.Name = "often" }, "unknown policy 'often'"},
		{"capability", func(_ *container.Config, h *container.HostConfig) { h.CapAdd = []string{"x"} }, `invalid CapAdd: unknown capability: "CAP_X"`},
		{"drop", func(_ *container.Config, h *container.HostConfig) { h.CapDrop = []string{"x"} }, `invalid CapDrop: unknown capability: "CAP_X"`},
		{"isolation", func(_ *container.Config, h *container.HostConfig) { h.Isolation = "hyperv" }, "invalid isolation 'hyperv' on linux"},
		{"sysctl", func(_ *container.Config, h *container.HostConfig) {
			h.Sysctls = map[string]string{"vm.swappiness": "1"}
		}, "sysctl 'vm.swappiness=1' is not allowed"},
		{"sysctl out", func(_ *container.Config, h *container.HostConfig) {
			h.Sysctls = map[string]string{"net.//.//.kernel.core_pattern": "|/x"}
		}, "is not allowed"},
		{"sysctl smuggled", func(_ *container.Config, h *container.HostConfig) {
			h.Sysctls = map[string]string{"net.x=1+kernel.core_pattern": "|/x"}
		}, "is not allowed"},
		{"sysctl lines", func(_ *container.Config, h *container.HostConfig) { h.Sysctls = map[string]string{"net.x": "1\n2"} }, "is not allowed"},
		{"device", func(_ *container.Config, h *container.HostConfig) {
			h.Devices = []container.DeviceMapping{{PathOnHost: "/dev/x", PathInContainer: "x"}}
		}, "x is not an absolute path"},
		{"device mode", func(_ *container.Config, h *container.HostConfig) {
			h.Devices = []container.DeviceMapping{{PathOnHost: "/dev/x", CgroupPermissions: "rr"}}
		}, "invalid device mode: rr"},
		{"device nowhere", func(_ *container.Config, h *container.HostConfig) { h.Devices = []container.DeviceMapping{{}} }, "invalid device"},
		{"device rule", func(_ *container.Config, h *container.HostConfig) { h.DeviceCgroupRules = []string{"x"} }, "invalid device cgroup rule format: 'x'"},
		{"tmpfs", func(_ *container.Config, h *container.HostConfig) { h.Tmpfs = map[string]string{"/": ""} }, "destination can't be '/'"},
		{"tmpfs option", func(_ *container.Config, h *container.HostConfig) { h.Tmpfs = map[string]string{"/x": "size"} }, `invalid tmpfs option "size"`},
		{"seccomp", func(_ *container.Config, h *container.HostConfig) { h.SecurityOpt = []string{"seccomp=/etc/x.json"} }, "decoding seccomp profile failed"},
		{"label", func(_ *container.Config, h *container.HostConfig) { h.SecurityOpt = []string{"label=x"} }, `invalid --security-opt: "label=x"`},
		{"no-new", func(_ *container.Config, h *container.HostConfig) {
			h.SecurityOpt = []string{"no-new-privileges=maybe"}
		}, `invalid --security-opt: "no-new-privileges=maybe"`},
		{"systempaths", func(_ *container.Config, h *container.HostConfig) { h.SecurityOpt = []string{"systempaths=x"} }, `invalid --security-opt: "systempaths=x"`},
		{"network", func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "container:" }, "invalid container format container:<name|id>"},
		{"userns", func(_ *container.Config, h *container.HostConfig) { h.UsernsMode = "x" }, "invalid user namespace mode: x"},
		{"hostname and network", func(c *container.Config, h *container.HostConfig) { c.Hostname = "x"; h.NetworkMode = "container:y" }, "conflicting options: hostname and the network mode"},
		{"hostname and uts", func(c *container.Config, h *container.HostConfig) { c.Hostname = "x"; h.UTSMode = "host" }, "conflicting options: hostname and the UTS mode"},
		{"hosts and network", func(_ *container.Config, h *container.HostConfig) {
			h.ExtraHosts = []string{"a:1"}
			h.NetworkMode = "container:y"
		}, "conflicting options: custom host-to-IP mapping and the network mode"},
		{"ports and network", func(_ *container.Config, h *container.HostConfig) {
			h.PublishAllPorts = true
			h.NetworkMode = "container:y"
		}, "port publishing and the container type network mode"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, h := &container.Config{}, &container.HostConfig{}
			tt.edit(c, h)
			err := Validate(c, h)
			if tt.want == "" && err != nil {
				t.Error(err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if err := Validate(nil, nil); err != nil {
		t.Error(err)
	}
}

func TestCapabilities(t *testing.T) {
	without := func(drop ...string) []string { return without(defaultCaps(), drop) }
	today := Host{LastCap: 40}
	tests := []struct {
		name      string
		add, drop string
		host      Host
		want      []string
	}{
		{"default", "", "", today, defaultCaps()},
		{"add", "sys_admin net_raw", "", today, append(defaultCaps(), "CAP_SYS_ADMIN")},
		{"drop", "", "CAP_CHOWN kill", today, without("CAP_CHOWN", "CAP_KILL")},
		{"add wins", "chown", "chown", today, append(without("CAP_CHOWN"), "CAP_CHOWN")},
		{"only", "chown", "all", today, []string{"CAP_CHOWN"}},
		{"none", "", "ALL", today, nil},
		{"all but", "ALL", "sys_admin", Host{LastCap: 1}, []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE"}},
		{"both", "ALL", "ALL", Host{LastCap: 0}, sys.Capabilities()},
		{"poor root", "", "", Host{LastCap: 40, Bounding: 1<<0 | 1<<5}, []string{"CAP_CHOWN", "CAP_KILL"}},
	}
	for _, tt := range tests {
		hc := &container.HostConfig{CapAdd: strings.Fields(tt.add), CapDrop: strings.Fields(tt.drop)}
		got, err := Capabilities(hc, tt.host)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
	got, err := Capabilities(&container.HostConfig{Privileged: true}, Host{LastCap: 39})
	if err != nil || len(got) != 40 {
		t.Errorf("privileged: %v, %v", got, err)
	}
}

func TestSeccompProfile(t *testing.T) {
	tests := []struct {
		opt        string
		privileged bool
		none       bool
		want, err  string
	}{
		{want: SeccompDefault},
		{opt: "seccomp=builtin", want: SeccompDefault},
		{opt: "seccomp=unconfined", want: SeccompUnconfined},
		{opt: `seccomp= {"defaultAction":"SCMP_ACT_ALLOW"}`, want: ` {"defaultAction":"SCMP_ACT_ALLOW"}`},
		{opt: `seccomp={}`, privileged: true, want: `{}`},
		{privileged: true, want: SeccompUnconfined},
		{none: true, want: SeccompUnconfined},
		{opt: `seccomp={}`, none: true, err: "seccomp is not enabled in your kernel, cannot run a custom seccomp profile"},
		{opt: `seccomp=x`, err: "decoding seccomp profile failed"},
		{opt: `x`, err: "invalid --security-opt"},
	}
	for _, tt := range tests {
		hc := &container.HostConfig{Privileged: tt.privileged}
		if tt.opt != "" {
			hc.SecurityOpt = []string{tt.opt}
		}
		got, err := SeccompProfile(hc, Host{NoSeccomp: tt.none})
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%+v: got %v", tt, err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%+v: got %q, %v", tt, got, err)
		}
	}
}

func TestTmpfsOptions(t *testing.T) {
	tests := []struct{ options, want string }{
		{"", "noexec,nosuid,nodev,rprivate"},
		{"exec", "nosuid,nodev,rprivate,exec"},
		{"size=1m,size=2m,rw", "noexec,nosuid,nodev,rprivate,size=2m,rw"},
		{"defaults,ro,rw", "noexec,nosuid,nodev,rprivate,rw"},
		{"dev", "noexec,nosuid,rprivate,nodev"}, // nodev is forced, at the end
		{"shared", "noexec,nosuid,nodev,shared"},
	}
	for _, tt := range tests {
		in := root()
		in.Mounts = []Mount{{Type: "tmpfs", Destination: "/x", TmpfsOptions: tt.options}}
		s, _, err := Build(in)
		if err != nil {
			t.Errorf("%q: %v", tt.options, err)
			continue
		}
		if got := strings.Join(s.Mounts[len(s.Mounts)-4].Options, ","); s.Mounts[len(s.Mounts)-4].Destination != "/x" || got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.options, got, tt.want)
		}
	}
}
