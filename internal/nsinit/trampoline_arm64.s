#include "textflag.h"

// The whole program of a trampoline: see trampoline.go. At its entry the stack
// holds argc, argv and the environment. It is copied, so it refers to nothing.
TEXT trampolineEntry<>(SB),NOSPLIT|NOFRAME,$0
	MOVD	8(RSP), R9	// argv[0]
	MOVBU	(R9), R0
	MOVD	$2, R1		// F_SETFD
	MOVD	$1, R2		// FD_CLOEXEC
	MOVD	$25, R8		// fcntl
	SVC
	CBNZ	R0, end
	MOVD	16(RSP), R0	// argv[1], the path
	MOVD	RSP, R3
	ADD	$24, R3, R1	// argv[2:]
	MOVD	0(RSP), R2
	ADD	R2<<3, R3, R2
	ADD	$16, R2, R2	// the environment
	MOVD	$221, R8	// execve
	SVC
	MOVD	R0, 0(RSP)	// in the place of argc
	MOVBU	(R9), R0
	MOVD	RSP, R1
	MOVD	$8, R2
	MOVD	$64, R8		// write
	SVC
end:
	MOVD	$127, R0
	MOVD	$94, R8		// exit_group
	SVC
	BRK

// func trampolineCode() unsafe.Pointer
TEXT ·trampolineCode(SB),NOSPLIT,$0-8
	MOVD	$trampolineEntry<>(SB), R0
	MOVD	R0, ret+0(FP)
	RET
