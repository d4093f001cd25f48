package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guardDevices confines the group to the device nodes of the rules.
func (g *Group) guardDevices(rules []Device) error {
	dir, ok := g.Control[devices]
	if !ok {
		return nil
	}
	for _, r := range rules {
		if err := r.check(); err != nil {
			return err
		}
	}
	if g.isV2(devices) {
		return attachProgram(dir, deviceProgram(rules))
	}
	if err := write(filepath.Join(dir, "devices.deny"), "a"); err != nil {
		return err
	}
	for _, r := range rules {
		if !r.Allow && r.Type == 'a' && r.Major < 0 && r.Minor < 0 {
			continue
		}
		file := "devices.deny"
		if r.Allow {
			file = "devices.allow"
		}
		if err := write(filepath.Join(dir, file), r.String()); err != nil {
			return err
		}
	}
	return nil
}

func (d Device) check() error {
	if d.Type != 'a' && d.Type != 'b' && d.Type != 'c' {
		return fmt.Errorf("unknown type %q in a rule for devices", string(rune(d.Type)))
	}
	if d.Access == "" || strings.Trim(d.Access, "rwm") != "" {
		return fmt.Errorf("access %q in a rule for devices is not of the letters r, w and m", d.Access)
	}
	return nil
}

// String writes the rule as version 1 reads it: "c 1:3 rwm".
func (d Device) String() string {
	number := func(n int64) string {
		if n < 0 {
			return "*"
		}
		return itoa(n)
	}
	return string(rune(d.Type)) + " " + number(d.Major) + ":" + number(d.Minor) + " " + d.Access
}

// What follows is for version 2, which asks a program of the BPF virtual
// machine at every opening and making of a device node. The program gets a
// struct of three words (the access with the type in its lower half, major,
// minor) and answers 1 for yes.

// insn is one instruction of that machine.
type insn struct {
	op   uint8
	regs uint8 // destination | source << 4
	off  int16
	imm  int32
}

// The few operations needed.
const (
	opLoadWord = 0x61 // dst = *(u32 *)(src + off)
	opCopy     = 0xbc // dst = src, 32 bits
	opSet      = 0xb4 // dst = imm, 32 bits
	opAnd      = 0x54 // dst &= imm, 32 bits
	opShift    = 0x74 // dst >>= imm, 32 bits
	opJumpNeq  = 0x56 // if dst != imm skip off, 32 bits
	opJumpNeqR = 0x5e // if dst != src skip off, 32 bits
	opJumpEq   = 0x16 // if dst == imm skip off, 32 bits
	opExit     = 0x95
)

// Where the program keeps its words.
const (
	regResult = iota
	regArgument
	regType
	regAccess
	regMajor
	regMinor
	regScratch
)

// deviceProgram writes the rules as a program. The last rule that matches
// decides, so it is asked first; where none does, the answer is no.
func deviceProgram(rules []Device) []insn {
	prog := []insn{
		{op: opLoadWord, regs: regType | regArgument<<4, off: 0},
		{op: opCopy, regs: regAccess | regType<<4},
		{op: opAnd, regs: regType, imm: 0xffff},
		{op: opShift, regs: regAccess, imm: 16},
		{op: opLoadWord, regs: regMajor | regArgument<<4, off: 4},
		{op: opLoadWord, regs: regMinor | regArgument<<4, off: 8},
	}
	rules = mergeAllowed(rules)
	for i := len(rules) - 1; i >= 0; i-- {
		prog = append(prog, rules[i].instructions()...)
	}
	return append(prog,
		insn{op: opSet, regs: regResult, imm: 0},
		insn{op: opExit})
}

// mergeAllowed joins neighbouring permissions for the same node, so that "r"
// and then "w" allow an opening for both.
func mergeAllowed(rules []Device) []Device {
	var out []Device
	for _, r := range rules {
		if n := len(out); n > 0 && r.Allow {
			last := &out[n-1]
			if last.Allow && last.Type == r.Type && last.Major == r.Major && last.Minor == r.Minor {
				last.Access += r.Access
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

func accessMask(letters string) int32 {
	var m int32
	for _, c := range letters {
		switch c {
		case 'm':
			m |= unix.BPF_DEVCG_ACC_MKNOD
		case 'r':
			m |= unix.BPF_DEVCG_ACC_READ
		case 'w':
			m |= unix.BPF_DEVCG_ACC_WRITE
		}
	}
	return m
}

// instructions returns the test of one rule: it answers, or falls through.
func (d Device) instructions() []insn {
	const skip = -1 // to the end of the rule, filled in below
	var code []insn
	switch d.Type {
	case 'b':
		code = append(code, insn{op: opJumpNeq, regs: regType, off: skip, imm: unix.BPF_DEVCG_DEV_BLOCK})
	case 'c':
		code = append(code, insn{op: opJumpNeq, regs: regType, off: skip, imm: unix.BPF_DEVCG_DEV_CHAR})
	}
	mask := accessMask(d.Access)
	code = append(code,
		insn{op: opCopy, regs: regScratch | regAccess<<4},
		insn{op: opAnd, regs: regScratch, imm: mask})
	if d.Allow {
		// All that is wanted must be allowed…
		code = append(code, insn{op: opJumpNeqR, regs: regScratch | regAccess<<4, off: skip})
	} else {
		// …and nothing of it denied.
		code = append(code, insn{op: opJumpEq, regs: regScratch, off: skip, imm: 0})
	}
	if d.Major >= 0 {
		code = append(code, insn{op: opJumpNeq, regs: regMajor, off: skip, imm: int32(d.Major)})
	}
	if d.Minor >= 0 {
		code = append(code, insn{op: opJumpNeq, regs: regMinor, off: skip, imm: int32(d.Minor)})
	}
	var answer int32
	if d.Allow {
		answer = 1
	}
	code = append(code,
		insn{op: opSet, regs: regResult, imm: answer},
		insn{op: opExit})
	for i := range code {
		if code[i].off == skip {
			code[i].off = int16(len(code) - i - 1)
		}
	}
	return code
}

// attachProgram loads the program and hangs it on a group, which keeps it for
// as long as the group exists.
func attachProgram(dir string, prog []insn) error {
	fd, err := loadProgram(prog)
	if errors.Is(err, unix.EPERM) {
		// Before 5.11 programs count as locked memory, of which the usual
		// limit leaves next to nothing. The limit is lifted for the
		// moment only: children inherit it.
		var old unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &old) == nil &&
			unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}) == nil {
			fd, err = loadProgram(prog)
			unix.Setrlimit(unix.RLIMIT_MEMLOCK, &old)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot load a BPF program: %w", err)
	}
	defer unix.Close(fd)
	group, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(group)
	attr := struct {
		target, program, kind, flags uint32
	}{uint32(group), uint32(fd), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI}
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return fmt.Errorf("cannot attach a BPF program: %w", err)
	}
	return nil
}

func loadProgram(prog []insn) (int, error) {
	license := [...]byte{'A', 'p', 'a', 'c', 'h', 'e', 0}
	// The kernel reads what the numbers in attr point to, which the
	// collector does not see.
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&prog[0])
	pin.Pin(&license[0])
	attr := struct {
		kind, count   uint32
		code, license uint64
		level, size   uint32
		log           uint64
		kernel, flags uint32
	}{
		kind:    unix.BPF_PROG_TYPE_CGROUP_DEVICE,
		count:   uint32(len(prog)),
		code:    uint64(uintptr(unsafe.Pointer(&prog[0]))),
		license: uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	return bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
}

func bpf(cmd uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(attr), size)
		if errno == unix.EINTR || errno == unix.EAGAIN {
			continue
		}
		if errno != 0 {
			return -1, errno
		}
		return int(r), nil
	}
}
