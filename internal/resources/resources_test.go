package resources

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"berth/internal/cgroup"
)

func TestUpdateLeavesTheRest(t *testing.T) {
	pids := int64(7)
	hc := container.HostConfig{Resources: container.Resources{Memory: 1 << 30, CPUShares: 5, CpusetCpus: "0"}}
	err := Update(&hc, container.UpdateConfig{Resources: container.Resources{CPUShares: 9, PidsLimit: &pids}})
	if err != nil {
		t.Fatal(err)
	}
	if hc.Memory != 1<<30 || hc.CPUShares != 9 || hc.CpusetCpus != "0" || hc.PidsLimit != &pids {
		t.Errorf("%+v", hc.Resources)
	}
}

func TestUpdateConflicts(t *testing.T) {
	update := func(r container.Resources) container.UpdateConfig { return container.UpdateConfig{Resources: r} }
	for _, c := range []struct {
		has  container.HostConfig
		asks container.UpdateConfig
		want string
	}{
		{container.HostConfig{Resources: container.Resources{CPUPeriod: 5000}}, update(container.Resources{NanoCPUs: 1e9}), "Nano CPUs cannot be updated as CPU Period"},
		{container.HostConfig{Resources: container.Resources{CPUQuota: 5000}}, update(container.Resources{NanoCPUs: 1e9}), "Nano CPUs cannot be updated as CPU Quota"},
		{container.HostConfig{Resources: container.Resources{NanoCPUs: 1e9}}, update(container.Resources{CPUPeriod: 5000}), "CPU Period cannot"},
		{container.HostConfig{Resources: container.Resources{NanoCPUs: 1e9}}, update(container.Resources{CPUQuota: 5000}), "CPU Quota cannot"},
		{container.HostConfig{Resources: container.Resources{Memory: 1 << 20, MemorySwap: 2 << 20}}, update(container.Resources{Memory: 3 << 20}), "already set memoryswap"},
		{container.HostConfig{Resources: container.Resources{Memory: 1 << 20, MemorySwap: 2 << 20}}, update(container.Resources{Memory: 3 << 20, MemorySwap: 4 << 20}), ""},
		{container.HostConfig{Resources: container.Resources{Memory: 1 << 20}}, update(container.Resources{Memory: 3 << 20}), ""},
		{container.HostConfig{AutoRemove: true}, container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: "always"}}, "AutoRemove"},
		{container.HostConfig{AutoRemove: true}, container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: "no"}}, ""},
	} {
		err := Update(&c.has, c.asks)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.asks, err, c.want)
		}
	}
}

// TestChangedIsWhole: what the kernel takes in one file is written whole, and
// nothing else is touched.
func TestChangedIsWhole(t *testing.T) {
	unlimited := int64(0)
	hc := &container.HostConfig{Resources: container.Resources{Memory: 100, MemorySwap: 300, CPUPeriod: 5000, CPUQuota: 2500, CPUShares: 7, CpusetCpus: "0"}}
	for _, c := range []struct {
		u    container.Resources
		want cgroup.Limits
	}{
		{container.Resources{Memory: 100}, cgroup.Limits{Memory: 100, MemorySwap: 300}},
		{container.Resources{CPUQuota: 2500}, cgroup.Limits{CPUPeriod: 5000, CPUQuota: 2500}},
		{container.Resources{CPUShares: 7}, cgroup.Limits{CPUShares: 7}},
		{container.Resources{PidsLimit: &unlimited}, cgroup.Limits{PidsLimit: -1}},
		{container.Resources{}, cgroup.Limits{}},
	} {
		if got, err := Changed(hc, container.UpdateConfig{Resources: c.u}); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: %+v, %v", c.u, got, err)
		}
	}
}

// TestUseWithoutGroup measures this process, which has no group of its own.
func TestUseWithoutGroup(t *testing.T) {
	before := Subject{Pids: []int{os.Getpid()}, HostMemory: 1 << 40}.Use()
	for start := time.Now(); time.Since(start) < 200*time.Millisecond; {
	}
	after := Subject{Pids: []int{os.Getpid()}, HostMemory: 1 << 40}.Use()
	spent := time.Duration(after.CPUStats.CPUUsage.TotalUsage - before.CPUStats.CPUUsage.TotalUsage)
	if spent < 20*time.Millisecond || spent > 2*time.Second {
		t.Errorf("200 ms of work count as %v", spent)
	}
	passed := time.Duration(after.CPUStats.SystemUsage-before.CPUStats.SystemUsage) / time.Duration(after.CPUStats.OnlineCPUs)
	if passed < 100*time.Millisecond || passed > 10*time.Second {
		t.Errorf("the machine has passed %v", passed)
	}
	if m := after.MemoryStats; m.Usage < 256<<10 || m.Usage > 1<<30 || m.Limit != 1<<40 {
		t.Errorf("memory: %+v", m)
	}
	if after.PidsStats.Current < 2 {
		t.Errorf("threads: %+v", after.PidsStats)
	}
}
