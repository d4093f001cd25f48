package seccomp

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// maxInstructions is the kernel's limit for a filter.
const maxInstructions = 4096

// insn is an instruction of classic BPF. The machine has one accumulator.
type insn struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

const (
	opLoad   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS // accumulator = word at k
	opAnd    = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opReturn = unix.BPF_RET | unix.BPF_K
	opJump   = unix.BPF_JMP | unix.BPF_JA
	jumpEq   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGt   = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	jumpGe   = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	jumpSet  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
)

// label is a place in a program, counted from its end: instruction n from the
// back has the label n, the last one 1. It is also where what follows is known.
type label int

// assembler writes a program from its end to its beginning. Jumps only lead
// forward, so their targets are always there already; and the distance to a
// target never changes once it is.
type assembler struct {
	code    []insn // the last instruction first
	returns []returned
}

type returned struct {
	verdict uint32
	at      label
}

func (a *assembler) here() label { return label(len(a.code)) }

func (a *assembler) emit(i insn) label {
	a.code = append(a.code, i)
	return a.here()
}

// then puts an instruction in front of the one at next.
func (a *assembler) then(code uint16, k uint32, next label) label {
	if next != a.here() {
		a.emit(insn{code: opJump, k: uint32(a.here() - next)})
	}
	return a.emit(insn{code: code, k: k})
}

// near is how far a conditional jump can reach, with room for the instructions
// that may come in between.
const near = 255 - 4

// ret returns a place, not far, that ends the filter with a verdict.
func (a *assembler) ret(verdict uint32) label {
	for i, r := range a.returns {
		if r.verdict != verdict {
			continue
		}
		if a.here()-r.at > near {
			a.returns[i].at = a.emit(insn{code: opReturn, k: verdict})
		}
		return a.returns[i].at
	}
	at := a.emit(insn{code: opReturn, k: verdict})
	a.returns = append(a.returns, returned{verdict, at})
	return at
}

// reach brings a target within reach of a conditional jump.
func (a *assembler) reach(l label) label {
	if a.here()-l <= near {
		return l
	}
	if to := a.at(l); to.code == opReturn {
		return a.ret(to.k)
	}
	return a.emit(insn{code: opJump, k: uint32(a.here() - l)})
}

func (a *assembler) at(l label) insn { return a.code[l-1] }

// jump compares the accumulator and goes on at one of two places.
func (a *assembler) jump(code uint16, k uint32, yes, no label) label {
	if yes == no && yes == a.here() {
		return yes
	}
	yes = a.reach(yes)
	no = a.reach(no)
	yes = a.reach(yes) // what the line before added may have pushed it away
	return a.emit(insn{code: code, k: k, jt: uint8(a.here() - yes), jf: uint8(a.here() - no)})
}

// bytes returns the program as the kernel takes it.
func (a *assembler) bytes() ([]byte, error) {
	if len(a.code) > maxInstructions {
		return nil, errTooLong
	}
	out := make([]byte, 0, 8*len(a.code))
	for i := len(a.code) - 1; i >= 0; i-- {
		in := a.code[i]
		out = binary.NativeEndian.AppendUint16(out, in.code)
		out = append(out, in.jt, in.jf)
		out = binary.NativeEndian.AppendUint32(out, in.k)
	}
	return out, nil
}

var errTooLong = errors.New("seccomp profile is too long: its filter has more than 4096 instructions")
