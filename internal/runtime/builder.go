package runtime

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/internal/nsinit"
)

// builder appends operations to a program and hands out registers.
type builder struct {
	ops  []nsinit.Op
	next nsinit.Reg
	// top is the first register that is set before the program runs. Those
	// below may hold something else until the compiler gives them out.
	top nsinit.Reg
	err error
}

// Some hundred operations make a container; growing to there by doubling takes
// as much memory again.
func newBuilder() *builder {
	return &builder{ops: make([]nsinit.Op, 0, 384), next: nsinit.RegFree, top: nsinit.MaxRegs}
}

func (b *builder) reg() nsinit.Reg {
	r := b.next
	if r >= b.top {
		b.fail("too many mounts")
		return nsinit.RegFree
	}
	b.next++
	return r
}

func (b *builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

// do appends an operation that must succeed; what completes "cannot …".
func (b *builder) do(what, call string, args ...nsinit.Arg) *nsinit.Op {
	b.ops = append(b.ops, nsinit.Op{Call: call, Args: args, What: what})
	return &b.ops[len(b.ops)-1]
}

// get is do with a result.
func (b *builder) get(what, call string, args ...nsinit.Arg) nsinit.Reg {
	r := b.reg()
	b.do(what, call, args...).Out = r
	return r
}

// try is do that goes on after any error.
func (b *builder) try(call string, args ...nsinit.Arg) {
	b.do("", call, args...).Allow = []int{nsinit.AnyError}
}

// allow makes the last operation tolerate errors and skip n operations after
// them.
func (b *builder) allow(n int, errnos ...unix.Errno) {
	op := &b.ops[len(b.ops)-1]
	op.Skip = n
	for _, e := range errnos {
		op.Allow = append(op.Allow, int(e))
	}
}

var (
	cwd  = nsinit.Int(unix.AT_FDCWD)
	zero = nsinit.Int(0)
	none = nsinit.Str("")
)

// structBytes copies a kernel structure to a program argument.
func structBytes[T any](v T) nsinit.Arg {
	return nsinit.Bytes(unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v)))
}

// openHow is struct open_how of openat2(2).
func openHow(flags int, resolve uint64) []nsinit.Arg {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	return []nsinit.Arg{structBytes(how), nsinit.Int(int(unsafe.Sizeof(how)))}
}

// writeFile writes data to a file that exists. at is a directory register or
// cwd.
func (b *builder) writeFile(what string, at nsinit.Arg, p, data string, follow uint64) {
	args := append([]nsinit.Arg{at, nsinit.Str(p)}, openHow(unix.O_WRONLY, follow)...)
	fd := b.get(what, "openat2", args...)
	b.do(what, "write", nsinit.Ref(fd), nsinit.Bytes([]byte(data)), nsinit.Int(len(data)))
	b.do(what, "close", nsinit.Ref(fd))
	b.next-- // the register is free again
}

func (b *builder) closeReg(r nsinit.Reg) { b.try("close", nsinit.Ref(r)) }

// below reports whether path p is dir or lies in it.
func below(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
