#include "textflag.h"

// func cloneShared(flags uintptr) (pid, errno uintptr)
//
// clone(2) with the caller's stack. With CLONE_VM|CLONE_VFORK the child runs on
// it first and overwrites what lies below, our return address among it, so
// that waits in a register.
TEXT ·cloneShared(SB),NOSPLIT|NOFRAME,$0-24
	MOVQ	flags+0(FP), DI
	XORL	SI, SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	MOVL	$56, AX // clone
	POPQ	R12
	SYSCALL
	PUSHQ	R12
	CMPQ	AX, $0xfffffffffffff001
	JLS	ok
	MOVQ	$0, pid+8(FP)
	NEGQ	AX
	MOVQ	AX, errno+16(FP)
	RET
ok:
	MOVQ	AX, pid+8(FP)
	MOVQ	$0, errno+16(FP)
	RET
