package opts

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Request is what the options ask for.
type Request struct {
	Config     *container.Config
	HostConfig *container.HostConfig
	Networks   map[string]*network.EndpointSettings // places in networks, by their names
	Warnings   []string
}

// Build turns the options, the image and the command into a request.
func (c *Container) Build(image string, cmd []string) (*Request, error) {
	if err := c.checkRefused(); err != nil {
		return nil, err
	}
	cfg := &container.Config{Image: image}
	hc := &container.HostConfig{}
	r := &Request{Config: cfg, HostConfig: hc}
	if len(cmd) > 0 {
		cfg.Cmd = cmd
	}
	steps := []func() error{
		func() error { return c.buildProcess(cfg, hc) },
		func() error { c.buildStreams(cfg); return nil },
		func() error { return c.buildSecurity(hc) },
		func() error { return c.buildModes(hc) },
		func() error { return c.buildMounts(cfg, hc) },
		func() error { return c.buildDevices(hc) },
		func() error { return c.buildNetwork(r) },
		func() error { return c.buildLimits(hc) },
		func() error { return c.buildLife(cfg, hc) },
		func() error { return c.buildHealth(cfg) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (c *Container) buildProcess(cfg *container.Config, hc *container.HostConfig) error {
	var err error
	if cfg.Env, err = Environment(c.envFiles.values, c.env.values, c.lookup); err != nil {
		return err
	}
	if cfg.Labels, err = labels(c.labelFiles.values, c.labels.values); err != nil {
		return err
	}
	if c.flags.Changed("entrypoint") {
		// An empty word takes the image's entry point away.
		cfg.Entrypoint = []string{c.entrypoint}
	}
	if len(c.annotations.values) > 0 {
		hc.Annotations = toMap(c.annotations.values)
	}
	cfg.User, cfg.WorkingDir = c.user, c.workdir
	cfg.Hostname, cfg.Domainname = c.hostname, c.domainname
	hc.GroupAdd = c.groups.values
	if c.flags.Changed("init") {
		hc.Init = &c.init
	}
	return nil
}

// buildStreams connects all streams unless some were chosen.
func (c *Container) buildStreams(cfg *container.Config) {
	chosen := c.attach.values
	cfg.Tty, cfg.OpenStdin = c.tty, c.stdin
	cfg.AttachStdin = slices.Contains(chosen, "stdin") || c.stdin
	cfg.AttachStdout = len(chosen) == 0 || slices.Contains(chosen, "stdout")
	cfg.AttachStderr = len(chosen) == 0 || slices.Contains(chosen, "stderr")
	cfg.StdinOnce = cfg.OpenStdin && cfg.AttachStdin
}

func (c *Container) buildModes(hc *container.HostConfig) error {
	hc.IpcMode = container.IpcMode(c.ipc)
	hc.PidMode = container.PidMode(c.pid)
	hc.UTSMode = container.UTSMode(c.uts)
	hc.CgroupnsMode = container.CgroupnsMode(c.cgroupns)
	hc.UsernsMode = container.UsernsMode(c.userns)
	switch {
	case !hc.PidMode.Valid():
		return errors.New("--pid: invalid PID mode")
	case !hc.UTSMode.Valid():
		return errors.New("--uts: invalid UTS mode")
	case !hc.CgroupnsMode.Valid():
		return errors.New("--cgroupns: invalid CGROUP mode")
	case !hc.UsernsMode.Valid() && !ownUserns(c.userns):
		return fmt.Errorf("--userns: invalid USER mode: %q is none of auto, host, single and keep-id[:uid=N,gid=N]", c.userns)
	}
	hc.ShmSize = c.shmSize.n
	return nil
}

// ownUserns reports whether a mode is one that Docker does not have; what it
// means, options and all, is the engine's to tell.
func ownUserns(mode string) bool {
	name, _, _ := strings.Cut(mode, ":")
	return slices.Contains([]string{"auto", "single", "keep-id", "nomap"}, name)
}

func (c *Container) buildMounts(cfg *container.Config, hc *container.HostConfig) error {
	cfg.Volumes = map[string]struct{}{}
	for _, spec := range c.volumes.values {
		v, err := parseVolume(spec)
		if err != nil {
			return err
		}
		if v.source == "" {
			cfg.Volumes[v.target] = struct{}{}
		} else {
			hc.Binds = append(hc.Binds, v.bind())
		}
	}
	for _, spec := range c.tmpfs.values {
		target, options, _ := strings.Cut(spec, ":")
		if !strings.HasPrefix(target, "/") {
			return fmt.Errorf("invalid mount path: '%s' mount path must be absolute", target)
		}
		if hc.Tmpfs == nil {
			hc.Tmpfs = map[string]string{}
		}
		hc.Tmpfs[target] = options
	}
	hc.Mounts = c.mounts.mounts
	hc.VolumesFrom = c.volumesFrom.values
	return nil
}

func (c *Container) buildDevices(hc *container.HostConfig) error {
	for _, spec := range c.devices.values {
		if isCDI(spec) {
			return NotSupported("--device " + spec + " (a CDI device)")
		}
		d, err := parseDevice(spec)
		if err != nil {
			return err
		}
		hc.Devices = append(hc.Devices, d)
	}
	hc.DeviceCgroupRules = c.deviceRules.values
	return nil
}

func (c *Container) buildNetwork(r *Request) error {
	var err error
	hc := r.HostConfig
	if hc.NetworkMode, r.Networks, err = c.endpoints(); err != nil {
		return err
	}
	hc.Links = c.links.values
	if r.Config.ExposedPorts, hc.PortBindings, err = ports(c.publish.values, c.expose.values); err != nil {
		return err
	}
	hc.PublishAllPorts = c.publishAll
	r.Warnings = openWide(hc)
	for _, s := range c.dns.values {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return err
		}
		hc.DNS = append(hc.DNS, a)
	}
	hc.DNSSearch, hc.DNSOptions = c.dnsSearch.values, c.dnsOptions.values
	hc.ExtraHosts = c.extraHosts.values
	return nil
}

func (c *Container) buildLimits(hc *container.HostConfig) error {
	if s := c.swappiness; s < -1 || s > 100 {
		return fmt.Errorf("invalid value: %d. Valid memory swappiness range is 0-100", s)
	}
	hc.Memory, hc.MemoryReservation, hc.MemorySwap = c.memory.n, c.reservation.n, c.swap.n
	if c.swappiness >= 0 {
		hc.MemorySwappiness = &c.swappiness
	}
	hc.NanoCPUs, hc.CPUShares = int64(c.cpus), c.cpuShares
	hc.CPUPeriod, hc.CPUQuota = c.cpuPeriod, c.cpuQuota
	hc.CpusetCpus, hc.CpusetMems = c.cpuset, c.memset
	if c.flags.Changed("pids-limit") {
		hc.PidsLimit = &c.pidsLimit
	}
	hc.CPURealtimePeriod, hc.CPURealtimeRuntime = c.cpuRtPeriod, c.cpuRtRuntime
	hc.BlkioWeight, hc.BlkioWeightDevice = c.blkioWeight, c.blkioWeights
	hc.BlkioDeviceReadBps, hc.BlkioDeviceWriteBps = c.readBps.devs, c.writeBps.devs
	hc.BlkioDeviceReadIOps, hc.BlkioDeviceWriteIOps = c.readIOps.devs, c.writeIOps.devs
	hc.CgroupParent = c.cgroupParent
	hc.OomScoreAdj = c.oomScoreAdj
	if c.oomKillDisable {
		hc.OomKillDisable = &c.oomKillDisable
	}
	hc.Ulimits = c.ulimits.limits
	return nil
}

func (c *Container) buildLife(cfg *container.Config, hc *container.HostConfig) error {
	policy, err := restartPolicy(c.restart)
	if err != nil {
		return err
	}
	if c.autoRemove && !policy.IsNone() {
		return errors.New("conflicting options: cannot specify both --restart and --rm")
	}
	hc.RestartPolicy, hc.AutoRemove = policy, c.autoRemove
	cfg.StopSignal = c.stopSignal
	if c.flags.Changed("stop-timeout") {
		cfg.StopTimeout = &c.stopTimeout
	}
	if c.logDriver == "none" && len(c.logOpts.values) > 0 {
		return errors.New("invalid logging opts for driver none")
	}
	hc.LogConfig = container.LogConfig{Type: c.logDriver, Config: toMap(c.logOpts.values)}
	return c.buildRuntime(hc)
}

// buildRuntime leaves it to the engine to find the runtime of that name.
func (c *Container) buildRuntime(hc *container.HostConfig) error {
	if c.runtime == "nvidia" {
		return NotSupported("--runtime nvidia")
	}
	hc.Runtime = c.runtime
	return nil
}

func (c *Container) buildHealth(cfg *container.Config) error {
	h := c.health
	for _, d := range []struct {
		name     string
		negative bool
	}{
		{"interval", h.Interval < 0}, {"timeout", h.Timeout < 0}, {"retries", h.Retries < 0},
		{"start-period", h.StartPeriod < 0}, {"start-interval", h.StartInterval < 0},
	} {
		if d.negative {
			return fmt.Errorf("--health-%s cannot be negative", d.name)
		}
	}
	asked := c.healthCmd != "" || h.Interval != 0 || h.Timeout != 0 || h.Retries != 0 || h.StartPeriod != 0 || h.StartInterval != 0
	if c.noHealthcheck {
		if asked {
			return errors.New("--no-healthcheck conflicts with --health-* options")
		}
		cfg.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
		return nil
	}
	if asked {
		if c.healthCmd != "" {
			h.Test = []string{"CMD-SHELL", c.healthCmd}
		}
		cfg.Healthcheck = &h
	}
	return nil
}

// restartPolicy reads NAME or NAME:RETRIES.
func restartPolicy(s string) (container.RestartPolicy, error) {
	name, count, hasCount := strings.Cut(s, ":")
	p := container.RestartPolicy{Name: container.RestartPolicyMode(name)}
	if hasCount && name == "" {
		return p, errors.New("invalid restart policy format: no policy provided before colon")
	}
	if hasCount && count != "" {
		n, err := strconv.Atoi(count)
		if err != nil {
			return p, errors.New("invalid restart policy format: maximum retry count must be an integer")
		}
		p.MaximumRetryCount = n
	}
	return p, container.ValidateRestartPolicy(p)
}
