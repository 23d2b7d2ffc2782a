// Cortex-M0+: one channel of a 3x3 depthwise convolution, two rows of the output at a time, and sums to
// outputs. Words of input hold two rows that lie far apart, see qnn_m0_six.S for how two products come out
// of one multiply.

#if defined(__ARM_ARCH_6M__)

#include "qnn_m0_scale.h"

    .syntax unified
    .cpu cortex-m0plus
    .thumb
    .text

// qnn_nine_t of qnn_m0.h
#define X 0
#define W 4
#define SUMS 8
#define COLUMN 12
#define COLUMNS 16
#define LINE 20
#define LINES 24

// Words from one line of the window to the next: QNN_M0_PITCH of qnn_m0.h
#define PITCH 14

// Frame: weights 6 to 8, bytes of input of a line of outputs, the operator, lines left.
#define FRAME_SPAN 12
#define FRAME_OP 16
#define FRAME_LINES 20
#define FRAME 24

.macro TAPS at, next, w, w_next
    ldr r2, [r6, #\at]
    ldr r3, [r6, #\next]
    mov r4, \w
    mov r5, \w_next
    muls r2, r4, r2
    muls r3, r5, r3
    adds r2, r2, r3
    asrs r3, r2, #16
    adcs r0, r3
    adds r1, r1, r2
.endm

// void qnn_m0_nine(qnn_nine_t *op)
    .global qnn_m0_nine
    .type qnn_m0_nine, %function
    .thumb_func
qnn_m0_nine:
    ENTER
    sub sp, #FRAME
    str r0, [sp, #FRAME_OP]
    ldr r1, [r0, #W]
    movs r2, #0
    .irp reg, r8, r9, r10, r11, r12, lr
    ldrsb r3, [r1, r2]
    mov \reg, r3
    adds r2, r2, #1
    .endr
    .irp at, 0, 4, 8
    ldrsb r3, [r1, r2]
    str r3, [sp, #\at]
    adds r2, r2, #1
    .endr
    ldr r1, [r0, #COLUMN]
    ldr r2, [r0, #COLUMNS]
    muls r2, r1, r2
    str r2, [sp, #FRAME_SPAN]
    ldr r1, [r0, #LINES]
    ldr r6, [r0, #X]
    ldr r7, [r0, #SUMS]
line:
    str r1, [sp, #FRAME_LINES]
    ldr r2, [sp, #FRAME_SPAN]
    adds r2, r2, r6
    push {r2} // the frame begins 4 higher until the line's end
column:
    movs r0, #0
    movs r1, #0
    TAPS 0, 4, r8, r9
    TAPS 8, (4 * PITCH), r10, r11
    TAPS (4 * PITCH + 4), (4 * PITCH + 8), r12, lr
    ldr r2, [r6, #8 * PITCH]
    ldr r3, [r6, #8 * PITCH + 4]
    ldr r4, [sp, #4]
    ldr r5, [sp, #8]
    muls r2, r4, r2
    muls r3, r5, r3
    adds r2, r2, r3
    asrs r3, r2, #16
    adcs r0, r3
    adds r1, r1, r2
    ldr r2, [r6, #8 * PITCH + 8]
    ldr r4, [sp, #12]
    muls r2, r4, r2
    asrs r3, r2, #16
    adcs r0, r3
    adds r1, r1, r2
    lsls r2, r0, #16
    subs r1, r1, r2
    stm r7!, {r0, r1} // of upper halves, of lower halves
    ldr r3, [sp, #4 + FRAME_OP]
    ldr r2, [r3, #COLUMN]
    adds r6, r6, r2
    ldr r2, [sp, #0]
    cmp r6, r2
    bne column
    pop {r2}
    ldr r3, [sp, #FRAME_OP]
    ldr r2, [r3, #LINE]
    adds r6, r6, r2
    ldr r1, [sp, #FRAME_LINES]
    subs r1, r1, #1
    bne line
    add sp, #FRAME
    LEAVE

    .size qnn_m0_nine, . - qnn_m0_nine

// qnn_outputs_t of qnn_m0.h
#define OUT_SUMS 0
#define OUT_COUNT 4
#define OUT_BIAS 8
#define OUT_MULTIPLIER 12
#define OUT_SHIFT 16
#define OUT_Y 20
#define OUT_Y_STRIDE 24
#define OUT_MIN 28
#define OUT_RANGE 32
#define OUT_ZERO 36

// void qnn_m0_outputs(const qnn_outputs_t *op): every other word from `sums` on is a sum of one channel
    .global qnn_m0_outputs
    .type qnn_m0_outputs, %function
    .thumb_func
qnn_m0_outputs:
    ENTER
    sub sp, #16
    ldr r1, [r0, #OUT_MULTIPLIER]
    MULTIPLIER_BYTES
    ldr r1, [r0, #OUT_BIAS]
    str r1, [sp, #0]
    ldr r1, [r0, #OUT_ZERO]
    str r1, [sp, #4]
    ldr r6, [r0, #OUT_SUMS]
    ldr r2, [r0, #OUT_COUNT]
    lsls r2, r2, #3
    adds r2, r2, r6
    str r2, [sp, #8]
    ldr r5, [r0, #OUT_SHIFT]
    ldr r4, [r0, #OUT_Y]
    ldr r2, [r0, #OUT_Y_STRIDE]
    mov r11, r2
    ldr r2, [r0, #OUT_RANGE]
    mov r12, r2
    ldr r2, [r0, #OUT_MIN]
    mov lr, r2
    movs r3, #0
    cmp r1, #0
    bne general

// The lowest output is the zero point: negative sums need no more work.
rectified:
    ldr r0, [r6]
    adds r6, r6, #8
    ldr r1, [sp, #0]
    adds r0, r0, r1
    ble 1f
    HIGH_MUL
    asrs r0, r5
    adcs r0, r3
    STORE
    ldr r1, [sp, #8]
    cmp r6, r1
    bne rectified
    b outputs_done

general:
    ldr r0, [r6]
    adds r6, r6, #8
    ldr r1, [sp, #0]
    adds r0, r0, r1
    HIGH_MUL
    asrs r1, r0, #31
    adds r0, r0, r1
    asrs r0, r5
    adcs r0, r3
    ldr r1, [sp, #4]
    adds r0, r0, r1
    bmi 1f
    STORE
    ldr r1, [sp, #8]
    cmp r6, r1
    bne general
outputs_done:
    add sp, #16
    LEAVE

    .size qnn_m0_outputs, . - qnn_m0_outputs

#endif

#if defined(__linux__) // without this a program that the file is linked into has an executable stack
    .section .note.GNU-stack, "", %progbits
#endif
