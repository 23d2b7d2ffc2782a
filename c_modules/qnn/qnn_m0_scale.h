// What the assembly files for Cortex-M0+ share, most of it from sums to outputs.

// r0 * multiplier / 2^31, rounded: the multiplier's bytes are in r8, r9, r10 and r7, 0 in r3; |r0| < 2^23.
// Leaves the last bit of the shift in the carry, to be added.
.macro HIGH_MUL
    mov r1, r8
    muls r1, r0, r1
    asrs r1, r1, #8
    mov r2, r9
    muls r2, r0, r2
    adds r1, r1, r2
    asrs r1, r1, #8
    mov r2, r10
    muls r2, r0, r2
    adds r1, r1, r2
    asrs r1, r1, #8
    muls r0, r7, r0
    adds r0, r0, r1
    asrs r0, r0, #7
    adcs r0, r3
.endm

// Not more than the range, the lowest value added, to memory.
.macro STORE
    cmp r0, r12
    ble 2f
    mov r0, r12
    b 2f
1:  movs r0, #0
2:  add r0, lr
    strb r0, [r4]
    add r4, r11
.endm

// The bytes of multiplier r1 to where HIGH_MUL has them; changes r2.
.macro MULTIPLIER_BYTES
    uxtb r2, r1
    mov r8, r2
    lsrs r1, r1, #8
    uxtb r2, r1
    mov r9, r2
    lsrs r1, r1, #8
    uxtb r2, r1
    mov r10, r2
    lsrs r7, r1, #8
.endm

// High registers kept on the stack, 24 bytes, below r4-r7 and lr.
.macro ENTER
    push {r4-r7, lr}
    mov r4, r8
    mov r5, r9
    mov r6, r10
    mov r7, r11
    push {r4-r7}
    mov r4, r12
    push {r3, r4}
.endm

.macro LEAVE
    pop {r3, r4}
    mov r12, r4
    pop {r4-r7}
    mov r8, r4
    mov r9, r5
    mov r10, r6
    mov r11, r7
    pop {r4-r7, pc}
.endm
