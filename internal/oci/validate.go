package oci

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/internal/sys"
)

// validate checks what the runtime specification demands of a configuration
// and what would else fail late, in words of the configuration. Things that it
// says to warn of come back as warnings, and are put right.
func validate(s *specs.Spec, euid int) (warnings []string, err error) {
	v := &validator{spec: s, linux: s.Linux, kinds: map[specs.LinuxNamespaceType]specs.LinuxNamespace{}}
	if v.linux == nil {
		v.linux = &specs.Linux{}
	}
	for _, check := range []func() error{
		v.version, v.process, v.namespaces, v.mounts, v.paths, v.sysctls, v.hooks, v.devices, v.limits, v.seccomp,
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	if euid != 0 && !v.has(specs.UserNamespace) {
		return nil, errors.New("rootless container requires user namespaces")
	}
	return v.warnings, nil
}

type validator struct {
	spec     *specs.Spec
	linux    *specs.Linux
	kinds    map[specs.LinuxNamespaceType]specs.LinuxNamespace
	warnings []string
}

func (v *validator) warn(format string, args ...any) {
	v.warnings = append(v.warnings, fmt.Sprintf(format, args...))
}

func (v *validator) has(t specs.LinuxNamespaceType) bool {
	_, ok := v.kinds[t]
	return ok
}

func (v *validator) version() error {
	major, _, _ := strings.Cut(v.spec.Version, ".")
	switch {
	case v.spec.Version == "":
		return errors.New("config.json has no ociVersion")
	case major != "1":
		return fmt.Errorf("config.json is of version %s of the runtime specification: supported are 1.0.0 to %s", v.spec.Version, specs.Version)
	case v.spec.Root == nil || v.spec.Root.Path == "":
		return errors.New("root property must not be empty")
	}
	return nil
}

func (v *validator) process() error {
	p := v.spec.Process
	if p == nil {
		return errors.New("process property must not be empty")
	}
	if err := validateProcess(p); err != nil {
		return err
	}
	v.warnings = append(v.warnings, knownCapabilities(p)...)
	return nil
}

// validateProcess checks a process, of config.json or of `exec`.
func validateProcess(p *specs.Process) error {
	switch {
	case p.Cwd == "":
		return errors.New("Cwd property must not be empty")
	case !filepath.IsAbs(p.Cwd):
		return errors.New("Cwd must be an absolute path")
	case len(p.Args) == 0:
		return errors.New("args must not be empty")
	case p.OOMScoreAdj != nil && (*p.OOMScoreAdj < -1000 || *p.OOMScoreAdj > 1000):
		return fmt.Errorf("oomScoreAdj %d is not between -1000 and 1000", *p.OOMScoreAdj)
	}
	if i := slices.IndexFunc(p.Env, func(e string) bool { return strings.IndexByte(e, '=') <= 0 || strings.Contains(e, "\x00") }); i >= 0 {
		return fmt.Errorf("invalid environment variable %q: it is written as NAME=VALUE", p.Env[i])
	}
	seen := map[string]bool{}
	for _, r := range p.Rlimits {
		if seen[r.Type] {
			return fmt.Errorf("rlimit %s is given twice", r.Type)
		}
		seen[r.Type] = true
		if r.Soft > r.Hard {
			return fmt.Errorf("rlimit %s: the soft limit %d is above the hard limit %d", r.Type, r.Soft, r.Hard)
		}
	}
	if io := p.IOPriority; io != nil && (io.Priority < 0 || io.Priority > 7) {
		return fmt.Errorf("invalid ioPriority.Priority: %d", io.Priority)
	}
	return validateScheduler(p.Scheduler)
}

func validateScheduler(s *specs.Scheduler) error {
	switch {
	case s == nil:
		return nil
	case s.Policy == "":
		return errors.New("scheduler policy is required")
	case s.Nice < -20 || s.Nice > 19:
		return fmt.Errorf("invalid scheduler.nice: %d", s.Nice)
	case s.Priority != 0 && s.Policy != specs.SchedFIFO && s.Policy != specs.SchedRR:
		return errors.New("scheduler.priority can only be specified for SchedFIFO or SchedRR policy")
	case (s.Runtime != 0 || s.Deadline != 0 || s.Period != 0) && s.Policy != specs.SchedDeadline:
		return errors.New("scheduler runtime/deadline/period can only be specified for SchedDeadline policy")
	}
	return nil
}

// knownCapabilities takes out names that the kernel does not know, as the
// specification has it, and returns a warning for each.
func knownCapabilities(p *specs.Process) (warnings []string) {
	if p.Capabilities == nil {
		return nil
	}
	known := sys.Capabilities()
	unknown := map[string]bool{}
	for _, set := range []*[]string{
		&p.Capabilities.Bounding, &p.Capabilities.Effective, &p.Capabilities.Inheritable, &p.Capabilities.Permitted, &p.Capabilities.Ambient,
	} {
		*set = slices.DeleteFunc(*set, func(name string) bool {
			bad := !slices.Contains(known, name)
			if bad && !unknown[name] {
				unknown[name] = true
				warnings = append(warnings, "ignoring unknown capability "+name)
			}
			return bad
		})
	}
	return warnings
}

func (v *validator) namespaces() error {
	for _, n := range v.linux.Namespaces {
		switch n.Type {
		case specs.PIDNamespace, specs.NetworkNamespace, specs.MountNamespace, specs.IPCNamespace,
			specs.UTSNamespace, specs.UserNamespace, specs.CgroupNamespace, specs.TimeNamespace:
		default:
			return fmt.Errorf("namespace %q does not exist", n.Type)
		}
		if v.has(n.Type) {
			return fmt.Errorf("malformed spec file: duplicated ns %s", n.Type)
		}
		if n.Path != "" && !filepath.IsAbs(n.Path) {
			return fmt.Errorf("path %q of the %s namespace is not absolute", n.Path, n.Type)
		}
		v.kinds[n.Type] = n
	}
	mapped := len(v.linux.UIDMappings) > 0 || len(v.linux.GIDMappings) > 0
	user := v.kinds[specs.UserNamespace]
	switch {
	case !v.has(specs.MountNamespace):
		return errors.New("a container needs a mount namespace: add {\"type\": \"mount\"} to linux.namespaces")
	case v.spec.Hostname != "" && !v.has(specs.UTSNamespace):
		return errors.New("unable to set hostname without a private UTS namespace")
	case v.spec.Domainname != "" && !v.has(specs.UTSNamespace):
		return errors.New("unable to set domainname without a private UTS namespace")
	case mapped && !v.has(specs.UserNamespace):
		return errors.New("user namespace mappings specified, but user namespace isn't enabled in the config")
	case v.has(specs.UserNamespace) && user.Path == "" && (len(v.linux.UIDMappings) == 0 || len(v.linux.GIDMappings) == 0):
		return errors.New("user namespace enabled, but no mappings specified: set linux.uidMappings and linux.gidMappings")
	case len(v.linux.TimeOffsets) > 0 && !v.has(specs.TimeNamespace):
		return errors.New("time namespace offsets specified, but time namespace isn't enabled in the config")
	case len(v.linux.UIDMappings) > 340 || len(v.linux.GIDMappings) > 340:
		return errors.New("more than 340 id mappings: the kernel takes no more (user_namespaces(7))")
	}
	return nil
}

func (v *validator) mounts() error {
	for i := range v.spec.Mounts {
		m := &v.spec.Mounts[i]
		if m.Destination == "" {
			return fmt.Errorf("mount %d has no destination", i)
		}
		if !path.IsAbs(m.Destination) {
			v.warn("mount destination %q is not absolute: it is taken from the root", m.Destination)
			m.Destination = "/" + m.Destination
		}
		if (len(m.UIDMappings) > 0) != (len(m.GIDMappings) > 0) {
			return fmt.Errorf("mount %s: uidMappings and gidMappings go together", m.Destination)
		}
	}
	return nil
}

func (v *validator) paths() error {
	for _, p := range slices.Concat(v.linux.MaskedPaths, v.linux.ReadonlyPaths) {
		if !path.IsAbs(p) {
			return fmt.Errorf("masked or read-only path %q is not absolute", p)
		}
	}
	return nil
}

// sysctls refuses the settings that are not of the container's own namespaces
// but of the machine.
func (v *validator) sysctls() error {
	ipc := []string{
		"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
	}
	for key := range v.linux.Sysctl {
		name := strings.ReplaceAll(key, "/", ".")
		need := specs.LinuxNamespaceType("")
		switch {
		case strings.ContainsAny(key, "+=\x00 ") || strings.Contains(name, ".."):
			return fmt.Errorf("invalid sysctl %q", key) // CVE-2022-0811
		case slices.Contains(ipc, name) || strings.HasPrefix(name, "fs.mqueue."):
			need = specs.IPCNamespace
		case strings.HasPrefix(name, "net."):
			need = specs.NetworkNamespace
		case name == "kernel.domainname":
			need = specs.UTSNamespace
		case name == "kernel.hostname":
			return fmt.Errorf("sysctl %q is not allowed as it conflicts with the OCI %q field", key, "hostname")
		case strings.HasPrefix(name, "user."):
			need = specs.UserNamespace
		default:
			return fmt.Errorf("sysctl %q is not in a separate kernel namespace", key)
		}
		if !v.has(need) {
			return fmt.Errorf("sysctl %q is not allowed in the hosts %s namespace", key, need)
		}
	}
	return nil
}

func (v *validator) hooks() error {
	h := v.spec.Hooks
	if h == nil {
		return nil
	}
	for _, list := range [][]specs.Hook{h.Prestart, h.CreateRuntime, h.CreateContainer, h.StartContainer, h.Poststart, h.Poststop} {
		for _, one := range list {
			if !filepath.IsAbs(one.Path) {
				return fmt.Errorf("hook path %q is not absolute", one.Path)
			}
			if one.Timeout != nil && *one.Timeout <= 0 {
				return fmt.Errorf("hook %s: the timeout must be greater than zero", one.Path)
			}
		}
	}
	return nil
}

func (v *validator) devices() error {
	for _, d := range v.linux.Devices {
		switch {
		case !path.IsAbs(d.Path):
			return fmt.Errorf("device path %q is not absolute", d.Path)
		case !slices.Contains([]string{"c", "b", "u", "p"}, d.Type):
			return fmt.Errorf("invalid type %q of device %s", d.Type, d.Path)
		}
	}
	return nil
}

// limits checks what can be checked without looking at the machine.
func (v *validator) limits() error {
	for name := range v.spec.Annotations {
		if name == "" {
			return errors.New("annotations must have a name")
		}
	}
	if len(v.linux.NetDevices) > 0 {
		return errors.New("linux.netDevices is not supported: move the interfaces with ip(8) in a createRuntime hook")
	}
	for clock := range v.linux.TimeOffsets {
		if clock != "monotonic" && clock != "boottime" {
			return fmt.Errorf("time offset of an unknown clock %q: there are monotonic and boottime", clock)
		}
	}
	if r := v.linux.Resources; r != nil && r.CPU != nil && r.CPU.Idle != nil && *r.CPU.Idle != 0 && *r.CPU.Idle != 1 {
		return fmt.Errorf("cpu.idle is 0 or 1, not %d", *r.CPU.Idle)
	}
	return nil
}

func (v *validator) seccomp() error {
	s := v.linux.Seccomp
	switch {
	case s == nil:
		return nil
	case s.DefaultAction == specs.ActNotify:
		return errors.New("SCMP_ACT_NOTIFY cannot be used as default action")
	}
	notify := false
	for _, call := range s.Syscalls {
		if call.Action != specs.ActNotify {
			continue
		}
		notify = true
		// The answer to the start goes out by write(2).
		if slices.Contains(call.Names, "write") {
			return errors.New("SCMP_ACT_NOTIFY cannot be used for the write syscall")
		}
	}
	if notify && s.ListenerPath == "" {
		return errors.New("seccomp listenerPath is not set, and SCMP_ACT_NOTIFY needs it")
	}
	return nil
}
