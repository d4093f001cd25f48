package spec

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

const (
	minMemory     = 6 << 20
	maxHostname   = 64 // bytes, the kernel's limit
	maxCpusetItem = 8191
)

// Validate checks a request before anything is made for it. The messages are
// Docker's, so that people and scripts find what they know.
func Validate(cfg *container.Config, hc *container.HostConfig) error {
	if cfg != nil {
		if err := validateConfig(cfg); err != nil {
			return err
		}
	}
	if hc == nil {
		return nil
	}
	for _, check := range []func(*container.HostConfig) error{
		validateModes,
		validatePolicy,
		validateSecurity,
		validateResources,
		validateDevices,
		validateTmpfs,
	} {
		if err := check(hc); err != nil {
			return err
		}
	}
	if cfg == nil {
		return nil
	}
	return validateConflicts(cfg, hc)
}

func validateConfig(cfg *container.Config) error {
	if _, err := workingDir(cfg.WorkingDir); err != nil {
		return err
	}
	if len(cfg.Hostname) > maxHostname {
		return fmt.Errorf("hostname %q is too long (maximum %d bytes)", cfg.Hostname, maxHostname)
	}
	for _, kv := range cfg.Env {
		if name, _, _ := strings.Cut(kv, "="); name == "" {
			return fmt.Errorf("invalid environment variable: %s", kv)
		}
		if strings.IndexByte(kv, 0) >= 0 {
			return fmt.Errorf("invalid environment variable: %q contains a zero byte", kv)
		}
	}
	return validateHealth(cfg.Healthcheck)
}

func validateHealth(h *container.HealthConfig) error {
	if h == nil {
		return nil
	}
	for _, d := range []struct {
		name  string
		short bool
	}{
		{"Interval", h.Interval != 0 && h.Interval < container.MinimumDuration},
		{"Timeout", h.Timeout != 0 && h.Timeout < container.MinimumDuration},
		{"StartPeriod", h.StartPeriod != 0 && h.StartPeriod < container.MinimumDuration},
		{"StartInterval", h.StartInterval != 0 && h.StartInterval < container.MinimumDuration},
	} {
		if d.short {
			return fmt.Errorf("%s in Healthcheck cannot be less than %s", d.name, container.MinimumDuration)
		}
	}
	if h.Retries < 0 {
		return errors.New("Retries in Healthcheck cannot be negative")
	}
	return nil
}

func validatePolicy(hc *container.HostConfig) error {
	if hc.AutoRemove && !hc.RestartPolicy.IsNone() {
		return errors.New("can't create 'AutoRemove' container with restart policy")
	}
	if !hc.Isolation.IsDefault() {
		return fmt.Errorf("invalid isolation '%s' on linux", hc.Isolation)
	}
	return container.ValidateRestartPolicy(hc.RestartPolicy)
}

func validateSecurity(hc *container.HostConfig) error {
	if _, err := SeccompProfile(hc, Host{}); err != nil {
		return err
	}
	// Whether the kernel has a capability is seen when the container starts.
	if _, err := normalizeCaps(hc.CapAdd); err != nil {
		return fmt.Errorf("invalid CapAdd: %w", err)
	}
	if _, err := normalizeCaps(hc.CapDrop); err != nil {
		return fmt.Errorf("invalid CapDrop: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(hc.Sysctls)) {
		if _, err := checkSysctl(key, hc.Sysctls[key]); err != nil {
			return err
		}
	}
	if hc.OomScoreAdj < -1000 || hc.OomScoreAdj > 1000 {
		return fmt.Errorf("Invalid value %d, range for oom score adj is [-1000, 1000]", hc.OomScoreAdj)
	}
	for _, u := range hc.Ulimits {
		if err := checkUlimit(u); err != nil {
			return err
		}
	}
	return nil
}

func checkUlimit(u *container.Ulimit) error {
	if u == nil {
		return errors.New("invalid ulimit argument: nothing")
	}
	switch u.Name {
	case "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice",
		"nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack":
	default:
		return fmt.Errorf("invalid ulimit type: %s", u.Name)
	}
	if u.Soft < -1 || u.Hard < -1 {
		return fmt.Errorf("invalid ulimit argument: %s", u)
	}
	if u.Hard == -1 {
		return nil
	}
	if u.Soft == -1 {
		return fmt.Errorf("ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: %d", u.Hard)
	}
	if u.Soft > u.Hard {
		return fmt.Errorf("ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard)
	}
	return nil
}

func validateResources(hc *container.HostConfig) error {
	r := hc.Resources
	if err := validateMemory(r); err != nil {
		return err
	}
	if hc.ShmSize < 0 {
		return errors.New("SHM size can not be less than 0")
	}
	if r.BlkioWeight > 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000) {
		return errors.New("Range of blkio weight is from 10 to 1000")
	}
	return validateCPU(r)
}

func validateMemory(r container.Resources) error {
	switch swap := r.MemorySwappiness; {
	case r.Memory != 0 && r.Memory < minMemory:
		return errors.New("Minimum memory limit allowed is 6MB")
	case r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return errors.New("Minimum memoryswap limit should be larger than memory limit, see usage")
	case r.Memory == 0 && r.MemorySwap > 0:
		return errors.New("You should always set the Memory limit when using Memoryswap limit, see usage")
	case swap != nil && (*swap < -1 || *swap > 100):
		return fmt.Errorf("Invalid value: %v, valid memory swappiness range is 0-100", *swap)
	case r.MemoryReservation > 0 && r.MemoryReservation < minMemory:
		return errors.New("Minimum memory reservation allowed is 6MB")
	case r.Memory > 0 && r.MemoryReservation > 0 && r.Memory < r.MemoryReservation:
		return errors.New("Minimum memory limit can not be less than memory reservation limit, see usage")
	}
	return nil
}

func validateCPU(r container.Resources) error {
	n := runtime.NumCPU()
	switch {
	case r.NanoCPUs > 0 && r.CPUPeriod > 0:
		return errors.New("Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota > 0:
		return errors.New("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(n)*1e9:
		return fmt.Errorf("range of CPUs is from 0.01 to %[1]d.00, as there are only %[1]d CPUs available", n)
	case r.CPUShares < 0:
		return fmt.Errorf("invalid CPU shares (%d): value must be a positive integer", r.CPUShares)
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1000000):
		return errors.New("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPUQuota > 0 && r.CPUQuota < 1000:
		return errors.New("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	}
	if _, err := parseCpuset(r.CpusetCpus); err != nil {
		return fmt.Errorf("Invalid value %s for cpuset cpus: %w", r.CpusetCpus, err)
	}
	if _, err := parseCpuset(r.CpusetMems); err != nil {
		return fmt.Errorf("Invalid value %s for cpuset mems: %w", r.CpusetMems, err)
	}
	return nil
}

// parseCpuset reads a list such as "0-3,7" into a set.
func parseCpuset(s string) (map[int]bool, error) {
	set := make(map[int]bool)
	if s == "" {
		return set, nil
	}
	for item := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(item, "-")
		lo, err := strconv.ParseUint(from, 10, 32)
		hi := lo
		if err == nil && isRange {
			hi, err = strconv.ParseUint(to, 10, 32)
		}
		if err != nil || hi < lo {
			return nil, fmt.Errorf("invalid format: %s", s)
		}
		if hi > maxCpusetItem {
			return nil, fmt.Errorf("value out of range, maximum is %d", maxCpusetItem)
		}
		for n := lo; n <= hi; n++ {
			set[int(n)] = true
		}
	}
	return set, nil
}

// checkAvailable refuses processors or memory nodes that do not exist.
func checkAvailable(what, option, asked, available string) error {
	want, err := parseCpuset(asked)
	if err != nil {
		return fmt.Errorf("Invalid value %s for %s: %w", asked, option, err)
	}
	if len(want) == 0 || available == "" {
		return nil
	}
	have, err := parseCpuset(available)
	if err != nil {
		return fmt.Errorf("cannot tell the machine's %s: %w", what, err)
	}
	for n := range want {
		if !have[n] {
			return fmt.Errorf("Requested %s are not available - requested %s, available: %s", what, asked, available)
		}
	}
	return nil
}

func validateDevices(hc *container.HostConfig) error {
	for _, d := range hc.Devices {
		if d.PathOnHost == "" {
			return errors.New("invalid device: no path on the host")
		}
		if d.PathInContainer != "" && !strings.HasPrefix(d.PathInContainer, "/") {
			return fmt.Errorf("%s is not an absolute path", d.PathInContainer)
		}
		if d.CgroupPermissions != "" && !validAccess(d.CgroupPermissions) {
			return fmt.Errorf("invalid device mode: %s", d.CgroupPermissions)
		}
	}
	for _, rule := range hc.DeviceCgroupRules {
		if _, err := parseDeviceRule(rule); err != nil {
			return err
		}
	}
	return nil
}

func validateTmpfs(hc *container.HostConfig) error {
	for dest, options := range hc.Tmpfs {
		if _, err := checkDestination(dest); err != nil {
			return err
		}
		for o := range strings.SplitSeq(options, ",") {
			if o != "" && o != "defaults" && tmpfsOptionKind(o) == "" {
				return fmt.Errorf("invalid tmpfs option %q", o)
			}
		}
	}
	return nil
}

// validateConflicts refuses options that exclude each other.
func validateConflicts(cfg *container.Config, hc *container.HostConfig) error {
	if net := hc.NetworkMode; net.IsContainer() {
		const and = " and the network mode"
		switch {
		case cfg.Hostname != "":
			return errors.New("conflicting options: hostname" + and)
		case len(hc.Links) > 0:
			return errors.New("conflicting options: container type network can't be used with links. This would result in undefined behavior")
		case len(hc.DNS) > 0:
			return errors.New("conflicting options: dns" + and)
		case len(hc.ExtraHosts) > 0:
			return errors.New("conflicting options: custom host-to-IP mapping" + and)
		case len(hc.PortBindings) > 0 || hc.PublishAllPorts:
			return errors.New("conflicting options: port publishing and the container type network mode")
		case len(cfg.ExposedPorts) > 0:
			return errors.New("conflicting options: port exposing and the container type network mode")
		}
	}
	if hc.UTSMode.IsHost() && cfg.Hostname != "" {
		return errors.New("conflicting options: hostname and the UTS mode")
	}
	if hc.NetworkMode.IsHost() && len(hc.Links) > 0 {
		return errors.New("conflicting options: host type networking can't be used with links. This would result in undefined behavior")
	}
	return nil
}
