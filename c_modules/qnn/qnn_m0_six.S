// Cortex-M0+: six positions of a convolution against rows of weights, two products a multiply.
//
// A word of packed input holds two positions 16 bits apart, p + q * 2^16, so that one multiply by a weight
// gives p * w + q * w * 2^16. The sum of two such products stays within 16 bits a position (that layout
// promises it for its pairs of weights) and is split: shifting right by 16 leaves q's sum, one too small
// when p's is negative, which the bit shifted out last says: the carry, so ADCS puts it right. p's total
// comes from the total of the unsplit words afterwards. 9 cycles per four MACs, and 6 for the pair's weights.

#if defined(__ARM_ARCH_6M__)

#include "qnn_m0_scale.h"

    .syntax unified
    .cpu cortex-m0plus
    .thumb
    .text

// qnn_six_t of qnn_m0.h
#define X 0
#define X_END 4
#define W 8
#define HALF 12
#define BIAS 16
#define MULTIPLIER 20
#define SHIFT 24
#define STEP 28
#define Y 32
#define Y_STRIDE 36
#define MIN 40
#define RANGE 44
#define ZERO 48
#define ROWS 52
#define SKIP 56

// Frame: six sums, the zero point, the operator, where requantising begins.
#define FRAME_ZERO 24
#define FRAME_OP 28
#define FRAME_ENTRY 32
#define FRAME 40

// Two weights at [r11 + at]: r5, r6.
.macro WEIGHTS at, advance=0
    mov r3, r11
    ldrh r6, [r3, #\at]
    .if \advance
    adds r3, #\advance
    mov r11, r3
    .endif
    sxtb r5, r6
    lsls r6, r6, #16
    asrs r6, r6, #24
.endm

// One word of each of two places. \high: sum of the upper positions, \all: of both.
.macro PRODUCTS high, all
    ldm r7!, {r3, r4}
    muls r3, r5, r3
    muls r4, r6, r4
    adds r3, r3, r4
    asrs r4, r3, #16
    adcs \high, r4
    add \all, r3
.endm

.macro PAIR at, advance=0
    WEIGHTS \at, \advance
    PRODUCTS r0, r8
    PRODUCTS r1, r9
    PRODUCTS r2, r10
.endm

.macro SPLIT high, all, at
    mov r4, \all
    lsls r3, \high, #16
    subs r4, r4, r3
    str r4, [sp, #\at]
    str \high, [sp, #\at + 4]
.endm

// void qnn_m0_six(qnn_six_t *op)
    .global qnn_m0_six
    .type qnn_m0_six, %function
    .thumb_func
qnn_m0_six:
    ENTER
    sub sp, #FRAME
    str r0, [sp, #FRAME_OP]
    ldr r2, [r0, #SKIP]
    ldr r1, [r0, #ZERO]
    str r1, [sp, #FRAME_ZERO]
    cmp r1, #0
    beq 1f
    adr r3, general
    ldr r1, general_size
    b 2f
1:  adr r3, rectified
    ldr r1, rectified_size
2:  muls r1, r2, r1
    adds r3, r3, r1
    str r3, [sp, #FRAME_ENTRY]

row:
    ldr r3, [sp, #FRAME_OP]
    ldr r7, [r3, #X]
    ldr r4, [r3, #X_END]
    mov r12, r4
    ldr r4, [r3, #W]
    ldr r5, [r3, #HALF]
    subs r4, r4, r5
    mov r11, r4
    movs r0, #0
    movs r1, #0
    movs r2, #0
    mov r8, r0
    mov r9, r0
    mov r10, r0
    cmp r5, #0
    bne half
loop:
    PAIR 0
    PAIR 2
half:
    PAIR 4
    PAIR 6, 8
    cmp r7, r12
    bne loop

    SPLIT r0, r8, 0
    SPLIT r1, r9, 8
    SPLIT r2, r10, 16

    ldr r3, [sp, #FRAME_OP]
    mov r4, r11
    str r4, [r3, #W]
    ldr r0, [r3, #BIAS]
    ldm r0!, {r6}
    str r0, [r3, #BIAS]
    ldr r0, [r3, #MULTIPLIER]
    ldr r1, [r0]
    ldr r2, [r3, #STEP]
    ldr r4, [r3, #SHIFT]
    movs r5, #0
    ldrsb r5, [r4, r5]
    rsbs r5, r5, #0
    adds r4, r4, r2
    str r4, [r3, #SHIFT]
    lsls r2, r2, #2
    adds r0, r0, r2
    str r0, [r3, #MULTIPLIER]
    MULTIPLIER_BYTES
    ldr r1, [r3, #Y_STRIDE]
    mov r11, r1
    ldr r1, [r3, #RANGE]
    mov r12, r1
    ldr r1, [r3, #MIN]
    mov lr, r1
    ldr r4, [r3, #Y]
    adds r0, r4, #1
    str r0, [r3, #Y]
    ldr r0, [sp, #FRAME_ENTRY]
    movs r3, #0
    mov pc, r0

    .balign 4
general_size:
    .word (general_end - general) / 6
rectified_size:
    .word (rectified_end - rectified) / 6

// The lowest output is the zero point: negative sums need no more work.
rectified:
    .irp at, 0, 4, 8, 12, 16, 20
    ldr r0, [sp, #\at]
    adds r0, r0, r6
    ble 1f
    HIGH_MUL
    asrs r0, r5
    adcs r0, r3
    STORE
    .endr
rectified_end:
    b next

    .balign 4
general:
    .irp at, 0, 4, 8, 12, 16, 20
    ldr r0, [sp, #\at]
    adds r0, r0, r6
    HIGH_MUL
    asrs r1, r0, #31
    adds r0, r0, r1
    asrs r0, r5
    adcs r0, r3
    ldr r1, [sp, #FRAME_ZERO]
    adds r0, r0, r1
    bmi 1f
    STORE
    .endr
general_end:

next:
    ldr r3, [sp, #FRAME_OP]
    ldr r0, [r3, #ROWS]
    subs r0, r0, #1
    str r0, [r3, #ROWS]
    beq done
    b row
done:
    add sp, #FRAME
    LEAVE

    .ltorg
    .size qnn_m0_six, . - qnn_m0_six

#endif

#if defined(__linux__) // without this a program that the file is linked into has an executable stack
    .section .note.GNU-stack, "", %progbits
#endif
