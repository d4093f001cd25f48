package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/internal/systemd"
)

func updateVerb() *verb {
	var (
		file, l3, bandwidth string
		r                   specs.LinuxResources
	)
	r.Memory, r.CPU, r.Pids, r.BlockIO = &specs.LinuxMemory{}, &specs.LinuxCPU{}, &specs.LinuxPids{}, &specs.LinuxBlockIO{}
	v := &verb{name: "update", words: "<container-id>", min: 1, max: 1, help: "change a container's limits"}
	o := &v.options
	o.text(&file, "resources,r", "FILE", "read them from a file as linux.resources of config.json; '-' is standard input")
	o.add("blkio-weight", "N", "weight for block devices, 10 to 1000", numeric(&r.BlockIO.Weight, 16))
	o.add("cpu-period", "MICROSECONDS", "period in which the quota counts", numeric(&r.CPU.Period, 64))
	o.add("cpu-quota", "MICROSECONDS", "processor time in a period", signed(&r.CPU.Quota))
	o.add("cpu-burst", "MICROSECONDS", "unused quota that may be used later", numeric(&r.CPU.Burst, 64))
	o.add("cpu-share", "N", "weight against other containers", numeric(&r.CPU.Shares, 64))
	o.add("cpu-rt-period", "MICROSECONDS", "period in which the realtime budget counts", numeric(&r.CPU.RealtimePeriod, 64))
	o.add("cpu-rt-runtime", "MICROSECONDS", "realtime budget in a period", signed(&r.CPU.RealtimeRuntime))
	o.text(&r.CPU.Cpus, "cpuset-cpus", "LIST", "processors to use")
	o.text(&r.CPU.Mems, "cpuset-mems", "LIST", "memory nodes to use")
	o.add("cpu-idle", "0|1", "only processor time that nobody else wants", signed(&r.CPU.Idle))
	o.add("memory", "BYTES", "memory; -1 lifts the limit", signed(&r.Memory.Limit))
	o.add("memory-reservation", "BYTES", "memory that is left alone when it is short", signed(&r.Memory.Reservation))
	o.add("memory-swap", "BYTES", "memory and swap together; -1 lifts the limit", signed(&r.Memory.Swap))
	o.add("kernel-memory", "BYTES", "accepted; Linux has given this limit up", signed(&r.Memory.Kernel))
	o.add("kernel-memory-tcp", "BYTES", "buffers of TCP", signed(&r.Memory.KernelTCP))
	o.add("pids-limit", "N", "processes and threads; -1 lifts the limit", signed(&r.Pids.Limit))
	o.text(&l3, "l3-cache-schema", "SCHEMA", "share of the L3 cache (Intel RDT)")
	o.text(&bandwidth, "mem-bw-schema", "SCHEMA", "share of the memory's bandwidth (Intel RDT)")
	v.run = func(a *app, words []string) error {
		if file != "" {
			var err error
			if r, err = readResources(a.Stdin, file); err != nil {
				return err
			}
		}
		return a.update(words[0], &r, l3, bandwidth)
	}
	return v
}

// numeric reads a number for a field of some width.
func numeric[T uint16 | uint64](to **T, bits int) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseUint(s, 10, bits)
		v := T(n)
		*to = &v
		return err
	}
}

func signed(to **int64) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		*to = &n
		return err
	}
}

// maxResources bounds the size of a list of limits.
const maxResources = 1 << 20

func readResources(stdin *os.File, file string) (r specs.LinuxResources, err error) {
	f := stdin
	if file != "-" {
		if f, err = os.Open(file); err != nil {
			return r, err
		}
		defer f.Close()
	}
	if err := json.NewDecoder(io.LimitReader(f, maxResources)).Decode(&r); err != nil {
		return r, fmt.Errorf("cannot read the resources: %w", err)
	}
	return r, nil
}

func (a *app) update(id string, r *specs.LinuxResources, l3, bandwidth string) error {
	c, tx, err := a.hold(id)
	if err != nil {
		return err
	}
	defer tx.Unlock()
	if c.status() == specs.StateStopped {
		return errNotRunning
	}
	limits, err := limitsOf(r)
	if err != nil {
		return err
	}
	if len(r.Devices) == 0 {
		limits.Devices = nil // they stay as they are
	}
	if l3 != "" || bandwidth != "" {
		if c.Rdt == "" {
			return errors.New("Intel RDT: the container has no group of its own")
		}
		for _, line := range []string{l3, bandwidth} {
			if line == "" {
				continue
			}
			if err := writeSchemata(c.Rdt, []string{line}); err != nil {
				return err
			}
		}
	}
	if c.Group == nil {
		return errors.New("cannot update: the container has no control group")
	}
	facts, err := a.facts()
	if err != nil {
		return err
	}
	if c.Unit != "" {
		if err := systemd.Update(c.Unit, limits, facts); err != nil {
			return err
		}
	}
	warnings, err := c.Group.Update(limits, facts)
	for _, w := range warnings {
		a.log.warningf("%s", w)
	}
	if err != nil {
		return err
	}
	return c.save()
}
