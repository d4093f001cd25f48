#include "textflag.h"

// The whole program of a trampoline: see trampoline.go. At its entry the stack
// holds argc, argv and the environment. It is copied, so it refers to nothing.
TEXT trampolineEntry<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ	8(SP), BX	// argv[0]
	MOVBLZX	(BX), DI
	MOVL	$2, SI		// F_SETFD
	MOVL	$1, DX		// FD_CLOEXEC
	MOVL	$72, AX		// fcntl
	SYSCALL
	TESTQ	AX, AX
	JNE	end
	MOVQ	16(SP), DI	// argv[1], the path
	LEAQ	24(SP), SI	// argv[2:]
	MOVQ	0(SP), DX
	LEAQ	16(SP)(DX*8), DX	// the environment
	MOVL	$59, AX		// execve
	SYSCALL
	MOVQ	8(SP), BX
	MOVBLZX	(BX), DI
	MOVQ	AX, 0(SP)	// in the place of argc
	MOVQ	SP, SI
	MOVL	$8, DX
	MOVL	$1, AX		// write
	SYSCALL
end:
	MOVL	$127, DI
	MOVL	$231, AX	// exit_group
	SYSCALL
	INT	$3

// func trampolineCode() unsafe.Pointer
TEXT ·trampolineCode(SB),NOSPLIT,$0-8
	LEAQ	trampolineEntry<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
