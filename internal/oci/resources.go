package oci

import (
	"fmt"
	"os"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/internal/cgroup"
	"berth/internal/systemd"
)

// limitsOf translates the resources of a configuration. What it does not
// mention stays as it is.
func limitsOf(r *specs.LinuxResources) (cgroup.Limits, error) {
	var l cgroup.Limits
	l.PlainSwap = true
	if r == nil {
		return l, nil
	}
	memoryLimits(&l, r.Memory)
	cpuLimits(&l, r.CPU)
	if r.Pids != nil && r.Pids.Limit != nil {
		l.PidsLimit = max(*r.Pids.Limit, -1)
	}
	blockLimits(&l, r.BlockIO)
	for _, h := range r.HugepageLimits {
		l.Hugepages = append(l.Hugepages, cgroup.Hugepage{Size: h.Pagesize, Limit: h.Limit})
	}
	if n := r.Network; n != nil {
		l.NetClass = n.ClassID
		for _, p := range n.Priorities {
			l.NetPriorities = append(l.NetPriorities, cgroup.NetPriority{Name: p.Name, Priority: p.Priority})
		}
	}
	for name, x := range r.Rdma {
		if l.RDMA == nil {
			l.RDMA = map[string]cgroup.RDMA{}
		}
		l.RDMA[name] = cgroup.RDMA{Handles: x.HcaHandles, Objects: x.HcaObjects}
	}
	l.Unified = r.Unified
	if err := l.Rare.Check(); err != nil {
		return l, err
	}
	var err error
	l.Devices, err = deviceRules(r.Devices)
	return l, err
}

func memoryLimits(l *cgroup.Limits, m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	l.Memory, l.MemorySwap, l.MemoryReservation = value(m.Limit), value(m.Swap), value(m.Reservation)
	l.Kernel, l.KernelTCP = value(m.Kernel), value(m.KernelTCP)
	if m.Swappiness != nil {
		n := int64(*m.Swappiness)
		l.MemorySwappiness = &n
	}
	l.OOMKillDisable, l.CheckBeforeUpdate = value(m.DisableOOMKiller), value(m.CheckBeforeUpdate)
}

func cpuLimits(l *cgroup.Limits, c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	l.CPUShares, l.CPUQuota, l.CPUPeriod = int64(value(c.Shares)), value(c.Quota), int64(value(c.Period))
	l.CPURealtimeRuntime, l.CPURealtimePeriod = value(c.RealtimeRuntime), int64(value(c.RealtimePeriod))
	l.CpusetCpus, l.CpusetMems, l.CPUIdle, l.CPUBurst = c.Cpus, c.Mems, c.Idle, c.Burst
}

func blockLimits(l *cgroup.Limits, b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	l.BlkioWeight, l.BlkioLeafWeight = value(b.Weight), value(b.LeafWeight)
	for _, d := range b.WeightDevice {
		at := cgroup.Throttle{Major: uint32(d.Major), Minor: uint32(d.Minor)}
		if d.Weight != nil {
			at.Rate = uint64(*d.Weight)
			l.BlkioWeightDevice = append(l.BlkioWeightDevice, at)
		}
		if d.LeafWeight != nil {
			at.Rate = uint64(*d.LeafWeight)
			l.BlkioLeafWeightDevice = append(l.BlkioLeafWeightDevice, at)
		}
	}
	rates := func(devs []specs.LinuxThrottleDevice) (out []cgroup.Throttle) {
		for _, d := range devs {
			out = append(out, cgroup.Throttle{Major: uint32(d.Major), Minor: uint32(d.Minor), Rate: d.Rate})
		}
		return out
	}
	l.ReadBps, l.WriteBps = rates(b.ThrottleReadBpsDevice), rates(b.ThrottleWriteBpsDevice)
	l.ReadIOps, l.WriteIOps = rates(b.ThrottleReadIOPSDevice), rates(b.ThrottleWriteIOPSDevice)
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// deviceRules are those of the configuration, and after them the devices that
// every container has (runtime-spec, config-linux.md, "Default Devices") with
// the right to make nodes, which is no right to open them.
func deviceRules(rules []specs.LinuxDeviceCgroup) ([]cgroup.Device, error) {
	out := []cgroup.Device{{Allow: false, Type: 'a', Major: -1, Minor: -1, Access: "rwm"}}
	for i, r := range rules {
		d := cgroup.Device{Allow: r.Allow, Type: 'a', Major: -1, Minor: -1, Access: r.Access}
		switch r.Type {
		case "", "a":
		case "c", "b":
			d.Type = r.Type[0]
		default:
			return nil, fmt.Errorf("device rule %d: invalid type %q", i, r.Type)
		}
		if strings.Trim(r.Access, "rwm") != "" {
			return nil, fmt.Errorf("device rule %d: invalid access %q", i, r.Access)
		}
		if r.Access == "" {
			d.Access = "rwm"
		}
		if r.Major != nil {
			d.Major = *r.Major
		}
		if r.Minor != nil {
			d.Minor = *r.Minor
		}
		out = append(out, d)
	}
	allow := func(kind byte, major, minor int64, access string) {
		out = append(out, cgroup.Device{Allow: true, Type: kind, Major: major, Minor: minor, Access: access})
	}
	allow('c', -1, -1, "m")
	allow('b', -1, -1, "m")
	for _, minor := range []int64{3, 5, 7, 8, 9} { // null, zero, full, random, urandom
		allow('c', 1, minor, "rwm")
	}
	allow('c', 5, 0, "rwm")    // tty
	allow('c', 5, 2, "rwm")    // ptmx
	allow('c', 136, -1, "rwm") // pts
	return out, nil
}

// prepareGroup makes the container's control group and writes its limits. What
// it returns is called when the container's process is in there.
func (a *app) prepareGroup(c *container, s *specs.Spec) (release func(), err error) {
	release = func() {}
	facts, err := a.facts()
	if err != nil {
		return release, err
	}
	var l cgroup.Limits
	if s.Linux != nil && s.Linux.Resources != nil {
		l, err = limitsOf(s.Linux.Resources)
	} else {
		l, err = limitsOf(&specs.LinuxResources{})
	}
	if err != nil {
		return release, err
	}
	if facts.UID != 0 || nested() {
		l.Devices = nil // an account cannot make nodes, and nobody lets it guard them
	}
	var warnings []string
	if a.systemd {
		var slice, prefix, name string
		if slice, prefix, name, err = systemdPath(cgroupsPath(s, ""), c.ID); err != nil {
			return release, err
		}
		var scope *systemd.Scope
		if scope, warnings, err = systemd.Prepare(slice, prefix, name, l, facts); err == nil {
			c.Group, c.Unit, release = scope.Group, scope.Unit, scope.Release
			err = c.enterTree()
		}
	} else {
		c.Group, warnings, err = cgroup.PrepareAt(cgroupsPath(s, c.ID), l, facts)
	}
	for _, w := range warnings {
		a.log.warningf("%s", w)
	}
	return release, err
}

// enterTree moves this command to where what it forks can join the group, when
// systemd has made that for an account which is logged in.
func (c *container) enterTree() error {
	if c.Group == nil || len(c.Group.Dirs) == 0 {
		return nil // nothing to join
	}
	if err := systemd.Enter(); err != nil {
		return fmt.Errorf("nothing can be started in the scope %s from here: %w", c.Unit, err)
	}
	return nil
}

// facts looks at the machine. An account that is not root has what it was
// given, and cannot be refused everything else.
func (a *app) facts() (cgroup.Facts, error) {
	f, err := cgroup.Detect()
	f.Strict = a.rootless == "false" || a.rootless == "auto" && os.Geteuid() == 0 && !nested()
	return f, err
}

func cgroupsPath(s *specs.Spec, id string) string {
	if s.Linux == nil || s.Linux.CgroupsPath == "" {
		return id
	}
	return s.Linux.CgroupsPath
}

// systemdPath takes apart SLICE:PREFIX:NAME.
func systemdPath(p, id string) (slice, prefix, name string, err error) {
	if p == "" {
		slice = "system.slice"
		if os.Geteuid() != 0 {
			slice = "user.slice"
		}
		return slice, "berth", id, nil
	}
	parts := strings.Split(p, ":")
	if len(parts) != 3 {
		return "", "", "", fmt.Errorf("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got %q instead", p)
	}
	return parts[0], parts[1], parts[2], nil
}

// removeGroup removes the control group, and kills what is in it.
func (a *app) removeGroup(c *container, s *specs.Spec) error {
	if c.Group != nil {
		return c.Group.Remove()
	}
	if a.systemd || c.Ready {
		return nil
	}
	// The maker was killed before it could note which group it made. Such a
	// group is empty: one with processes is somebody else's.
	facts, err := a.facts()
	if err != nil {
		return err
	}
	facts.Strict = false
	if g, _, err := cgroup.PrepareAt(cgroupsPath(s, c.ID), cgroup.Limits{}, facts); err == nil {
		return g.Remove()
	}
	return nil
}
