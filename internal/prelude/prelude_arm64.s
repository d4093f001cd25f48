#include "textflag.h"

// Two times, because the stack has to stay aligned to 16 bytes. Go takes the
// first of several.
DATA oneProcessor<>+0(SB)/8, $"GOMAXPRO"
DATA oneProcessor<>+8(SB)/8, $"CS=1\x00\x00\x00\x00"
GLOBL oneProcessor<>(SB), RODATA, $16

// The stack holds argc, argv, a null, the environment, a null, and the auxiliary
// vector.
TEXT ·entry(SB),NOSPLIT|NOFRAME,$0
	MOVD	RSP, R9
	MOVD	0(R9), R10 // argc
	CBZ	R10, start
	CMP	$2, R10
	BLT	name
	MOVD	16(R9), R0 // argv[1]
	MOVD	$0x0069636f, R1 // "oci" and its null, which may stand anywhere
	MOVWU	(R0), R2
	CMP	R1, R2
	BEQ	called
name: // the last part of argv[0]
	MOVD	8(R9), R0
	MOVD	R0, R3
next:
	MOVBU.P	1(R0), R2
	CMP	$'/', R2
	BNE	letter
	MOVD	R0, R3
letter:
	CBNZ	R2, next
	MOVD	$0x636e7572, R1 // "runc"
	MOVWU	(R3), R2
	CMP	R1, R2
	BNE	start
	MOVBU	4(R3), R2
	CBNZ	R2, start

called: // argc, argv and its null go down by two words, the environment begins there
	SUB	$16, R9, R11
	MOVD	R11, RSP
	ADD	$2, R10, R10
	MOVD	R9, R0
word:
	MOVD.P	8(R0), R2
	MOVD.P	R2, 8(R11)
	SUB	$1, R10, R10
	CBNZ	R10, word
	MOVD	$oneProcessor<>(SB), R2
	MOVD	R2, 0(R11)
	MOVD	R2, 8(R11)

	// execve(program, argv, environment), the path below the stack with its null
	MOVD	·program+8(SB), R4
	CBZ	R4, start
	CMP	$255, R4
	BGT	start
	MOVD	·program+0(SB), R3
	MOVD	RSP, R5
	SUB	$512, R5, R0
	MOVD	R0, R6
letters:
	MOVBU.P	1(R3), R2
	MOVB.P	R2, 1(R6)
	SUB	$1, R4, R4
	CBNZ	R4, letters
	MOVB	ZR, (R6)
	ADD	$8, R5, R1 // argv
	MOVD	R11, R2
	MOVD	$221, R8 // execve
	SVC
start:
	B	_rt0_arm64_linux(SB)
