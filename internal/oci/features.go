package oci

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"berth/internal/sys"
)

// runcVersion is the release of runc whose command line this is. Programs that
// drive runtimes read it from the first line of --version to learn what they
// may ask for.
const runcVersion = "1.2.0"

// printVersion has the form that Docker, containerd, Podman and CRI-O take
// apart.
func (a *app) printVersion(w io.Writer) {
	fmt.Fprintf(w, "runc version %s (berth %s)\nspec: %s\ngo: %s\n", runcVersion, a.Version(), specs.Version, runtime.Version())
}

func featuresVerb() *verb {
	v := &verb{name: "features", max: 0, help: "print what of the specification is supported"}
	v.run = func(a *app, _ []string) error {
		e := json.NewEncoder(a.Stdout)
		e.SetIndent("", "    ")
		return e.Encode(a.features())
	}
	return v
}

// features describes what we do, whatever the machine can do of it
// (runtime-spec, features.md).
func (a *app) features() *features.Features {
	yes, no := new(bool), new(bool)
	*yes = true
	return &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions:  mountOptions(),
		Linux: &features.Linux{
			Namespaces:   []string{"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"},
			Capabilities: sys.Capabilities(),
			Cgroup:       &features.Cgroup{V1: yes, V2: yes, Systemd: yes, SystemdUser: yes, Rdma: yes},
			Seccomp: &features.Seccomp{
				Enabled: yes,
				Actions: []string{
					"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
					"SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
				},
				Operators: []string{
					"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
				},
				Archs:          []string{"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"},
				KnownFlags:     seccompFlags(),
				SupportedFlags: seccompFlags(),
			},
			Apparmor:        &features.Apparmor{Enabled: yes},
			Selinux:         &features.Selinux{Enabled: yes},
			IntelRdt:        &features.IntelRdt{Enabled: yes, Schemata: yes, Monitoring: no},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: yes}},
			NetDevices:      &features.NetDevices{Enabled: no},
		},
		Annotations: map[string]string{
			"org.opencontainers.runc.version":            runcVersion,
			"org.opencontainers.runc.checkpoint.enabled": "false",
			"berth.version": a.Version(),
		},
	}
}

func seccompFlags() []string {
	return []string{string(specs.LinuxSeccompFlagLog), string(specs.LinuxSeccompFlagSpecAllow), "SECCOMP_FILTER_FLAG_TSYNC", string(specs.LinuxSeccompFlagWaitKillableRecv)}
}

// mountOptions are those that are not for the file system (package runtime
// reads them). Nearly all attributes exist for a whole tree, too.
func mountOptions() []string {
	attributes := []string{
		"atime", "dev", "diratime", "exec", "noatime", "nodev", "nodiratime", "noexec", "norelatime", "nostrictatime",
		"nosuid", "nosymfollow", "relatime", "ro", "rw", "strictatime", "suid", "symfollow",
		"private", "shared", "slave", "unbindable", "bind", "idmap",
	}
	out := []string{"async", "defaults", "loud", "noiversion", "remount", "silent", "tmpcopyup"}
	for _, name := range attributes {
		out = append(out, name, "r"+name)
	}
	slices.Sort(out)
	return out
}
