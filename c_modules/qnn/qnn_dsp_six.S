// Cortex-M4, M7: six positions of a convolution against rows of weights. Positions are widened to int16
// beforehand, in the order in which SXTB16 widens weights: places 0 and 2, 1 and 3.

#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__)

    .syntax unified
    .thumb
    .text

// qnn_rows_t of qnn_dsp.h
#define X 0
#define W 4
#define ROW 8
#define BIAS 12
#define MULTIPLIER 16
#define SHIFT 20
#define STEP 24
#define Y 28
#define Y_STRIDE 32
#define MIN 36
#define MAX 40
#define ZERO 44
#define ROWS 48
#define SKIP 52

// Frame: the operator, where outputs begin, channels left, weights of the next row, end of those of this.
#define FRAME_OP 0
#define FRAME_ENTRY 4
#define FRAME_ROWS 8
#define FRAME_W 12
#define FRAME_END 16
#define FRAME 20

.macro PRODUCTS first, second
    ldm r0!, {r2, r5, r6, lr}
    smlad \first, r2, r3, \first
    smlad \first, r5, r4, \first
    smlad \second, r6, r3, \second
    smlad \second, lr, r4, \second
.endm

.macro PLACES
    ldr r4, [r1], #4
    sxtb16 r3, r4
    sxtb16 r4, r4, ror #8
    PRODUCTS r7, r8
    PRODUCTS r9, r10
    PRODUCTS r11, r12
.endm

// r2: twice the multiplier, a negative number as it is at least 2^31, so that adding the sum puts it right.
// r3: half of the divisor and the output's zero point times it, r4: the shift.
.macro SCALE acc
    smmlar \acc, \acc, r2, \acc
    add \acc, \acc, \acc, asr #31
    add \acc, r3
    asr \acc, r4
.endm

// void qnn_dsp_six(const qnn_rows_t *op)
    .global qnn_dsp_six
    .type qnn_dsp_six, %function
    .thumb_func
qnn_dsp_six:
    push {r4-r11, lr}
    sub sp, #FRAME
    mov lr, r0
    str r0, [sp, #FRAME_OP]
    ldr r1, [r0, #ROWS]
    str r1, [sp, #FRAME_ROWS]
    ldr r1, [r0, #MIN]
    ldr r2, [r0, #MAX]
    subs r2, r2, r1
    cmp r2, #255
    ite eq
    adreq r3, whole
    adrne r3, limited
    ite eq
    moveq r4, #(whole_end - whole) / 6
    movne r4, #(limited_end - limited) / 6
    ldr r2, [r0, #SKIP]
    mla r3, r2, r4, r3
    orr r3, r3, #1
    str r3, [sp, #FRAME_ENTRY]
    ldr r1, [r0, #W]

row:
    // r1: weights, lr: the operator
    ldr r0, [lr, #BIAS]
    ldr r7, [r0], #4
    str r0, [lr, #BIAS]
    ldr r0, [lr, #X]
    ldr r3, [lr, #ROW]
    add r2, r1, r3
    str r2, [sp, #FRAME_END]
    mov r8, r7
    mov r9, r7
    mov r10, r7
    mov r11, r7
    mov r12, r7
    tst r3, #4
    bne half
loop:
    PLACES
half:
    PLACES
    ldr r2, [sp, #FRAME_END]
    cmp r1, r2
    bne loop

    ldr lr, [sp, #FRAME_OP]
    str r1, [sp, #FRAME_W]
    ldr r0, [lr, #STEP]
    ldr r1, [lr, #SHIFT]
    ldrsb r4, [r1]
    add r1, r0
    str r1, [lr, #SHIFT]
    ldr r1, [lr, #MULTIPLIER]
    ldr r2, [r1]
    add r1, r1, r0, lsl #2
    str r1, [lr, #MULTIPLIER]
    lsl r2, r2, #1
    rsb r4, r4, #0
    ldr r3, [lr, #ZERO]
    lsl r3, r3, #1
    add r3, r3, #1
    sub r0, r4, #1
    lsl r3, r0
    ldr r6, [lr, #Y]
    add r0, r6, #1
    str r0, [lr, #Y]
    ldr r0, [lr, #Y_STRIDE]
    ldr r1, [lr, #MIN]
    ldr r5, [lr, #MAX]
    ldr lr, [sp, #FRAME_ENTRY]
    bx lr

    .balign 4
whole:
    .irp acc, r7, r8, r9, r10, r11, r12
    SCALE \acc
    ssat \acc, #8, \acc
    strb.w \acc, [r6]
    add r6, r0
    .endr
whole_end:
    b next

    .balign 4
limited:
    .irp acc, r7, r8, r9, r10, r11, r12
    SCALE \acc
    cmp \acc, r1
    it lt
    movlt \acc, r1
    cmp \acc, r5
    it gt
    movgt \acc, r5
    strb.w \acc, [r6]
    add r6, r0
    .endr
limited_end:

next:
    ldr r0, [sp, #FRAME_ROWS]
    ldr lr, [sp, #FRAME_OP]
    ldr r1, [sp, #FRAME_W]
    subs r0, #1
    str r0, [sp, #FRAME_ROWS]
    bne row
    add sp, #FRAME
    pop {r4-r11, pc}

    .size qnn_dsp_six, . - qnn_dsp_six

.macro CHANNEL weights, sum
    ldr r9, [\weights], #4
    sxtb16 r8, r9
    sxtb16 r9, r9, ror #8
    smlad \sum, r6, r8, \sum
    smlad \sum, r7, r9, \sum
.endm

// void qnn_dsp_sums(const int8_t *x, const int8_t *w, uint32_t row, uint32_t n, int32_t *sums)
// n places, a positive multiple of 4, of one position against four rows of weights.
    .global qnn_dsp_sums
    .type qnn_dsp_sums, %function
    .thumb_func
qnn_dsp_sums:
    push {r4-r11, lr}
    mov r6, r2
    add r5, r0, r3
    add r2, r1, r6
    add r3, r2, r6
    add r4, r3, r6
    movs r6, #0
    mov r10, r6
    mov r11, r6
    mov r12, r6
    mov lr, r6
places:
    ldr r7, [r0], #4
    sxtb16 r6, r7
    sxtb16 r7, r7, ror #8
    CHANNEL r1, r10
    CHANNEL r2, r11
    CHANNEL r3, r12
    CHANNEL r4, lr
    cmp r0, r5
    bne places
    ldr r0, [sp, #36]
    stm r0, {r10, r11, r12, lr}
    pop {r4-r11, pc}

    .size qnn_dsp_sums, . - qnn_dsp_sums

#endif

#if defined(__linux__) // without this a program that the file is linked into has an executable stack
    .section .note.GNU-stack, "", %progbits
#endif
