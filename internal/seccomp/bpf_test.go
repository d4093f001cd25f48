package seccomp

import (
	"encoding/binary"
	"fmt"
)

// callData is what the kernel shows a filter.
type callData struct {
	nr, arch uint32
	args     [6]uint64
}

// run carries out a filter as the kernel does, strictly: what the kernel's
// checker refuses is an error. It returns the verdict and how many instructions
// it took.
func run(prog []byte, d *callData) (verdict uint32, steps int, err error) {
	var a uint32
	n := len(prog) / 8
	for pc := 0; pc < n; pc++ {
		steps++
		in := prog[8*pc:]
		code, jt, jf, k := binary.NativeEndian.Uint16(in), int(in[2]), int(in[3]), binary.NativeEndian.Uint32(in[4:])
		cond := false
		switch code {
		case opReturn:
			return k, steps, nil
		case opLoad:
			if a, err = d.word(k); err != nil {
				return 0, 0, fmt.Errorf("instruction %d: %w", pc, err)
			}
			continue
		case opAnd:
			a &= k
			continue
		case opJump:
			pc += int(k)
			continue
		case jumpEq:
			cond = a == k
		case jumpGt:
			cond = a > k
		case jumpGe:
			cond = a >= k
		case jumpSet:
			cond = a&k != 0
		default:
			return 0, 0, fmt.Errorf("instruction %d has the code %#x", pc, code)
		}
		if cond {
			pc += jt
		} else {
			pc += jf
		}
	}
	return 0, 0, fmt.Errorf("the filter of %d instructions has no end", n)
}

func (d *callData) word(offset uint32) (uint32, error) {
	switch {
	case offset == offsetNumber:
		return d.nr, nil
	case offset == offsetArch:
		return d.arch, nil
	case offset >= offsetArgs && offset < 64 && offset%8 == 0:
		return uint32(d.args[(offset-offsetArgs)/8]), nil
	case offset >= offsetArgs && offset < 64 && offset%8 == 4:
		return uint32(d.args[(offset-offsetArgs)/8] >> 32), nil
	}
	return 0, fmt.Errorf("load from %d", offset)
}

// check is the kernel's check of a filter before it takes it.
func check(prog []byte) error {
	n := len(prog) / 8
	if len(prog)%8 != 0 || n == 0 || n > maxInstructions {
		return fmt.Errorf("%d bytes", len(prog))
	}
	for pc := range n {
		in := prog[8*pc:]
		code, jt, jf, k := binary.NativeEndian.Uint16(in), int(in[2]), int(in[3]), binary.NativeEndian.Uint32(in[4:])
		switch code {
		case opLoad:
			if k >= 64 || k%4 != 0 {
				return fmt.Errorf("instruction %d loads from %d", pc, k)
			}
		case opJump:
			if uint64(pc)+uint64(k)+1 >= uint64(n) {
				return fmt.Errorf("instruction %d jumps out", pc)
			}
		case jumpEq, jumpGt, jumpGe, jumpSet:
			if pc+jt+1 >= n || pc+jf+1 >= n {
				return fmt.Errorf("instruction %d jumps out", pc)
			}
		case opAnd, opReturn:
		default:
			return fmt.Errorf("instruction %d has the code %#x", pc, code)
		}
	}
	if binary.NativeEndian.Uint16(prog[8*(n-1):]) != opReturn {
		return fmt.Errorf("the last instruction is no return")
	}
	return nil
}
