#include "textflag.h"

// Two times, because the stack stays aligned to 16 bytes so. Go takes the first
// of several.
DATA oneProcessor<>+0(SB)/8, $"GOMAXPRO"
DATA oneProcessor<>+8(SB)/8, $"CS=1\x00\x00\x00\x00"
GLOBL oneProcessor<>(SB), RODATA, $16

// The stack holds argc, argv, a null, the environment, a null, and the auxiliary
// vector.
TEXT ·entry(SB),NOSPLIT|NOFRAME,$0
	MOVQ	0(SP), CX // argc
	TESTQ	CX, CX
	JEQ	start
	CMPQ	CX, $2
	JLT	name
	MOVQ	16(SP), SI // argv[1]
	CMPL	(SI), $0x0069636f // "oci" and its null
	JEQ	called
name: // the last part of argv[0]
	MOVQ	8(SP), SI
	MOVQ	SI, DI
next:
	MOVBLZX	(SI), AX
	INCQ	SI
	CMPL	AX, $'/'
	JNE	letter
	MOVQ	SI, DI
letter:
	TESTL	AX, AX
	JNE	next
	CMPL	(DI), $0x636e7572 // "runc"
	JNE	start
	CMPB	4(DI), $0
	JNE	start

called: // argc, argv and its null go down by two words, the environment begins there
	ADDQ	$2, CX
	MOVQ	SP, SI
	LEAQ	-16(SP), SP
	MOVQ	SP, DI
	CLD
	REP; MOVSQ
	LEAQ	oneProcessor<>(SB), AX
	MOVQ	AX, 0(DI)
	MOVQ	AX, 8(DI)

	// execve(program, argv, environment), the path below the stack with its null
	MOVQ	·program+8(SB), CX
	TESTQ	CX, CX
	JEQ	start
	CMPQ	CX, $255
	JGT	start
	MOVQ	DI, DX
	MOVQ	·program+0(SB), SI
	LEAQ	-512(SP), DI
	MOVQ	DI, AX
	REP; MOVSB
	MOVB	$0, (DI)
	MOVQ	AX, DI
	LEAQ	8(SP), SI
	MOVL	$59, AX // execve
	SYSCALL
start:
	JMP	_rt0_amd64_linux(SB)
