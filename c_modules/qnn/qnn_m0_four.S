// Cortex-M0+: one row of input against four channels at a time, two products a multiply.
//
// A word of weights holds one place of four channels, each as w + 128: bytes a, b, c, d. Masked it is a +
// c * 2^16, shifted right by 8 it is b + c * 2^8 + d * 2^16, and a multiply of either by the input adds up
// two channels' products (and c's 256-fold in the other, taken away again). What the 128 add is the same for
// every channel, so it is known beforehand: 128 * 0x00010001 and 128 * 0x00010101 times the sum of the
// inputs. All of it is exact modulo 2^32, whatever overflows in between. Once a chunk's true sums are within
// 16 bits, which the layout's list of chunks promises, they are taken apart. 18 cycles per eight MACs and
// about 37 a chunk.

#if defined(__ARM_ARCH_6M__)

#include "qnn_m0_scale.h"

    .syntax unified
    .cpu cortex-m0plus
    .thumb
    .text

// qnn_four_t of qnn_m0.h
#define X 0
#define SUMS 4
#define W 8
#define CHUNKS 12
#define CHUNKS_STRIDE 16
#define BIAS 20
#define MULTIPLIER 24
#define SHIFT 28
#define STEP 32
#define Y 36
#define MIN 40
#define RANGE 44
#define ZERO 48
#define CHANNELS 52

// Frame: four sums, distance of the sums of inputs, the chunks, the operator.
#define FRAME_SUMS 16
#define FRAME_CHUNK 20
#define FRAME_OP 24
#define FRAME 32

#define LONGEST 16 // pairs of places in a chunk
#define PAIR_SIZE 28

// void qnn_m0_four(qnn_four_t *op)
    .global qnn_m0_four
    .type qnn_m0_four, %function
    .thumb_func
qnn_m0_four:
    ENTER
    sub sp, #FRAME
    str r0, [sp, #FRAME_OP]
    ldr r1, [r0, #SUMS]
    str r1, [sp, #FRAME_SUMS]

four:
    ldr r0, [sp, #FRAME_OP]
    ldr r4, [r0, #X]
    ldr r3, [r0, #W]
    ldr r2, =0x00ff00ff
    ldr r1, [r0, #CHUNKS]
    ldr r5, [r0, #CHUNKS_STRIDE]
    adds r5, r5, r1
    str r5, [r0, #CHUNKS]
    movs r0, #0
    mov r8, r0
    mov r9, r0
    mov r10, r0
    mov r11, r0
    mov r12, r0
    mov lr, r0
    b chunk

    .ltorg

end:
    mov r0, r10
    mov r1, r12
    mov r2, r11
    mov r4, lr
    str r0, [sp, #0]
    str r1, [sp, #4]
    str r2, [sp, #8]
    str r4, [sp, #12]
    ldr r7, [sp, #FRAME_OP]
    str r3, [r7, #W]
    ldr r0, [r7, #RANGE]
    mov r12, r0
    ldr r0, [r7, #MIN]
    mov lr, r0
    ldr r0, [r7, #CHANNELS]
    mov r11, r0
    ldr r0, [r7, #STEP]
    mov r10, r0
    ldr r5, [r7, #Y]
    mov r4, sp
    movs r3, #0

// r3: 0, r4: sums, r5: output, r7: operator, r10: step, r11: channels left
output:
    ldm r4!, {r0}
    ldr r1, [r7, #BIAS]
    ldm r1!, {r2}
    str r1, [r7, #BIAS]
    adds r0, r0, r2
    ldr r1, [r7, #MULTIPLIER]
    ldr r2, [r1]
    mov r6, r10
    lsls r6, r6, #2
    adds r1, r1, r6
    str r1, [r7, #MULTIPLIER]
    uxtb r1, r2
    muls r1, r0, r1
    asrs r1, r1, #8
    lsrs r2, r2, #8
    uxtb r6, r2
    muls r6, r0, r6
    adds r1, r1, r6
    asrs r1, r1, #8
    lsrs r2, r2, #8
    uxtb r6, r2
    muls r6, r0, r6
    adds r1, r1, r6
    asrs r1, r1, #8
    lsrs r2, r2, #8
    muls r0, r2, r0
    adds r0, r0, r1
    asrs r0, r0, #7
    adcs r0, r3
    ldr r1, [r7, #SHIFT]
    ldrsb r2, [r1, r3]
    add r1, r10
    str r1, [r7, #SHIFT]
    rsbs r2, r2, #0
    // A shift by 0 leaves the carry of this addition, which puts back what it took from a negative sum.
    asrs r1, r0, #31
    adds r0, r0, r1
    asrs r0, r2
    adcs r0, r3
    ldr r1, [r7, #ZERO]
    adds r0, r0, r1
    bpl 1f
    movs r0, #0
1:  cmp r0, r12
    ble 2f
    mov r0, r12
2:  add r0, lr
    strb r0, [r5]
    adds r5, r5, #1
    mov r1, r11
    subs r1, r1, #1
    bne 3f
    b done
3:  mov r11, r1
    mov r0, sp
    adds r0, r0, #16
    cmp r4, r0
    bne output
    str r5, [r7, #Y]
    str r1, [r7, #CHANNELS]
    b four

ended:
    b end

// r1: the next byte of the list, LONGEST - pairs, or the end
next:
    ldr r1, [sp, #FRAME_CHUNK]
chunk:
    ldrb r0, [r1]
    adds r1, r1, #1
    str r1, [sp, #FRAME_CHUNK]
    cmp r0, #LONGEST
    bhs ended
    movs r1, #PAIR_SIZE
    muls r0, r1, r0
    add pc, r0
    nop
    .rept LONGEST
    ldm r3!, {r5, r6}
    ldm r4!, {r0, r1}
    lsrs r7, r5, #8
    ands r5, r2
    muls r7, r0, r7
    muls r5, r0, r5
    add r9, r7
    add r8, r5
    lsrs r7, r6, #8
    ands r6, r2
    muls r7, r1, r7
    muls r6, r1, r6
    add r9, r7
    add r8, r6
    .endr
    // What the inputs so far add up to, before and after: the accumulators go on from there.
    ldr r5, [sp, #FRAME_SUMS]
    adds r5, r5, r4
    ldm r5!, {r6, r7}
    mov r0, r8
    subs r0, r0, r6
    mov r8, r6
    sxth r1, r0
    add r10, r1
    subs r0, r0, r1
    asrs r1, r0, #16
    add r11, r1
    asrs r0, r0, #8
    mov r1, r9
    subs r1, r1, r7
    mov r9, r7
    subs r1, r1, r0
    sxth r0, r1
    add r12, r0
    subs r1, r1, r0
    asrs r1, r1, #16
    add lr, r1
    b next

done:
    add sp, #FRAME
    LEAVE

    .ltorg
    .size qnn_m0_four, . - qnn_m0_four

#endif

#if defined(__linux__) // without this a program that the file is linked into has an executable stack
    .section .note.GNU-stack, "", %progbits
#endif
