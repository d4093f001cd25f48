package cgroup

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSettings(t *testing.T) {
	swappiness := int64(10)
	for _, c := range []struct {
		name   string
		l      Limits
		v1, v2 string // "file=value" in order; file "-" where there is none
	}{
		{"nothing", Limits{}, "", ""},
		{
			"memory brings as much swap", Limits{Memory: 100},
			"memory.limit_in_bytes=100 memory.memsw.limit_in_bytes=200",
			"memory.max=100 memory.swap.max=100",
		},
		{
			"no swap", Limits{Memory: 100, MemorySwap: 100},
			"memory.limit_in_bytes=100 memory.memsw.limit_in_bytes=100",
			"memory.max=100 memory.swap.max=0",
		},
		{
			"all swap", Limits{Memory: 100, MemorySwap: -1},
			"memory.limit_in_bytes=100 memory.memsw.limit_in_bytes=-1",
			"memory.max=100 memory.swap.max=max",
		},
		{
			"so much that twice is none", Limits{Memory: 1 << 62},
			"memory.limit_in_bytes=4611686018427387904",
			"memory.max=4611686018427387904",
		},
		{
			"lifted", Limits{Memory: -1, MemorySwap: -1, MemoryReservation: -1, PidsLimit: -1},
			"memory.limit_in_bytes=-1 memory.memsw.limit_in_bytes=-1 memory.soft_limit_in_bytes=-1 pids.max=max",
			"memory.max=max memory.swap.max=max memory.low=0 pids.max=max",
		},
		{
			"only in version 1", Limits{MemorySwappiness: &swappiness, OOMKillDisable: true, CPURealtimePeriod: 5, CPURealtimeRuntime: 4},
			"memory.swappiness=10 memory.oom_control=1 cpu.rt_period_us=5 cpu.rt_runtime_us=4",
			"-= -= -=5 -=4",
		},
		{
			"processors", Limits{NanoCPUs: 15e8},
			"cpu.cfs_period_us=100000 cpu.cfs_quota_us=150000",
			"cpu.max=150000_100000",
		},
		{"quota alone", Limits{CPUQuota: 5000}, "cpu.cfs_quota_us=5000", "cpu.max=5000"},
		{"no quota", Limits{CPUQuota: -1}, "cpu.cfs_quota_us=-1", "cpu.max=max"},
		{"period alone", Limits{CPUPeriod: 5000}, "cpu.cfs_period_us=5000", "cpu.max=5000"},
		{"sets", Limits{CpusetCpus: "0-1", CpusetMems: "0"}, "cpuset.cpus=0-1 cpuset.mems=0", "cpuset.cpus=0-1 cpuset.mems=0"},
		{
			"disks", Limits{BlkioWeight: 500, BlkioWeightDevice: []Throttle{{8, 0, 1000}}, ReadBps: []Throttle{{8, 0, 7}}, WriteIOps: []Throttle{{8, 16, 9}}},
			"blkio.weight=500 blkio.weight_device=8:0_1000 blkio.throttle.read_bps_device=8:0_7 blkio.throttle.write_iops_device=8:16_9",
			"io.weight=default_4950 io.weight=8:0_10000 io.max=8:0_rbps=7 io.max=8:16_wiops=9",
		},
	} {
		for v2, want := range map[bool]string{false: c.v1, true: c.v2} {
			var got []string
			for _, s := range c.l.settings(func(string) bool { return v2 }) {
				file := s.file
				if file == "" {
					file = "-"
				}
				got = append(got, file+"="+strings.ReplaceAll(s.value, " ", "_"))
				if !strings.HasPrefix(s.option, "--") || s.controller == "" {
					t.Errorf("%s: %+v", c.name, s)
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s, version 2 %v:\n got %q\nwant %q", c.name, v2, strings.Join(got, " "), want)
			}
		}
	}
}

func TestWeights(t *testing.T) {
	for shares, want := range map[int64]int64{0: 1, 2: 1, 1024: 100, 262144: 10000, 1 << 40: 10000} {
		if got := WeightOfShares(shares); got != want {
			t.Errorf("%d shares: weight %d, want %d", shares, got, want)
		}
	}
	last := int64(0)
	for shares := int64(2); shares <= 262144; shares += 37 {
		w := WeightOfShares(shares)
		if w < last || w < 1 || w > 10000 {
			t.Fatalf("%d shares: weight %d after %d", shares, w, last)
		}
		last = w
	}
	for w, want := range map[uint64]int64{0: 1, 10: 1, 500: 4950, 1000: 10000, 9999: 10000} {
		if got := weightOfBlkio(w); got != want {
			t.Errorf("blkio %d: %d, want %d", w, got, want)
		}
	}
}

func TestParentPath(t *testing.T) {
	for in, want := range map[string]string{
		"/a/b":             "/a/b",
		"a/b":              "/a/b",
		"../../etc":        "/etc",
		"/a/../b/":         "/b",
		"user.slice":       "/user.slice",
		"user-1000.slice":  "/user.slice/user-1000.slice",
		"a-b-c.slice":      "/a.slice/a-b.slice/a-b-c.slice",
		"/x/a-b.slice":     "/x/a-b.slice",
		"-.slice":          "/-.slice",
		"system.slice/a-b": "/system.slice/a-b",
	} {
		if got := parentPath(in); got != want {
			t.Errorf("parentPath(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLists(t *testing.T) {
	for in, want := range map[string]string{
		"0":       "[{0 0}]",
		"0-2,7":   "[{0 2} {7 7}]",
		" 1 ":     "[{1 1}]",
		"":        "error",
		"2-1":     "error",
		"a":       "error",
		"1-":      "error",
		"-1":      "error",
		"0,,1":    "error",
		"1-2-3":   "error",
		"9999999": "[{9999999 9999999}]",
	} {
		got, err := parseList(in)
		text := fmt.Sprint(got)
		if err != nil {
			text = "error"
		}
		if text != want {
			t.Errorf("parseList(%q) = %s, want %s", in, text, want)
		}
	}
	have, _ := parseList("0-3,8-9")
	for in, want := range map[string]bool{"0": true, "1-3": true, "9,0": true, "4": false, "3-4": false, "0-9": false} {
		w, _ := parseList(in)
		if contains(have, w) != want {
			t.Errorf("contains(0-3,8-9, %s) is %v", in, !want)
		}
	}
}

func FuzzParseList(f *testing.F) {
	f.Add("0-2,7")
	f.Fuzz(func(t *testing.T, s string) {
		spans, err := parseList(s)
		if err == nil && len(spans) == 0 {
			t.Error("an empty list without an error")
		}
		for _, sp := range spans {
			if sp.lo < 0 || sp.hi < sp.lo {
				t.Errorf("%+v", sp)
			}
		}
	})
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"unified", "memory", "cpu,cpuacct", "pids"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"cpu", "cpuacct"} {
		if err := os.Symlink("cpu,cpuacct", filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "pids", "cgroup.procs"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	v1 := "11:memory:/user.slice\n4:cpu,cpuacct:/\n3:pids:/../x\n2:cpuset:/not-mounted\n1:name=systemd:/init.scope\n"
	magic := func(types map[string]int64) func(string) int64 {
		return func(path string) int64 {
			rel, _ := filepath.Rel(root, path)
			return types[rel]
		}
	}
	oldTypes := map[string]int64{"memory": unix.CGROUP_SUPER_MAGIC, "cpu": unix.CGROUP_SUPER_MAGIC, "cpuacct": unix.CGROUP_SUPER_MAGIC, "pids": unix.CGROUP_SUPER_MAGIC}
	hybridTypes := map[string]int64{"unified": unix.CGROUP2_SUPER_MAGIC}
	for k, v := range oldTypes {
		hybridTypes[k] = v
	}
	for _, c := range []struct {
		name, self string
		types      map[string]int64
		mode       Mode
		version    string
		v2         tree
		memory     tree
	}{
		{"none", "0::/\n", nil, None, "", tree{}, tree{}},
		{"v2", "0::/user.slice/a.scope\n", map[string]int64{".": unix.CGROUP2_SUPER_MAGIC}, V2, "2", tree{root, "/user.slice/a.scope"}, tree{}},
		{"v2 from outside", "0::/../../x\n", map[string]int64{".": unix.CGROUP2_SUPER_MAGIC}, V2, "2", tree{root, "/"}, tree{}},
		{"v1", v1, oldTypes, V1, "1", tree{}, tree{root + "/memory", "/user.slice"}},
		{"hybrid", v1 + "0::/a:b\n", hybridTypes, Hybrid, "1", tree{root + "/unified", "/a:b"}, tree{root + "/memory", "/user.slice"}},
		{"nothing mounted", v1, nil, None, "", tree{}, tree{}},
		{"nonsense", "\n:::\nabc\n", oldTypes, None, "", tree{}, tree{}},
	} {
		var f Facts
		f.find(root, c.self, magic(c.types))
		if f.Mode != c.mode || f.Version() != c.version || f.v2 != c.v2 {
			t.Errorf("%s: %+v", c.name, f)
		}
		if m, ok := f.v1(memory); m != c.memory || ok != (c.memory != tree{}) {
			t.Errorf("%s: memory in %+v", c.name, m)
		}
		if c.mode == Hybrid {
			shared := tree{root + "/cpu,cpuacct", "/"}
			for _, name := range []string{cpu, cpuacct} {
				if tr, _ := f.v1(name); tr != shared {
					t.Errorf("%s: %s in %+v", c.name, name, tr)
				}
			}
			if p, _ := f.v1(pids); p.own != "/" || f.WhyNot(cpuset) == "" || f.WhyNot(pids) != "" {
				t.Errorf("%s: %+v", c.name, f.own)
			}
		}
	}
}

// run is the BPF machine, as far as device programs use it.
func run(prog []insn, kind, access, major, minor uint32) (uint32, error) {
	memory := make([]byte, 12)
	binary.NativeEndian.PutUint32(memory, access<<16|kind)
	binary.NativeEndian.PutUint32(memory[4:], major)
	binary.NativeEndian.PutUint32(memory[8:], minor)
	var r [11]uint32
	for pc := 0; pc < len(prog); pc++ {
		i := prog[pc]
		dst, src := i.regs&15, i.regs>>4
		jump := false
		switch i.op {
		case opLoadWord:
			r[dst] = binary.NativeEndian.Uint32(memory[i.off:])
		case opCopy:
			r[dst] = r[src]
		case opSet:
			r[dst] = uint32(i.imm)
		case opAnd:
			r[dst] &= uint32(i.imm)
		case opShift:
			r[dst] >>= uint32(i.imm)
		case opJumpNeq:
			jump = r[dst] != uint32(i.imm)
		case opJumpNeqR:
			jump = r[dst] != r[src]
		case opJumpEq:
			jump = r[dst] == uint32(i.imm)
		case opExit:
			return r[0], nil
		default:
			return 0, fmt.Errorf("operation %#x", i.op)
		}
		if jump {
			pc += int(i.off)
		}
	}
	return 0, fmt.Errorf("ran off the end")
}

// judge is what a list of rules means, said plainly: of every kind of access
// wanted, the last rule about it decides.
func judge(rules []Device, kind, access, major, minor uint32) uint32 {
	for bit := uint32(1); bit <= 4; bit <<= 1 {
		if access&bit == 0 {
			continue
		}
		ok := false
		for _, r := range rules {
			typeFits := r.Type == 'a' || r.Type == 'b' && kind == unix.BPF_DEVCG_DEV_BLOCK || r.Type == 'c' && kind == unix.BPF_DEVCG_DEV_CHAR
			if typeFits && (r.Major < 0 || r.Major == int64(major)) && (r.Minor < 0 || r.Minor == int64(minor)) && uint32(accessMask(r.Access))&bit != 0 {
				ok = r.Allow
			}
		}
		if !ok {
			return 0
		}
	}
	return 1
}

// TestDeviceProgram compares programs with the plain meaning of their rules.
func TestDeviceProgram(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	access := []string{"r", "w", "m", "rw", "rwm", "rm"}
	for range 5000 {
		// As the engine makes them: all denied, then permissions, each
		// node named once.
		rules := []Device{{Type: 'a', Major: -1, Minor: -1, Access: "rwm"}}
		for major := range int64(rnd.IntN(4)) {
			d := Device{Allow: true, Type: "bc"[rnd.IntN(2)], Major: major, Minor: int64(rnd.IntN(4)) - 1, Access: access[rnd.IntN(len(access))]}
			rules = append(rules, d)
			if rnd.IntN(3) == 0 {
				d.Access = access[rnd.IntN(len(access))]
				rules = append(rules, d)
			}
		}
		prog := deviceProgram(rules)
		kind := uint32(1 + rnd.IntN(2))
		want := uint32(1 + rnd.IntN(7))
		major, minor := uint32(rnd.IntN(5)), uint32(rnd.IntN(4))
		got, err := run(prog, kind, want, major, minor)
		if err != nil || got != judge(rules, kind, want, major, minor) {
			t.Fatalf("%v: access %d of kind %d to %d:%d gives %d, %v", rules, want, kind, major, minor, got, err)
		}
	}
}

func TestDeviceRulesAreChecked(t *testing.T) {
	for _, d := range []Device{{Type: 'x', Access: "r"}, {Type: 'c', Access: ""}, {Type: 'c', Access: "rx"}} {
		if d.check() == nil {
			t.Errorf("%+v passes", d)
		}
	}
	if s := (Device{Type: 'b', Major: 8, Minor: -1, Access: "rw"}).String(); s != "b 8:* rw" {
		t.Error(s)
	}
}

func TestByTree(t *testing.T) {
	g := Group{Dirs: []string{"/sys/fs/cgroup/unified/berth/x", "/sys/fs/cgroup/cpu,cpuacct/a/berth/x"}}
	m := g.ByTree()
	if len(m) != 2 || m["unified"] != g.Dirs[0] || m["cpu,cpuacct"] != g.Dirs[1] {
		t.Error(m)
	}
}

// TestDelegatedTop: the highest group that is ours has the best chance to be
// free of processes.
func TestDelegatedTop(t *testing.T) {
	mount := t.TempDir()
	session := "/user.slice/user-7.slice/user@7.service/app.slice/s.scope"
	var give []string
	for dir := session; dir != "/user.slice/user-7.slice"; dir = filepath.Dir(dir) {
		give = append(give, dir)
	}
	for dir := session; dir != "/"; dir = filepath.Dir(dir) {
		p := filepath.Join(mount, dir)
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p, "cgroup.procs"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(give, dir) {
			for _, q := range []string{p, filepath.Join(p, "cgroup.procs")} {
				if err := os.Chown(q, account, account); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for dir := mount; dir != "/"; dir = filepath.Dir(dir) {
		if os.Chmod(dir, 0o755) != nil {
			break
		}
		if filepath.Dir(dir) == os.TempDir() {
			break
		}
	}
	f := Facts{UID: account, Mode: V2, v2: tree{mount, session}}
	asAccount(t, func() {
		if top, ok := f.delegated(f.v2); !ok || top != "/user.slice/user-7.slice/user@7.service" {
			t.Errorf("delegated: %q, %v", top, ok)
		}
		for parent, want := range map[string]string{
			"": "/user.slice/user-7.slice/user@7.service/berth",
			"/user.slice/user-7.slice/user@7.service/mine": "/user.slice/user-7.slice/user@7.service/mine",
			"/elsewhere": "/user.slice/user-7.slice/user@7.service/elsewhere",
		} {
			if b := f.bases(f.v2, true, parent); len(b) == 0 || b[0] != mount+want {
				t.Errorf("parent %q: %q", parent, b)
			}
		}
	})
}

func BenchmarkPrepareRemove(b *testing.B) {
	for name, l := range map[string]Limits{"none": {}, "memory": {Memory: 64 << 20}, "usual": {Memory: 64 << 20, NanoCPUs: 1e9, PidsLimit: 100}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f, err := Detect()
				if err != nil {
					b.Fatal(err)
				}
				g, _, err := Prepare("test-bench", "", l, f)
				if err != nil {
					b.Fatal(err)
				}
				if err := g.Remove(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDetect(b *testing.B) {
	for b.Loop() {
		Detect()
	}
}

func BenchmarkSweep(b *testing.B) {
	f, err := Detect()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		Sweep(f, func(string) bool { return true })
	}
}
