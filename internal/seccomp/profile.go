package seccomp

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Profile is a checked profile. The zero Profile filters nothing.
type Profile struct {
	filters       bool
	defaultAction uint32
	badArch       uint32    // verdict on calls of an architecture that is not listed
	archs         []archSet // which architectures apply on which machine
	rules         []rule
	flags         uint32
}

// archSet lists the architectures a profile covers on a native one.
type archSet struct {
	native archID
	others []archID
}

// rule is a verdict on some system calls.
type rule struct {
	calls    []uint16 // places in the table of system calls
	action   uint32
	conds    []cond
	includes condition
	excludes condition
}

// cond compares an argument of a system call.
type cond struct {
	index uint8
	op    operator
	value uint64 // the mask, for opMasked
	two   uint64 // what the masked argument must be
}

type operator uint8

const (
	opEqual operator = iota
	opNotEqual
	opGreater
	opGreaterEqual
	opLess
	opLessEqual
	opMasked
	opLowNotEqual // of the lower half only; no profile can say that
)

// condition says on which machines and for which containers a rule exists.
type condition struct {
	caps   []string
	arches []string
	kernel Kernel // zero: any
}

// Kernel is the version of a kernel.
type Kernel struct{ Major, Minor int }

func (k Kernel) atLeast(o Kernel) bool {
	return k.Major > o.Major || k.Major == o.Major && k.Minor >= o.Minor
}

// jsonProfile is a profile as Docker writes it. The format is that of the
// runtime specification with conditions on rules and architectures by machine.
type jsonProfile struct {
	specs.LinuxSeccomp
	ArchMap []struct {
		Architecture     specs.Arch   `json:"architecture"`
		SubArchitectures []specs.Arch `json:"subArchitectures"`
	} `json:"archMap"`
	Syscalls []*jsonRule `json:"syscalls"`
}

type jsonRule struct {
	specs.LinuxSyscall
	Name     string         `json:"name"` // the form of old times: one name
	Includes *jsonCondition `json:"includes"`
	Excludes *jsonCondition `json:"excludes"`
}

type jsonCondition struct {
	Caps      []string `json:"caps"`
	Arches    []string `json:"arches"`
	MinKernel string   `json:"minKernel"`
}

// Parse reads a profile in Docker's JSON format.
func Parse(data []byte) (*Profile, error) {
	var j jsonProfile
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, fmt.Errorf("decoding seccomp profile failed: %w", err)
	}
	p, err := j.profile()
	if err == nil && p.Notifies() {
		err = errors.New("SCMP_ACT_NOTIFY is not supported: nobody would answer")
	}
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	return p, nil
}

// FromOCI reads the seccomp section of a runtime specification.
func FromOCI(s *specs.LinuxSeccomp) (*Profile, error) {
	j := jsonProfile{LinuxSeccomp: *s}
	for i := range s.Syscalls {
		j.Syscalls = append(j.Syscalls, &jsonRule{LinuxSyscall: s.Syscalls[i]})
	}
	p, err := j.profile()
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	return p, nil
}

func (j *jsonProfile) profile() (*Profile, error) {
	p := &Profile{badArch: unix.SECCOMP_RET_KILL_PROCESS}
	if j.DefaultAction == "" && len(j.Syscalls) == 0 {
		return p, nil // says nothing, so it filters nothing
	}
	p.filters = true
	var err error
	if p.defaultAction, err = action(j.DefaultAction, j.DefaultErrnoRet); err != nil {
		return nil, err
	}
	if p.flags, err = installFlags(j.Flags); err != nil {
		return nil, err
	}
	if p.archs, err = j.architectures(); err != nil {
		return nil, err
	}
	for i, r := range j.Syscalls {
		if r == nil {
			return nil, fmt.Errorf("rule %d is null", i+1)
		}
		if p.rules, err = r.add(p.rules); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return p, nil
}

// InstallFlags returns the flags for seccomp(2) that go with the profile.
func (p *Profile) InstallFlags() uint32 {
	if !p.Notifies() { // the kernel takes that one from filters with a listener only
		return p.flags &^ unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	}
	return p.flags
}

// Notifies reports whether a process outside is to decide about some calls, so
// that the filter needs a listener.
func (p *Profile) Notifies() bool {
	return p.defaultAction == unix.SECCOMP_RET_USER_NOTIF ||
		slices.ContainsFunc(p.rules, func(r rule) bool { return r.action == unix.SECCOMP_RET_USER_NOTIF })
}

// installFlags translates flags. A profile that says nothing gets the one that
// keeps the processor from running slower for the sake of a side channel which
// filters do not close anyway.
func installFlags(flags []specs.LinuxSeccompFlag) (uint32, error) {
	if flags == nil {
		return unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, nil
	}
	var bits uint32
	for _, f := range flags {
		switch f {
		case specs.LinuxSeccompFlagLog:
			bits |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			bits |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case specs.LinuxSeccompFlagWaitKillableRecv:
			bits |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
		case "SECCOMP_FILTER_FLAG_TSYNC": // there is one thread only
		default:
			return 0, fmt.Errorf("flag %q is not supported", f)
		}
	}
	return bits, nil
}

func (j *jsonProfile) architectures() ([]archSet, error) {
	if len(j.Architectures) > 0 && len(j.ArchMap) > 0 {
		return nil, errors.New("both 'architectures' and 'archMap' are specified, use one of them")
	}
	var sets []archSet
	for _, a := range j.ArchMap {
		native, known, err := archByName(a.Architecture)
		if err != nil {
			return nil, err
		}
		others, err := archList(a.SubArchitectures)
		if err != nil {
			return nil, err
		}
		if known {
			sets = append(sets, archSet{native, others})
		}
	}
	list, err := archList(j.Architectures)
	if err != nil {
		return nil, err
	}
	if len(list) > 0 {
		for native := range archCount {
			sets = append(sets, archSet{native, list})
		}
	}
	return sets, nil
}

// archList translates names, leaving out what this package has no numbers for:
// no machine it supports runs such programs.
func archList(names []specs.Arch) ([]archID, error) {
	var out []archID
	for _, n := range names {
		id, known, err := archByName(n)
		if err != nil {
			return nil, err
		}
		if known {
			out = append(out, id)
		}
	}
	return out, nil
}

func archByName(name specs.Arch) (id archID, known bool, err error) {
	switch name {
	case specs.ArchX86_64:
		return amd64, true, nil
	case specs.ArchX32:
		return x32, true, nil
	case specs.ArchX86:
		return i386, true, nil
	case specs.ArchAARCH64:
		return arm64, true, nil
	case specs.ArchARM:
		return arm, true, nil
	}
	if strings.HasPrefix(string(name), "SCMP_ARCH_") {
		return 0, false, nil
	}
	return 0, false, fmt.Errorf("unknown architecture %q", name)
}

// add appends the rules a JSON rule stands for: several, if it has conditions
// on the same argument.
func (r *jsonRule) add(rules []rule) ([]rule, error) {
	names := r.Names
	if r.Name != "" {
		if len(names) > 0 {
			return nil, errors.New("both 'name' and 'names' are specified, use one of them")
		}
		names = []string{r.Name}
	}
	out := rule{calls: make([]uint16, 0, len(names))}
	for _, n := range names {
		if n == "" {
			return nil, errors.New("a system call has no name")
		}
		if i, ok := callIndex(n); ok {
			out.calls = append(out.calls, uint16(i))
		}
	}
	var err error
	if out.action, err = action(r.Action, r.ErrnoRet); err != nil {
		return nil, err
	}
	if out.includes, err = r.Includes.condition(); err != nil {
		return nil, err
	}
	if out.excludes, err = r.Excludes.condition(); err != nil {
		return nil, err
	}
	conds, alternatives, err := conditions(r.Args)
	if err != nil {
		return nil, err
	}
	if !alternatives {
		out.conds = conds
		return append(rules, out), nil
	}
	for i := range conds {
		one := out
		one.conds = conds[i : i+1]
		rules = append(rules, one)
	}
	return rules, nil
}

// conditions translates comparisons of arguments and tells whether they are
// alternatives.
func conditions(args []specs.LinuxSeccompArg) (conds []cond, alternatives bool, err error) {
	var seen [6]bool
	for _, a := range args {
		if a.Index >= uint(len(seen)) {
			return nil, false, fmt.Errorf("a system call has no argument %d", a.Index)
		}
		alternatives = alternatives || seen[a.Index]
		seen[a.Index] = true
		c := cond{index: uint8(a.Index), value: a.Value, two: a.ValueTwo}
		switch a.Op {
		case specs.OpEqualTo:
			c.op = opEqual
		case specs.OpNotEqual:
			c.op = opNotEqual
		case specs.OpGreaterThan:
			c.op = opGreater
		case specs.OpGreaterEqual:
			c.op = opGreaterEqual
		case specs.OpLessThan:
			c.op = opLess
		case specs.OpLessEqual:
			c.op = opLessEqual
		case specs.OpMaskedEqual:
			c.op = opMasked
			c.two &= c.value // what the mask hides does not count
		default:
			return nil, false, fmt.Errorf("unknown operator %q", a.Op)
		}
		conds = append(conds, c)
	}
	return conds, alternatives, nil
}

func (j *jsonCondition) condition() (condition, error) {
	if j == nil {
		return condition{}, nil
	}
	c := condition{caps: j.Caps, arches: j.Arches}
	if j.MinKernel == "" {
		return c, nil
	}
	major, minor, ok := strings.Cut(j.MinKernel, ".")
	ma, errMajor := strconv.ParseUint(major, 10, 16)
	mi, errMinor := strconv.ParseUint(minor, 10, 16)
	if !ok || errMajor != nil || errMinor != nil || ma == 0 && mi == 0 {
		return c, fmt.Errorf("invalid kernel version %q", j.MinKernel)
	}
	c.kernel = Kernel{int(ma), int(mi)}
	return c, nil
}

const maxErrno = 4095 // the kernel's limit

// action translates a verdict into what a filter returns.
func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	number := uint(unix.EPERM)
	if errno != nil {
		number = *errno
	}
	switch a {
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActErrno, specs.ActTrace:
		if number > maxErrno {
			return 0, fmt.Errorf("error number %d is out of range", number)
		}
		if a == specs.ActTrace {
			return unix.SECCOMP_RET_TRACE | uint32(number), nil
		}
		return unix.SECCOMP_RET_ERRNO | uint32(number), nil
	case specs.ActNotify:
		return unix.SECCOMP_RET_USER_NOTIF, nil
	}
	return 0, fmt.Errorf("unknown action %q", a)
}
