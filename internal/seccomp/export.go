package seccomp

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// OCI is the profile as it is for one machine, container and kernel (see
// [Compile]) in the words of the runtime specification, for a runtime that
// makes the filter itself. It is nil for a profile that filters nothing.
func (p *Profile) OCI(goarch string, caps []string, kernel Kernel) *specs.LinuxSeccomp {
	archs := machine(goarch)
	if !p.filters || archs == nil {
		return nil
	}
	out := &specs.LinuxSeccomp{}
	out.DefaultAction, out.DefaultErrnoRet = actionName(p.defaultAction)
	covered := p.covered(archs)
	for a := range archCount {
		if covered[a] {
			out.Architectures = append(out.Architectures, archName(a))
		}
	}
	if p.flags&unix.SECCOMP_FILTER_FLAG_LOG != 0 {
		out.Flags = append(out.Flags, specs.LinuxSeccompFlagLog)
	}
	for i := range p.rules {
		r := &p.rules[i]
		if !r.applies(archs[0], caps, kernel) || len(r.calls) == 0 {
			continue
		}
		call := specs.LinuxSyscall{}
		call.Action, call.ErrnoRet = actionName(r.action)
		for _, c := range r.calls {
			call.Names = append(call.Names, calls[c].name)
		}
		for _, c := range r.conds {
			call.Args = append(call.Args, specs.LinuxSeccompArg{Index: uint(c.index), Value: c.value, ValueTwo: c.two, Op: operatorName(c.op)})
		}
		out.Syscalls = append(out.Syscalls, call)
	}
	return out
}

func archName(a archID) specs.Arch {
	switch a {
	case amd64:
		return specs.ArchX86_64
	case x32:
		return specs.ArchX32
	case i386:
		return specs.ArchX86
	case arm64:
		return specs.ArchAARCH64
	}
	return specs.ArchARM
}

// actionName is the inverse of action.
func actionName(v uint32) (specs.LinuxSeccompAction, *uint) {
	number := uint(v & unix.SECCOMP_RET_DATA)
	switch v & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW:
		return specs.ActAllow, nil
	case unix.SECCOMP_RET_ERRNO:
		return specs.ActErrno, &number
	case unix.SECCOMP_RET_TRACE:
		return specs.ActTrace, &number
	case unix.SECCOMP_RET_LOG:
		return specs.ActLog, nil
	case unix.SECCOMP_RET_TRAP:
		return specs.ActTrap, nil
	case unix.SECCOMP_RET_KILL_THREAD:
		return specs.ActKillThread, nil
	}
	return specs.ActKillProcess, nil
}

func operatorName(op operator) specs.LinuxSeccompOperator {
	switch op {
	case opNotEqual:
		return specs.OpNotEqual
	case opGreater:
		return specs.OpGreaterThan
	case opGreaterEqual:
		return specs.OpGreaterEqual
	case opLess:
		return specs.OpLessThan
	case opLessEqual:
		return specs.OpLessEqual
	case opMasked:
		return specs.OpMaskedEqual
	}
	return specs.OpEqualTo
}
