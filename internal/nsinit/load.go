package nsinit

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// instr is an Op laid out for the child: numbers and addresses only.
type instr struct {
	nr    uintptr
	kind  uint8
	refs  uint8 // bit i: args[i] is the number of a register
	out   uint16
	skip  uint16
	then  uint16
	any   bool
	allow [6]uintptr
	args  [6]uintptr
}

const (
	kindSyscall uint8 = iota
	kindClone
	kindInit
	kindSend
	kindClose
	kindFail
	kindAlive
	kindPause
	kindWait
	kindInside
	kindTrampoline
	kindLend
	kindHear
)

// image is a loaded program. All memory that instructions point to is held by
// keep: the addresses in args are plain numbers to the garbage collector.
type image struct {
	code []instr
	regs [MaxRegs]uintptr
	keep []any
	// msg is the status message under construction and, after it, the
	// structures of sendmsg(2) for passing a descriptor.
	msg  message
	iov  unix.Iovec
	ctl  [unix.SizeofCmsghdr + 8]byte
	hdr  unix.Msghdr
	mask uint64 // signal mask scratch
	wait [4]uint64
	info sigInfo
	// share is CLONE_VM|CLONE_VFORK where the child may use our memory
	// until it executes, and flags what the first clone gets in all.
	share, flags uintptr
	peer         uintptr // the maker's end of the status socket
	// base is the first operation that whoever now listens knows of, and
	// word what a pausing program is told: zero is to go on.
	base int
	word uint32
	none [1]byte // an empty path
}

// message is what the child tells the shim, in native byte order.
type message struct {
	kind  uint32
	op    uint32
	value int64
}

const (
	msgPid   uint32 = 1 + iota // value: the process that CallClone made
	msgError                   // op failed with errno value
	msgFD                      // a descriptor comes along
	msgAlive                   // nothing: whether it can be sent is the point
	msgPause                   // value: a stage at which it waits for a word
	msgReady                   // the program has come to CallWait
	msgLast                    // nothing but an errno of op can follow
)

func load(p *Program) (*image, error) {
	m := &image{code: make([]instr, len(p.Ops))}
	if !p.needsCopy() {
		m.share = unix.CLONE_VM | unix.CLONE_VFORK
	}
	for i, op := range p.Ops {
		if err := m.lower(&m.code[i], op, len(p.Ops)-i-1); err != nil {
			return nil, fmt.Errorf("operation %d (%s): %w", i, op.Call, err)
		}
	}
	m.iov.Base = (*byte)(unsafe.Pointer(&m.msg))
	m.iov.SetLen(int(unsafe.Sizeof(m.msg)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&m.ctl[0]))
	h.Level, h.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	h.SetLen(unix.CmsgLen(4))
	m.hdr.Iov, m.hdr.Control = &m.iov, &m.ctl[0]
	m.hdr.SetIovlen(1)
	m.hdr.SetControllen(unix.CmsgSpace(4))
	return m, nil
}

// needsCopy reports whether the child must have memory of its own: an init
// lives on in it; who pauses needs us awake; and the kernel makes a user
// namespace by unshare(2), or enters a time namespace by setns(2), only for a
// process that shares memory with nobody.
func (p *Program) needsCopy() bool {
	for _, op := range p.Ops {
		switch op.Call {
		case CallInit, CallPause, CallWait:
			return true
		case "unshare":
			if len(op.Args) > 0 && op.Args[0].n&unix.CLONE_NEWUSER != 0 {
				return true
			}
		case "setns":
			if len(op.Args) > 1 && op.Args[1].n&unix.CLONE_NEWTIME != 0 {
				return true
			}
		}
	}
	return false
}

func pseudo(call string) uint8 {
	switch call {
	case CallClone:
		return kindClone
	case CallInit:
		return kindInit
	case CallSend:
		return kindSend
	case CallClose:
		return kindClose
	case CallFail:
		return kindFail
	case CallAlive:
		return kindAlive
	case CallPause:
		return kindPause
	case CallWait:
		return kindWait
	case CallInside:
		return kindInside
	case CallTrampoline:
		return kindTrampoline
	case CallLend:
		return kindLend
	case CallHear:
		return kindHear
	}
	return kindSyscall
}

func (m *image) lower(in *instr, op Op, left int) error {
	if in.kind = pseudo(op.Call); in.kind == kindSyscall {
		nr, ok := number(op.Call)
		if !ok {
			return fmt.Errorf("unknown call")
		}
		in.nr = nr
	}
	if len(op.Args) > len(in.args) || op.Out >= MaxRegs || op.Skip > left || op.Skip < 0 || op.Then > left || op.Then < 0 || len(op.Allow) > len(in.allow) {
		return fmt.Errorf("out of bounds")
	}
	in.out, in.skip, in.then = uint16(op.Out), uint16(op.Skip), uint16(op.Then)
	for i, e := range op.Allow {
		if e == AnyError {
			in.any = true
			continue
		}
		in.allow[i] = uintptr(e)
	}
	for i, a := range op.Args {
		if a.kind == 'r' {
			if a.n == 0 || a.n >= MaxRegs {
				return fmt.Errorf("register %d does not exist", a.n)
			}
			in.refs |= 1 << i
			in.args[i] = uintptr(a.n)
			continue
		}
		v, err := m.place(a)
		if err != nil {
			return err
		}
		in.args[i] = v
	}
	return nil
}

// place lays one argument out in memory and returns its value or address.
func (m *image) place(a Arg) (uintptr, error) {
	switch a.kind {
	case 'n':
		return uintptr(a.n), nil
	case 's':
		p, err := unix.BytePtrFromString(a.s)
		if err != nil {
			return 0, fmt.Errorf("%q holds a NUL byte", a.s)
		}
		m.keep = append(m.keep, p)
		return uintptr(unsafe.Pointer(p)), nil
	case 'b':
		if len(a.s) == 0 {
			return 0, nil
		}
		b := []byte(a.s)
		m.keep = append(m.keep, b)
		return uintptr(unsafe.Pointer(&b[0])), nil
	case 'v':
		v, err := vector(a.v)
		if err != nil {
			return 0, err
		}
		m.keep = append(m.keep, v)
		return uintptr(unsafe.Pointer(&v[0])), nil
	case 'f':
		f, err := filter([]byte(a.s))
		if err != nil {
			return 0, err
		}
		m.keep = append(m.keep, f)
		return uintptr(unsafe.Pointer(f)), nil
	}
	return 0, fmt.Errorf("argument of unknown kind")
}

func vector(ss []string) ([]*byte, error) {
	v := make([]*byte, len(ss)+1)
	for i, s := range ss {
		p, err := unix.BytePtrFromString(s)
		if err != nil {
			return nil, fmt.Errorf("%q holds a NUL byte", s)
		}
		v[i] = p
	}
	return v, nil
}

func filter(b []byte) (*unix.SockFprog, error) {
	n := len(b) / unix.SizeofSockFilter
	if n == 0 || n > 4096 || len(b)%unix.SizeofSockFilter != 0 {
		return nil, fmt.Errorf("a filter of %d bytes is not valid", len(b))
	}
	ins := make([]unix.SockFilter, n)
	for i := range ins {
		c := b[i*unix.SizeofSockFilter:]
		ins[i] = unix.SockFilter{
			Code: binary.NativeEndian.Uint16(c),
			Jt:   c[2],
			Jf:   c[3],
			K:    binary.NativeEndian.Uint32(c[4:]),
		}
	}
	return &unix.SockFprog{Len: uint16(n), Filter: &ins[0]}, nil
}
