package seccomp

import (
	"slices"
	"strings"

	docker "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// oracle says what a profile means, straight from its JSON form and as slowly
// as one likes. It shares with the compiler nothing but the table of numbers.
type oracle struct {
	profile *docker.Seccomp
	goarch  string
	caps    []string
	kernel  Kernel

	byName map[string][]*docker.Syscall // the rules that exist, in order
	last   [archCount]int64             // the newest call they mention
	name   [archCount]map[uint32]string
}

func newOracle(p *docker.Seccomp, goarch string, caps []string, kernel Kernel) *oracle {
	o := &oracle{profile: p, goarch: goarch, caps: caps, kernel: kernel, byName: make(map[string][]*docker.Syscall)}
	for _, r := range o.rules() {
		for _, n := range namesOf(r) {
			o.byName[n] = append(o.byName[n], r)
		}
	}
	for _, a := range machine(goarch) {
		o.last[a] = o.newest(a)
		o.name[a] = make(map[uint32]string)
		for _, c := range calls {
			if c.nr[a] >= 0 && c.name != "sync_file_range2" {
				o.name[a][uint32(c.nr[a])] = c.name
			}
		}
	}
	return o
}

// verdict is what should become of a call.
func (o *oracle) verdict(d *callData) uint32 {
	a, nr, known := o.architecture(d)
	if !known {
		return unix.SECCOMP_RET_KILL_PROCESS
	}
	if !o.lists(a) {
		if a == x32 {
			return unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		}
		return unix.SECCOMP_RET_KILL_PROCESS
	}
	name := o.name[a][nr]
	def := o.action(o.profile.DefaultAction, o.profile.DefaultErrnoRet)
	if newest := o.last[a]; newest >= 0 && int64(nr) > newest && (a != arm || nr < armPrivate) && o.refuses() {
		return unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	}
	// Rules without conditions first.
	for _, r := range o.byName[name] {
		if act := o.action(r.Action, r.ErrnoRet); act != def && len(r.Args) == 0 {
			return act
		}
	}
	for _, r := range o.byName[name] {
		if act := o.action(r.Action, r.ErrnoRet); act != def && argsMatch(a, r.Args, d) {
			return act
		}
	}
	return def
}

// architecture tells who made a call.
func (o *oracle) architecture(d *callData) (a archID, nr uint32, ok bool) {
	for _, m := range machine(o.goarch) {
		if m.audit() != d.arch {
			continue
		}
		if m == amd64 && d.nr >= x32Bit {
			return x32, d.nr - x32Bit, true
		}
		return m, d.nr, true
	}
	return 0, 0, false
}

func (o *oracle) lists(a archID) bool {
	native := machine(o.goarch)[0]
	if a == native {
		return true
	}
	name := map[archID]specs.Arch{amd64: specs.ArchX86_64, x32: specs.ArchX32, i386: specs.ArchX86, arm64: specs.ArchAARCH64, arm: specs.ArchARM}
	for _, m := range o.profile.ArchMap {
		if m.Arch == name[native] && slices.Contains(m.SubArches, name[a]) {
			return true
		}
	}
	return slices.Contains(o.profile.Architectures, name[a])
}

func namesOf(r *docker.Syscall) []string {
	names := r.Names
	if r.Name != "" {
		names = []string{r.Name}
	}
	if slices.Contains(names, "sync_file_range2") {
		names = append(slices.Clone(names), "arm_sync_file_range") // one number, two names
	}
	return names
}

func (o *oracle) newest(a archID) int64 {
	newest := int64(-1)
	for _, r := range o.rules() {
		for _, n := range namesOf(r) {
			for _, c := range calls {
				if c.name == n && (a != arm || c.nr[a] < armPrivate) {
					newest = max(newest, int64(c.nr[a]))
				}
			}
		}
	}
	return newest
}

func (o *oracle) refuses() bool {
	switch o.profile.DefaultAction {
	case specs.ActAllow, specs.ActLog, specs.ActTrace:
		return false
	}
	return true
}

// rules are those that exist for this machine and container.
func (o *oracle) rules() []*docker.Syscall {
	native := map[string]string{"amd64": "amd64", "386": "x86", "arm64": "arm64", "arm": "arm"}[o.goarch]
	holds := func(k *docker.KernelVersion) bool {
		return o.kernel.Major > int(k.Kernel) || o.kernel.Major == int(k.Kernel) && o.kernel.Minor >= int(k.Major)
	}
	var out []*docker.Syscall
	for _, r := range o.profile.Syscalls {
		ok := true
		if ex := r.Excludes; ex != nil {
			for _, c := range ex.Caps {
				ok = ok && !slices.Contains(o.caps, c)
			}
			ok = ok && !slices.Contains(ex.Arches, native)
			ok = ok && (ex.MinKernel == nil || !holds(ex.MinKernel))
		}
		if in := r.Includes; in != nil {
			for _, c := range in.Caps {
				ok = ok && slices.Contains(o.caps, c)
			}
			ok = ok && (len(in.Arches) == 0 || slices.Contains(in.Arches, native))
			ok = ok && (in.MinKernel == nil || holds(in.MinKernel))
		}
		if ok {
			out = append(out, r)
		}
	}
	return out
}

func (o *oracle) action(a specs.LinuxSeccompAction, errno *uint) uint32 {
	n := uint32(1)
	if errno != nil {
		n = uint32(*errno)
	}
	switch {
	case a == specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | n
	case a == specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | n
	case a == specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW
	case a == specs.ActLog:
		return unix.SECCOMP_RET_LOG
	case a == specs.ActTrap:
		return unix.SECCOMP_RET_TRAP
	case a == specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS
	case strings.HasPrefix(string(a), "SCMP_ACT_KILL"):
		return unix.SECCOMP_RET_KILL_THREAD
	}
	panic("action " + a)
}

// argsMatch: conditions on one argument are alternatives, others must all hold.
func argsMatch(a archID, args []specs.LinuxSeccompArg, d *callData) bool {
	twice := false
	for i, x := range args {
		for _, y := range args[:i] {
			twice = twice || x.Index == y.Index
		}
	}
	for _, x := range args {
		if argMatches(a, x, d) == twice {
			return twice
		}
	}
	return !twice
}

func argMatches(a archID, x specs.LinuxSeccompArg, d *callData) bool {
	arg, v, two := d.args[x.Index], x.Value, x.ValueTwo
	if a.is32() {
		arg, v, two = uint64(uint32(arg)), uint64(uint32(v)), uint64(uint32(two))
	}
	switch x.Op {
	case specs.OpEqualTo:
		return arg == v
	case specs.OpNotEqual:
		return arg != v
	case specs.OpGreaterThan:
		return arg > v
	case specs.OpGreaterEqual:
		return arg >= v
	case specs.OpLessThan:
		return arg < v
	case specs.OpLessEqual:
		return arg <= v
	case specs.OpMaskedEqual:
		return arg&v == two&v
	}
	panic("operator " + x.Op)
}
