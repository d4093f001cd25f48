package oci

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// validation is one test of the suite and what is to be said about it.
type validation struct {
	name   string
	lacks  func() string     // what the machine lacks for it to apply
	group  bool              // uses a fixed control group
	racy   string            // why it may fail and deserves another try
	except map[string]string // part of a complaint: why it is right that it comes
}

// Why a complaint of the suite is none about the runtime. Many of its tests are
// older than the version of the specification that they name.
const (
	pointers   = "the test compares the addresses of two limits, not the limits (linux.resources.pids.limit became a pointer)"
	kernelMem  = "Linux has no limits of kernel memory any more: writing them does nothing since 5.16, and the specification says not to use them"
	ordered    = "the test wants the rules of version 1's device list back one by one, in order; the kernel keeps a set, and runtimes put the default devices into it"
	created    = "runc's command line deletes a container that is only created, and engines rely on it"
	hookState  = "since 1.0.2 of the specification prestart hooks run while the container is being created, and so its status is creating"
	prestart   = "the test wants prestart hooks with start, as before 1.0.2 of the specification; since then they belong to create"
	poststart  = "since 1.3 of the specification a failing poststart hook is an error; the test wants a warning"
	anyCap     = "the test wants an error for an unknown capability; since 1.1 of the specification runtimes warn, and should not fail"
	goRlimit   = "the test's program inside the container is a Go program, and Go's start raises the soft limit of open files to nearly the hard one"
	noCopy     = "the test has not put the program that it wants run into the bundle"
	noTrap     = "the test does not wait until the shell in the container has set its trap before it sends the signal"
	twoShells  = "the test wants the line of the program's shell before the line of the hook's, but the hook comes as soon as the program is executed: both shells start at once. A hook before the execution would come first in every try"
	killed     = "the test kills a program that has ended already, which is an error by the specification"
	noProcess  = "the test wants start to succeed without a process, while it says that start must fail; and runc's create wants one, as ours does"
	hostMounts = "refused on purpose: with the mount namespace inherited, each mount of the bundle would be made in the host's tree, and stay there after a crash; no engine asks for it"
	literal    = "what the test wants to read lacks a word in four of its six lines, so no runtime can please it"
)

// validations is the whole suite.
func validations() []validation {
	return []validation{
		{name: "config_updates_without_affect"},
		{name: "create"},
		{name: "default"},
		{name: "delete", except: map[string]string{"not ok 2 ": created, "not ok 3 ": created}},
		{name: "delete_only_create_resources", group: true},
		{name: "delete_resources", group: true, except: map[string]string{"pids limit": pointers}},
		{name: "hooks", except: map[string]string{"Hooks MUST be called in the listed order": literal}},
		{name: "hooks_stdin", except: map[string]string{`passed to "prestart" hook`: hookState}},
		{name: "hostname"},
		{name: "kill"},
		{name: "kill_no_effect"},
		{name: "killsig", racy: noTrap},
		{name: "linux_cgroups_blkio", group: true, lacks: leafWeight},
		{name: "linux_cgroups_cpus", group: true, lacks: controller("cpu")},
		{name: "linux_cgroups_devices", group: true, lacks: controller("devices"), except: map[string]string{"devices": ordered}},
		{name: "linux_cgroups_hugetlb", group: true, lacks: controller("hugetlb")},
		{name: "linux_cgroups_memory", group: true, lacks: controller("memory"), except: map[string]string{"memory kernel": kernelMem}},
		{name: "linux_cgroups_network", group: true, lacks: controller("net_cls")},
		{name: "linux_cgroups_pids", group: true, lacks: controller("pids"), except: map[string]string{"pids limit": pointers}},
		{name: "linux_cgroups_relative_blkio", group: true, lacks: leafWeight},
		{name: "linux_cgroups_relative_cpus", group: true, lacks: controller("cpu")},
		{name: "linux_cgroups_relative_devices", group: true, lacks: controller("devices"), except: map[string]string{"devices": ordered}},
		{name: "linux_cgroups_relative_hugetlb", group: true, lacks: controller("hugetlb")},
		{name: "linux_cgroups_relative_memory", group: true, lacks: controller("memory"), except: map[string]string{"memory kernel": kernelMem}},
		{name: "linux_cgroups_relative_network", group: true, lacks: controller("net_cls")},
		{name: "linux_cgroups_relative_pids", group: true, lacks: controller("pids"), except: map[string]string{"pids limit": pointers}},
		{name: "linux_devices"},
		{name: "linux_masked_paths"},
		{name: "linux_mount_label", lacks: selinux},
		{name: "linux_ns_itype", except: map[string]string{"cannot run validation tests": hostMounts}},
		{name: "linux_ns_nopath"},
		{name: "linux_ns_path"},
		{name: "linux_ns_path_type"},
		{name: "linux_process_apparmor_profile", lacks: testProfile},
		{name: "linux_readonly_paths"},
		{name: "linux_rootfs_propagation"},
		{name: "linux_seccomp"},
		{name: "linux_sysctl"},
		{name: "linux_uid_mappings"},
		{name: "misc_props", except: map[string]string{"unknown annotation key": noCopy}},
		{name: "mounts"},
		{name: "pidfile", except: map[string]string{"'--pid-file'": killed}},
		{name: "poststart", racy: twoShells},
		{name: "poststart_fail", except: map[string]string{"poststart hook fails": poststart}},
		{name: "poststop"},
		{name: "poststop_fail"},
		{name: "prestart", except: map[string]string{"Pre-start hooks MUST": prestart}},
		{name: "prestart_fail"},
		{name: "process"},
		{name: "process_capabilities", lacks: capabilities},
		{name: "process_capabilities_fail", except: map[string]string{"exit code 1": anyCap}},
		{name: "process_oom_score_adj"},
		{name: "process_rlimits", except: map[string]string{"soft RLIMIT_NOFILE": goRlimit}},
		{name: "process_rlimits_fail"},
		{name: "process_user"},
		{name: "root_readonly_true"},
		{name: "start", except: map[string]string{"not ok 7": noProcess}},
		{name: "state"},
	}
}

// controller asks for a hierarchy of control groups of version 1: the suite
// reads no others.
func controller(name string) func() string {
	return func() string {
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", name, "cgroup.procs")); err != nil {
			return "no " + name + " hierarchy of cgroup version 1"
		}
		return ""
	}
}

func leafWeight() string {
	if _, err := os.Stat("/sys/fs/cgroup/blkio/blkio.leaf_weight"); err != nil {
		return "the kernel has no blkio.leaf_weight (it went with the CFQ scheduler in 5.0)"
	}
	return ""
}

func selinux() string {
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err != nil {
		return "no SELinux"
	}
	return ""
}

func testProfile() string {
	loaded, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	if err != nil {
		return "no AppArmor"
	}
	if !strings.Contains(string(loaded), "acme_secure_profile") {
		return "the AppArmor profile acme_secure_profile, which the test wants loaded, is not"
	}
	return ""
}

// capabilities asks for all of them: the test wants exactly those in the
// container, and nobody can give what he has not.
func capabilities() string {
	out, err := exec.Command("sed", "-n", "s/^CapBnd:[[:space:]]*//p", "/proc/self/status").Output()
	if err != nil {
		return err.Error()
	}
	set, err := strconv.ParseUint(strings.TrimSpace(string(out)), 16, 64)
	if err != nil {
		return err.Error()
	}
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return err.Error()
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err.Error()
	}
	if want := uint64(1)<<(last+1) - 1; set&want != want {
		return "root lacks capabilities here (CapBnd " + strings.TrimSpace(string(out)) + ")"
	}
	return ""
}
