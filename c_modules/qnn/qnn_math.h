// The reference's fixed-point arithmetic, with its double rounding (gemmlowp's
// SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT, each of which rounds).

#ifndef QNN_MATH_H
#define QNN_MATH_H

#include <stdint.h>

// Whether products of 64 bits are made of parts: a Cortex-M0+ would call a function for them.
#ifndef QNN_MATH_PARTS
#if defined(__ARM_ARCH_6M__)
#define QNN_MATH_PARTS (1)
#else
#define QNN_MATH_PARTS (0)
#endif
#endif

static inline int32_t qnn_add_wrap(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

static inline int8_t qnn_clamp(int32_t v, int32_t min, int32_t max) {
    return (int8_t)(v < min ? min : v > max ? max : v);
}

// a * b / 2^31, ties up: the reference adds a little less than a half to what is negative, and then divides
// toward zero.
static inline int32_t qnn_high_mul(int32_t a, int32_t b) {
    if (a == INT32_MIN && b == INT32_MIN) {
        return INT32_MAX;
    }
    #if QNN_MATH_PARTS
    int32_t ah = a >> 16, bh = b >> 16;
    uint32_t al = a & 0xffff, bl = b & 0xffff;
    int32_t m1 = ah * (int32_t)bl, m2 = (int32_t)al * bh;
    uint32_t middle = ((al * bl) >> 16) + (m1 & 0xffff) + (m2 & 0xffff);
    uint32_t high = (uint32_t)(ah * bh + (m1 >> 16) + (m2 >> 16)) + (middle >> 16);
    // Bits 30 and 31 of the lower word; one more in bit 30 rounds.
    return (int32_t)(high * 2 + (((middle >> 14 & 3) + 1) >> 1));
    #else
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
    #endif
}

// x / 2^exponent, 0 <= exponent <= 31, ties away from zero.
static inline int32_t qnn_divide_pot(int32_t x, int exponent) {
    int32_t mask = (int32_t)((1u << exponent) - 1);
    int32_t remainder = x & mask;
    int32_t threshold = (mask >> 1) + (x < 0);
    return (x >> exponent) + (remainder > threshold);
}

// x * multiplier / 2^31 * 2^shift; -31 <= shift <= 30.
static inline int32_t qnn_multiply(int32_t x, int32_t multiplier, int shift) {
    if (shift > 0) {
        return qnn_high_mul((int32_t)((uint32_t)x << shift), multiplier);
    }
    return qnn_divide_pot(qnn_high_mul(x, multiplier), -shift);
}

#endif // QNN_MATH_H
