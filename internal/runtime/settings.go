package runtime

import (
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// labels has the next execve confine the program: AppArmor's profile and
// SELinux's label. The first has a folder of its own since Linux 5.8, for
// machines with several security modules.
func (b *builder) labels(l launch) {
	if l.ApparmorProfile != "" {
		what := "apply the AppArmor profile " + l.ApparmorProfile
		text := []byte("exec " + l.ApparmorProfile)
		fd := b.get(what, "openat", l.proc, nsinit.Str("self/attr/apparmor/exec"), nsinit.Int(unix.O_WRONLY|unix.O_CLOEXEC), zero)
		b.ops[len(b.ops)-1].Then = 1
		b.allow(0, unix.ENOENT)
		b.do(what, "openat", l.proc, nsinit.Str("self/attr/exec"), nsinit.Int(unix.O_WRONLY|unix.O_CLOEXEC), zero).Out = fd
		b.do(what, "write", nsinit.Ref(fd), nsinit.Bytes(text), nsinit.Int(len(text)))
		b.closeReg(fd)
	}
	if l.SelinuxLabel != "" {
		b.writeFile("set the SELinux label "+l.SelinuxLabel, l.proc, "self/attr/exec", l.SelinuxLabel, 0)
		b.writeFile("set the SELinux label of keyrings", l.proc, "self/attr/keycreate", l.SelinuxLabel, 0)
	}
}

// scheduling sets how the process shares the machine's processors.
func (b *builder) scheduling(l launch) {
	if a := l.ExecCPUAffinity; a != nil && l.exec {
		b.affinity(a.Initial)
		b.affinity(a.Final)
	}
	if s := l.Scheduler; s != nil {
		b.scheduler(s)
	}
	if p := l.IOPriority; p != nil {
		class := map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}[p.Class]
		if class == 0 {
			b.fail("ioPriority class %q is none of IOPRIO_CLASS_RT, IOPRIO_CLASS_BE and IOPRIO_CLASS_IDLE", p.Class)
		}
		// ioprio_set(2): IOPRIO_WHO_PROCESS is 1, the class is above bit 13.
		b.do("set the I/O priority", "ioprio_set", nsinit.Int(1), zero, nsinit.Int(class<<13|p.Priority))
	}
}

// affinity allows the processors of a list like 0-3,7.
func (b *builder) affinity(list string) {
	if list == "" {
		return
	}
	mask, ok := bitmap(list)
	if !ok {
		b.fail("execCPUAffinity: %q is no list of processors like 0-3,7", list)
		return
	}
	b.do("run on processors "+list, "sched_setaffinity", zero, nsinit.Int(len(mask)), nsinit.Bytes(mask))
}

// bitmap turns 0-3,7 into bits, in whole words of the kernel.
func bitmap(list string) (mask []byte, ok bool) {
	mask = make([]byte, 8)
	for _, part := range strings.Split(list, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		i, err := strconv.Atoi(from)
		j, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || i < 0 || j < i || j >= 1<<13 { // CONFIG_NR_CPUS is at most 8192
			return nil, false
		}
		for ; i <= j; i++ {
			for i/8 >= len(mask) {
				mask = append(mask, make([]byte, 8)...)
			}
			mask[i/8] |= 1 << (i % 8)
		}
	}
	return mask, true
}

// scheduler is sched_setattr(2).
func (b *builder) scheduler(s *specs.Scheduler) {
	policies := map[specs.LinuxSchedulerPolicy]uint32{
		specs.SchedOther: unix.SCHED_NORMAL, specs.SchedFIFO: unix.SCHED_FIFO, specs.SchedRR: unix.SCHED_RR, specs.SchedBatch: unix.SCHED_BATCH,
		specs.SchedISO: 4, specs.SchedIdle: unix.SCHED_IDLE, specs.SchedDeadline: unix.SCHED_DEADLINE, // 4 is reserved for ISO
	}
	flags := map[specs.LinuxSchedulerFlag]uint64{
		specs.SchedFlagResetOnFork: unix.SCHED_FLAG_RESET_ON_FORK, specs.SchedFlagReclaim: unix.SCHED_FLAG_RECLAIM,
		specs.SchedFlagDLOverrun: unix.SCHED_FLAG_DL_OVERRUN, specs.SchedFlagKeepPolicy: unix.SCHED_FLAG_KEEP_POLICY,
		specs.SchedFlagKeepParams: unix.SCHED_FLAG_KEEP_PARAMS, specs.SchedFlagUtilClampMin: unix.SCHED_FLAG_UTIL_CLAMP_MIN,
		specs.SchedFlagUtilClampMax: unix.SCHED_FLAG_UTIL_CLAMP_MAX,
	}
	policy, ok := policies[s.Policy]
	if !ok {
		b.fail("scheduler policy %q is not known", s.Policy)
	}
	a := unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: policy, Nice: s.Nice, Priority: uint32(s.Priority),
		Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period,
	}
	for _, f := range s.Flags {
		bit, ok := flags[f]
		if !ok {
			b.fail("scheduler flag %q is not known", f)
		}
		a.Flags |= bit
	}
	b.do("set the scheduler "+string(s.Policy), "sched_setattr", zero, structBytes(a), zero)
}

// personality is personality(2) (PER_LINUX is 0, PER_LINUX32 is 8).
func (st *start) personality() {
	p := st.Spec.Linux.Personality
	if p == nil {
		return
	}
	var persona int
	switch p.Domain {
	case specs.PerLinux:
	case specs.PerLinux32:
		persona = 8
	default:
		st.fail("personality %q is neither LINUX nor LINUX32", p.Domain)
	}
	if len(p.Flags) > 0 {
		st.fail("personality flags are not defined yet: leave them out")
	}
	st.do("set the personality", "personality", nsinit.Int(persona))
}

// memoryPolicy is set_mempolicy(2).
func (st *start) memoryPolicy() {
	p := st.Spec.Linux.MemoryPolicy
	if p == nil {
		return
	}
	modes := map[specs.MemoryPolicyModeType]int{
		specs.MpolDefault: 0, specs.MpolPreferred: 1, specs.MpolBind: 2, specs.MpolInterleave: 3,
		specs.MpolLocal: 4, specs.MpolPreferredMany: 5, specs.MpolWeightedInterleave: 6,
	}
	flags := map[specs.MemoryPolicyFlagType]int{specs.MpolFStaticNodes: 1 << 15, specs.MpolFRelativeNodes: 1 << 14, specs.MpolFNumaBalancing: 1 << 13}
	mode, ok := modes[p.Mode]
	if !ok {
		st.fail("memoryPolicy mode %q is not known", p.Mode)
	}
	for _, f := range p.Flags {
		bit, ok := flags[f]
		if !ok {
			st.fail("memoryPolicy flag %q is not known", f)
		}
		mode |= bit
	}
	var nodes []byte
	if p.Nodes != "" {
		if nodes, ok = bitmap(p.Nodes); !ok {
			st.fail("memoryPolicy nodes: %q is no list of nodes like 0-1,3", p.Nodes)
		}
	}
	// The kernel takes one bit less than it is told.
	st.do("set the memory policy", "set_mempolicy", nsinit.Int(mode), nsinit.Bytes(nodes), nsinit.Int(8*len(nodes)+1))
}
