// Products of rows with activations on ARMv6-M (Cortex-M0+): two MACs for each multiplication.
//
// Activations come in pairs, (a0 << 16) + a2 and (a1 << 16) + a3 of each four. A word of four weights, 128
// added to each, gives u0 | u2 << 16 and u1 | u3 << 16 with one mask. After 128 is taken from each half, the upper half of
// the product is w0 * a0 + w2 * a2 (|.| < 2^15) plus what the lower one, w0 * a2, carries into it. asrs leaves the last
// bit that it shifts out in the carry; adding it rounds to the nearest, and so takes that away again exactly.

#if defined(__ARM_ARCH_6M__)

    .syntax unified
    .cpu cortex-m0plus
    .thumb

// qnn_llama_job_t
#define W 0
#define PAIRS 4
#define SCALES 8
#define OUT 12
#define END 16
#define GROUPS 20
#define BYTES 24
#define BEFORE 28
#define AFTER 32
#define SUMS 36

// Four weights at r0, four activations at r1: r2 += products. r7: 0x00ff00ff, r8: -0x00800080. 16 cycles.
    .macro four
    ldmia r0!, {r3}
    ldmia r1!, {r5, r6}
    lsrs r4, r3, #8
    ands r3, r7
    ands r4, r7
    add r3, r8
    add r4, r8
    muls r3, r5, r3
    muls r4, r6, r4
    asrs r3, r3, #16
    adcs r2, r3
    asrs r4, r4, #16
    adcs r2, r4
    .endm

    .macro enter
    push {r4-r7, lr}
    mov r4, r8
    mov r5, r9
    mov r6, r10
    mov r7, r11
    push {r4-r7}
    .endm

    .macro leave
    pop {r4-r7}
    mov r8, r4
    mov r9, r5
    mov r10, r6
    mov r11, r7
    pop {r4-r7, pc}
    .endm

// Sum r2 of a group: its scale at r12, added to lr. Leaves the job in r6.
    .macro scale
    ldr r6, [sp]
    ldr r5, [r6, #BEFORE]
    asrs r2, r5
    mov r3, r12
    movs r4, #0
    ldrsh r4, [r3, r4]
    adds r3, #2
    mov r12, r3
    uxtb r5, r2
    asrs r2, r2, #8
    muls r2, r4, r2
    muls r5, r4, r5
    asrs r5, r5, #8
    adds r2, r5
    ldr r5, [r6, #AFTER]
    asrs r2, r5
    add lr, r2
    .endm

// Row lr to r11, which advances; the flags say whether it was the last.
    .macro store
    mov r3, r11
    mov r2, lr
    stmia r3!, {r2}
    mov r11, r3
    ldr r5, [r6, #END]
    cmp r3, r5
    .endm

// void qnn_llama_m0_bytes(const qnn_llama_job_t *job)
    .section .text.qnn_llama_m0_bytes, "ax"
    .balign 4
    .global qnn_llama_m0_bytes
    .type qnn_llama_m0_bytes, %function
    .thumb_func
qnn_llama_m0_bytes:
    enter
    sub sp, #8
    str r0, [sp]
    ldr r7, =0x00ff00ff
    ldr r3, =-0x00800080
    mov r8, r3
    ldr r3, [r0, #SCALES]
    mov r12, r3
    ldr r3, [r0, #OUT]
    mov r11, r3
    ldr r3, [r0, #BYTES]
    mov r9, r3
    mov r6, r0
    ldr r0, [r0, #W]
1:  ldr r1, [r6, #PAIRS]
    ldr r3, [r6, #GROUPS]
    str r3, [sp, #4]
    movs r3, #0
    mov lr, r3
2:  mov r3, r9
    add r3, r0
    mov r10, r3
    movs r2, #0
3:  four
    four
    four
    four
    cmp r0, r10
    bne 3b
    scale
    ldr r5, [sp, #4]
    subs r5, #1
    str r5, [sp, #4]
    bne 2b
    store
    bne 1b
    add sp, #8
    leave
    .ltorg
    .size qnn_llama_m0_bytes, . - qnn_llama_m0_bytes

// Two weights of 4 bits and their activations: r2 += both products, in its halves. r7: 0x000f000f.
    .macro two shift, a
    .if \shift
    lsrs r4, r3, #\shift
    .else
    movs r4, r3
    .endif
    ands r4, r7
    muls r4, \a, r4
    adds r2, r4
    .endm

    .macro eight
    ldmia r0!, {r3}
    ldmia r1!, {r5, r6}
    two 0, r5
    two 4, r6
    ldmia r1!, {r5, r6}
    two 8, r5
    two 12, r6
    .endm

// Sixteen weights: neither half has overflown by then (16 * 15 * 127 < 2^15). To r10.
    .macro sixteen
    movs r2, #0
    eight
    eight
    mov r4, r10
    asrs r2, r2, #16
    adcs r4, r2
    mov r10, r4
    .endm

// void qnn_llama_m0_nibbles(const qnn_llama_job_t *job)
    .section .text.qnn_llama_m0_nibbles, "ax"
    .balign 4
    .global qnn_llama_m0_nibbles
    .type qnn_llama_m0_nibbles, %function
    .thumb_func
qnn_llama_m0_nibbles:
    enter
    sub sp, #8
    str r0, [sp]
    ldr r7, =0x000f000f
    ldr r3, [r0, #SCALES]
    mov r12, r3
    ldr r3, [r0, #OUT]
    mov r11, r3
    mov r6, r0
    ldr r0, [r0, #W]
1:  ldr r1, [r6, #PAIRS]
    ldr r3, [r6, #GROUPS]
    str r3, [sp, #4]
    ldr r3, [r6, #SUMS]
    mov r9, r3
    movs r3, #0
    mov lr, r3
2:  mov r3, r9
    ldmia r3!, {r2}
    mov r9, r3
    mov r10, r2
    sixteen
    sixteen
    mov r2, r10
    scale
    ldr r5, [sp, #4]
    subs r5, #1
    str r5, [sp, #4]
    bne 2b
    store
    bne 1b
    add sp, #8
    leave
    .ltorg
    .size qnn_llama_m0_nibbles, . - qnn_llama_m0_nibbles

// void qnn_llama_m0_dots(const uint8_t *rows, const uint32_t *pairs, int32_t *out, uint32_t n,
//     uint32_t bytes, uint32_t stride): n rows of `bytes`, a multiple of 4
    .section .text.qnn_llama_m0_dots, "ax"
    .balign 4
    .global qnn_llama_m0_dots
    .type qnn_llama_m0_dots, %function
    .thumb_func
qnn_llama_m0_dots:
    enter
    mov r9, r1
    mov r11, r2
    mov r12, r3
    ldr r7, =0x00ff00ff
    ldr r3, =-0x00800080
    mov r8, r3
    ldr r3, [sp, #36]
    ldr r4, [sp, #40]
    subs r4, r4, r3
    mov r10, r4
1:  mov r1, r9
    ldr r2, [sp, #36]
    add r2, r0
    mov lr, r2
    movs r2, #0
2:  four
    cmp r0, lr
    bne 2b
    add r0, r10
    mov r3, r11
    stmia r3!, {r2}
    mov r11, r3
    mov r3, r12
    subs r3, #1
    mov r12, r3
    bne 1b
    leave
    .ltorg
    .size qnn_llama_m0_dots, . - qnn_llama_m0_dots

// void qnn_llama_mix(const int8_t *values, uint32_t stride, uint32_t n, const uint32_t *weights, int32_t *out,
//     uint32_t size)
    .section .text.qnn_llama_mix, "ax"
    .balign 4
    .global qnn_llama_mix
    .type qnn_llama_mix, %function
    .thumb_func
qnn_llama_mix:
    enter
    lsls r2, r2, #2
    adds r2, r2, r3
    mov r12, r2
    mov lr, r3
1:  movs r3, #0
    mov r8, r3
    mov r9, r3
    mov r10, r3
    mov r11, r3
    mov r7, lr
    cmp r7, r12
    beq 3f
2:  ldmia r7!, {r2}
    // The position's four values times its weight, added to r8 to r11.
    lsrs r4, r2, #16
    muls r4, r1, r4
    ldr r3, [r0, r4]
    uxth r2, r2
    sxtb r4, r3
    lsls r5, r3, #16
    asrs r5, r5, #24
    lsls r6, r3, #8
    asrs r6, r6, #24
    asrs r3, r3, #24
    muls r4, r2, r4
    muls r5, r2, r5
    muls r6, r2, r6
    muls r3, r2, r3
    add r8, r4
    add r9, r5
    add r10, r6
    add r11, r3
    cmp r7, r12
    bne 2b
3:  ldr r7, [sp, #36]
    mov r3, r8
    mov r4, r9
    mov r5, r10
    mov r6, r11
    stmia r7!, {r3-r6}
    str r7, [sp, #36]
    adds r0, #4
    ldr r3, [sp, #40]
    subs r3, #4
    str r3, [sp, #40]
    bne 1b
    leave
    .size qnn_llama_mix, . - qnn_llama_mix

#endif

#if defined(__linux__) // without this a program that the file is linked into has an executable stack
    .section .note.GNU-stack, "", %progbits
#endif
