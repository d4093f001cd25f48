package cgroup

import (
	"strings"
	"testing"
)

func TestRareSettings(t *testing.T) {
	idle, burst, class, n := int64(1), uint64(5000), uint32(0x100001), uint32(3)
	for _, c := range []struct {
		name   string
		r      Rare
		v1, v2 string // "file=value" in order; file "-" where there is none
	}{
		{"nothing", Rare{PlainSwap: true}, "", ""},
		{"kernel", Rare{Kernel: 5, KernelTCP: 6}, "memory.kmem.limit_in_bytes=5 memory.kmem.tcp.limit_in_bytes=6", "-=5 -=6"},
		{"cpu", Rare{CPUIdle: &idle, CPUBurst: &burst}, "cpu.idle=1 cpu.cfs_burst_us=5000", "cpu.idle=1 cpu.max.burst=5000"},
		{"leaves", Rare{BlkioLeafWeight: 10, BlkioLeafWeightDevice: []Throttle{{8, 0, 20}}}, "blkio.leaf_weight=10 blkio.leaf_weight_device=8:0_20", "-=10 -=8:0_20"},
		{
			"pages", Rare{Hugepages: []Hugepage{{"2MB", 4 << 20}}},
			"hugetlb.2MB.limit_in_bytes=4194304 hugetlb.2MB.rsvd.limit_in_bytes=4194304",
			"hugetlb.2MB.max=4194304 hugetlb.2MB.rsvd.max=4194304",
		},
		{"rdma", Rare{RDMA: map[string]RDMA{"b": {Objects: &n}, "a": {Handles: &n, Objects: &n}}}, "rdma.max=a_hca_handle=3_hca_object=3 rdma.max=b_hca_object=3", "rdma.max=a_hca_handle=3_hca_object=3 rdma.max=b_hca_object=3"},
		{"net", Rare{NetClass: &class, NetPriorities: []NetPriority{{"eth0", 5}}}, "net_cls.classid=1048577 net_prio.ifpriomap=eth0_5", "-=1048577 -=eth0_5"},
		{"unified", Rare{Unified: map[string]string{"memory.high": "9", "io.max": "8:0 rbps=1\n8:16 rbps=2\n"}}, "io.max=8:0_rbps=1 io.max=8:16_rbps=2 memory.high=9", "io.max=8:0_rbps=1 io.max=8:16_rbps=2 memory.high=9"},
	} {
		for v2, want := range map[bool]string{false: c.v1, true: c.v2} {
			var got []string
			for _, s := range (Limits{Rare: c.r}).settings(func(string) bool { return v2 }) {
				file := s.file
				if file == "" {
					file = "-"
				}
				got = append(got, file+"="+strings.ReplaceAll(s.value, " ", "_"))
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s, version 2 %v:\n got %q\nwant %q", c.name, v2, strings.Join(got, " "), want)
			}
		}
		if err := c.r.Check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	l := Limits{Memory: 100, Rare: Rare{PlainSwap: true}}
	if got := l.settings(func(string) bool { return true }); len(got) != 1 {
		t.Errorf("PlainSwap sets %+v", got)
	}
}

// TestRareCheck: names become files, and none may be another's than a limit's.
func TestRareCheck(t *testing.T) {
	for _, r := range []Rare{
		{Unified: map[string]string{"../memory.max": "1"}},
		{Unified: map[string]string{"memory": "1"}},
		{Unified: map[string]string{".max": "1"}},
		{Unified: map[string]string{"cgroup.procs": "1"}},
		{Unified: map[string]string{"cgroup.kill": "1"}},
		{Hugepages: []Hugepage{{Size: "../2MB"}}},
		{Hugepages: []Hugepage{{Size: "2"}}},
		{Hugepages: []Hugepage{{Size: "MB"}}},
		{RDMA: map[string]RDMA{"a b": {}}},
		{NetPriorities: []NetPriority{{Name: "eth0\nlo"}}},
	} {
		if r.Check() == nil {
			t.Errorf("%+v passes", r)
		}
	}
}

func TestParseNet(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0
  eth0:11 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
`
	got, err := parseNet(text)
	want := Interface{"eth0", 11, 2, 3, 4, 9, 10, 11, 12}
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"eth0: 1 2 3\n", "eth0: a 2 3 4 5 6 7 8 9 10 11 12\n"} {
		if _, err := parseNet(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestBlockStats(t *testing.T) {
	bytes, calls := newBlock("254:0 rbytes=4096 wbytes=7 rios=1 wios=2 dbytes=3 dios=4\n8:16 \nnonsense\n")
	if len(bytes) != 3 || len(calls) != 3 || bytes[0] != (BlockEntry{254, 0, "Read", 4096}) || calls[2] != (BlockEntry{254, 0, "Discard", 4}) {
		t.Errorf("%+v %+v", bytes, calls)
	}
	old := oldBlock("8:0 Read 4096\n8:0 Total 4096\n8:16 77\nTotal 4096\n")
	if len(old) != 3 || old[0] != (BlockEntry{8, 0, "Read", 4096}) || old[2] != (BlockEntry{8, 16, "", 77}) {
		t.Errorf("%+v", old)
	}
}
