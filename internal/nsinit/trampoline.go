package nsinit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/internal/sys"
)

// A container chooses the program that is executed, and that may be a script
// whose interpreter is /proc/self/exe: then the file of the process that called
// execve(2) runs in the container, where it can be opened, and written to when
// nobody executes it any more (CVE-2019-5736). The trampoline is a file that
// may be found there: a program of some forty instructions in memory, made for
// one start, that executes what it is told. It costs one execve instead of
// starting a sealed copy of ours.
//
// Its arguments are a string whose first byte is the number of the status
// socket, the path of the program, and the program's own arguments. When execve
// fails it sends the negative errno, eight bytes, and ends with 127. Without the
// socket, as when a container's script has it for its interpreter, it just ends.

// trampolineCode returns the address of the trampoline's code.
func trampolineCode() unsafe.Pointer

// Sizes of the ELF file: its two headers, and as much of the text as is sure to
// hold the code. What follows the code is our own, and never executed.
const (
	elfHeader  = 64
	progHeader = 56
	codeSize   = 192
	elfSize    = elfHeader + progHeader + codeSize
	elfBase    = 0x400000
)

// TrampolinePossible tells whether this machine lets memory be executed: the
// sysctl vm.memfd_noexec may forbid it.
func TrampolinePossible() bool {
	f, err := trampoline()
	if err == nil {
		f.Close()
	}
	return err == nil
}

// trampoline makes the program, which nobody can change.
func trampoline() (*os.File, error) {
	f, err := sys.SealedProgram("start", bytes.NewReader(trampolineFile()))
	if err != nil {
		return nil, fmt.Errorf("cannot make the trampoline: %w", err)
	}
	return f, nil
}

// trampolineFile is a static executable of one segment (elf(5)).
func trampolineFile() []byte {
	machine := uint16(62) // EM_X86_64
	if runtime.GOARCH == "arm64" {
		machine = 183 // EM_AARCH64
	}
	le := binary.LittleEndian
	b := make([]byte, 0, elfSize)
	b = append(b, 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = le.AppendUint16(b, 2) // ET_EXEC
	b = le.AppendUint16(b, machine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, elfBase+elfHeader+progHeader) // entry
	b = le.AppendUint64(b, elfHeader)                    // program headers
	b = le.AppendUint64(b, 0)                            // no sections
	b = le.AppendUint32(b, 0)
	for _, n := range []uint16{elfHeader, progHeader, 1, 0, 0, 0} {
		b = le.AppendUint16(b, n)
	}
	b = le.AppendUint32(b, 1) // PT_LOAD
	b = le.AppendUint32(b, 5) // read, execute
	for _, n := range []uint64{0, elfBase, elfBase, elfSize, elfSize, 0x10000} {
		b = le.AppendUint64(b, n)
	}
	return append(b, unsafe.Slice((*byte)(trampolineCode()), codeSize)...)
}

// jump executes the trampoline, which then executes the program. From here on
// only the failure of that is heard.
//
//go:nosplit
//go:norace
func jump(m *image, status uintptr, op int, argv, env uintptr) syscall.Errno {
	if e := tell(m, status, msgLast, op, 0); e != 0 {
		return e
	}
	syscall.RawSyscall(syscall.SYS_FCNTL, status, syscall.F_SETFD, 0)
	_, _, e := syscall.RawSyscall6(unix.SYS_EXECVEAT, m.regs[RegTrampoline], uintptr(unsafe.Pointer(&m.none)), argv, env, unix.AT_EMPTY_PATH, 0)
	syscall.RawSyscall(syscall.SYS_FCNTL, status, syscall.F_SETFD, syscall.FD_CLOEXEC)
	return e
}

// jumps reports whether the program needs a trampoline.
func (p *Program) jumps() bool {
	for i := range p.Ops {
		if p.Ops[i].Call == CallTrampoline {
			return true
		}
	}
	return false
}
