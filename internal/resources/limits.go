package resources

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"berth/internal/cgroup"
	"berth/internal/host"
)

// Limits are what a configuration asks for.
func Limits(hc *container.HostConfig) (cgroup.Limits, error) {
	l := cgroup.Limits{
		Memory: hc.Memory, MemorySwap: hc.MemorySwap, MemoryReservation: hc.MemoryReservation, MemorySwappiness: hc.MemorySwappiness,
		NanoCPUs: hc.NanoCPUs, CPUPeriod: hc.CPUPeriod, CPUQuota: hc.CPUQuota, CPUShares: hc.CPUShares,
		CPURealtimePeriod: hc.CPURealtimePeriod, CPURealtimeRuntime: hc.CPURealtimeRuntime,
		CpusetCpus: hc.CpusetCpus, CpusetMems: hc.CpusetMems, BlkioWeight: hc.BlkioWeight,
	}
	if hc.OomKillDisable != nil {
		l.OOMKillDisable = *hc.OomKillDisable
	}
	if hc.PidsLimit != nil && *hc.PidsLimit > 0 {
		l.PidsLimit = *hc.PidsLimit
	}
	var err error
	for _, d := range hc.BlkioWeightDevice {
		l.BlkioWeightDevice, err = throttle(l.BlkioWeightDevice, d.Path, uint64(d.Weight), err)
	}
	for _, t := range []struct {
		to   *[]cgroup.Throttle
		devs []*blkiodev.ThrottleDevice
	}{
		{&l.ReadBps, hc.BlkioDeviceReadBps}, {&l.WriteBps, hc.BlkioDeviceWriteBps},
		{&l.ReadIOps, hc.BlkioDeviceReadIOps}, {&l.WriteIOps, hc.BlkioDeviceWriteIOps},
	} {
		for _, d := range t.devs {
			*t.to, err = throttle(*t.to, d.Path, d.Rate, err)
		}
	}
	return l, err
}

// throttle adds a limit for a block device, whose number it finds, unless there
// was an error before.
func throttle(to []cgroup.Throttle, path string, rate uint64, err error) ([]cgroup.Throttle, error) {
	if err != nil {
		return to, err
	}
	dev, ok := host.NodeAt(path)
	if !ok || dev.Type != "b" {
		return to, fmt.Errorf("cannot limit device %s: it is not a block device", path)
	}
	return append(to, cgroup.Throttle{Major: uint32(dev.Major), Minor: uint32(dev.Minor), Rate: rate}), nil
}

// Update lays an update over a configuration, by Docker's rules.
func Update(hc *container.HostConfig, u container.UpdateConfig) error {
	if err := updateConflict(hc, u); err != nil {
		return err
	}
	over(&hc.BlkioWeight, u.BlkioWeight)
	over(&hc.CPUShares, u.CPUShares)
	over(&hc.NanoCPUs, u.NanoCPUs)
	over(&hc.CPUPeriod, u.CPUPeriod)
	over(&hc.CPUQuota, u.CPUQuota)
	over(&hc.CPURealtimePeriod, u.CPURealtimePeriod)
	over(&hc.CPURealtimeRuntime, u.CPURealtimeRuntime)
	over(&hc.CpusetCpus, u.CpusetCpus)
	over(&hc.CpusetMems, u.CpusetMems)
	over(&hc.Memory, u.Memory)
	over(&hc.MemorySwap, u.MemorySwap)
	over(&hc.MemoryReservation, u.MemoryReservation)
	over(&hc.PidsLimit, u.PidsLimit)
	if u.RestartPolicy.Name != "" {
		hc.RestartPolicy = u.RestartPolicy
	}
	return nil
}

func over[T comparable](to *T, from T) {
	var zero T
	if from != zero {
		*to = from
	}
}

// updateConflict finds what an update cannot change beside what is set.
func updateConflict(hc *container.HostConfig, u container.UpdateConfig) error {
	switch {
	case u.NanoCPUs > 0 && hc.CPUPeriod > 0:
		return errors.New("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
	case u.NanoCPUs > 0 && hc.CPUQuota > 0:
		return errors.New("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
	case u.CPUPeriod > 0 && hc.NanoCPUs > 0:
		return errors.New("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
	case u.CPUQuota > 0 && hc.NanoCPUs > 0:
		return errors.New("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
	case u.Memory > 0 && u.MemorySwap == 0 && hc.MemorySwap > 0 && u.Memory > hc.MemorySwap:
		return errors.New("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	case u.RestartPolicy.Name != "" && hc.AutoRemove && !u.RestartPolicy.IsNone():
		return errors.New("Restart policy cannot be updated because AutoRemove is enabled for the container")
	}
	return nil
}

// Changed are those limits of the new configuration that differ from the old,
// with what has to be written together with them.
func Changed(hc *container.HostConfig, u container.UpdateConfig) (cgroup.Limits, error) {
	all, err := Limits(hc)
	var l cgroup.Limits
	if u.Memory != 0 || u.MemorySwap != 0 {
		l.Memory, l.MemorySwap = all.Memory, all.MemorySwap
	}
	if u.MemoryReservation != 0 {
		l.MemoryReservation = all.MemoryReservation
	}
	if u.NanoCPUs != 0 || u.CPUPeriod != 0 || u.CPUQuota != 0 {
		l.NanoCPUs, l.CPUPeriod, l.CPUQuota = all.NanoCPUs, all.CPUPeriod, all.CPUQuota
	}
	if u.CPUShares != 0 {
		l.CPUShares = all.CPUShares
	}
	l.CPURealtimePeriod, l.CPURealtimeRuntime = u.CPURealtimePeriod, u.CPURealtimeRuntime
	l.CpusetCpus, l.CpusetMems, l.BlkioWeight = u.CpusetCpus, u.CpusetMems, u.BlkioWeight
	if u.PidsLimit != nil {
		if l.PidsLimit = *u.PidsLimit; l.PidsLimit <= 0 {
			l.PidsLimit = -1
		}
	}
	return l, err
}

// OOMScore warns of a score that cannot be had. What an account may set is not
// for everybody to read, but to try: the calling process gets the score and its
// own back (proc_pid_oom_score_adj(5)).
func OOMScore(hc *container.HostConfig) []string {
	const file = "/proc/self/oom_score_adj"
	own, err := os.ReadFile(file)
	if err != nil || hc.OomScoreAdj == 0 {
		return nil
	}
	if now, err := strconv.Atoi(strings.TrimSpace(string(own))); err != nil || hc.OomScoreAdj >= now {
		return nil // a higher one is everybody's
	}
	if try(file, strconv.Itoa(hc.OomScoreAdj)) == nil {
		_ = try(file, string(own))
		return nil
	}
	return []string{"--oom-score-adj has no effect: a score below the caller's own (" + strings.TrimSpace(string(own)) + ") takes CAP_SYS_RESOURCE, which only root has"}
}

// try writes to a file of the kernel's.
func try(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}
