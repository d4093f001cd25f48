package opts

import (
	"errors"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/pflag"
)

// Update holds the values of the options of update.
type Update struct {
	flags   *pflag.FlagSet
	u       container.UpdateConfig
	memory  bytesValue
	reserve bytesValue
	swap    bytesValue
	cpus    cpusValue
	pids    int64
	restart string
}

// RegisterUpdate declares the options on flags.
func RegisterUpdate(f *pflag.FlagSet) *Update {
	o := &Update{flags: f, swap: bytesValue{unlimited: true}}
	u := &o.u
	f.Uint16Var(&u.BlkioWeight, "blkio-weight", 0, "Block IO (relative weight), between 10 and 1000, or 0 to disable")
	f.Int64Var(&u.CPUPeriod, "cpu-period", 0, "Limit CPU CFS (Completely Fair Scheduler) period")
	f.Int64Var(&u.CPUQuota, "cpu-quota", 0, "Limit CPU CFS (Completely Fair Scheduler) quota")
	f.Int64Var(&u.CPURealtimePeriod, "cpu-rt-period", 0, "Limit the CPU real-time period in microseconds")
	f.Int64Var(&u.CPURealtimeRuntime, "cpu-rt-runtime", 0, "Limit the CPU real-time runtime in microseconds")
	f.StringVar(&u.CpusetCpus, "cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)")
	f.StringVar(&u.CpusetMems, "cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)")
	f.Int64VarP(&u.CPUShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	f.VarP(&o.memory, "memory", "m", "Memory limit")
	f.Var(&o.reserve, "memory-reservation", "Memory soft limit")
	f.Var(&o.swap, "memory-swap", "Swap limit equal to memory plus swap: -1 to enable unlimited swap")
	f.Var(&refusedValue{refusal: refusal{name: "kernel-memory", kind: "bytes", harmless: []string{"0"}}}, "kernel-memory", "Kernel memory limit (deprecated)")
	f.StringVar(&o.restart, "restart", "", "Restart policy to apply when a container exits")
	f.Int64Var(&o.pids, "pids-limit", 0, "Tune container pids limit (set -1 for unlimited)")
	f.Var(&o.cpus, "cpus", "Number of CPUs")
	hide(f, "kernel-memory")
	return o
}

// Build reads what was given.
func (o *Update) Build() (container.UpdateConfig, error) {
	if o.flags.NFlag() == 0 {
		return o.u, errors.New("you must provide one or more flags when using this command")
	}
	if v := o.flags.Lookup("kernel-memory").Value.(*refusedValue); v.asked {
		return o.u, NotSupported("--kernel-memory")
	}
	u := o.u
	if o.restart != "" {
		var err error
		if u.RestartPolicy, err = restartPolicy(o.restart); err != nil {
			return u, err
		}
	}
	u.Memory, u.MemoryReservation, u.MemorySwap, u.NanoCPUs = o.memory.n, o.reserve.n, o.swap.n, int64(o.cpus)
	if o.flags.Changed("pids-limit") {
		u.PidsLimit = &o.pids
	}
	return u, nil
}
