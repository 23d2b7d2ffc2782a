// The reference's fixed-point arithmetic, with its double rounding (gemmlowp's
// SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT, each of which rounds).

#ifndef QNN_MATH_H
#define QNN_MATH_H

#include <stdint.h>

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
#if defined(__ARM_ARCH_6M__)
    // Multiplies give 32 bits there, and the compiler's 64 bits take four times as long as what is needed.
    uint32_t a0 = (uint32_t)a & 0xffff, b0 = (uint32_t)b & 0xffff;
    int32_t a1 = a >> 16, b1 = b >> 16;
    int32_t low = a1 * (int32_t)b0 + (int32_t)(a0 * b0 >> 16), mid = (int32_t)a0 * b1;
    uint32_t bits = ((uint32_t)low & 0xffff) + ((uint32_t)mid & 0xffff);
    uint32_t high = (uint32_t)(a1 * b1 + (low >> 16) + (mid >> 16)) + (bits >> 16);
    return (int32_t)((high << 1) + (((bits & 0xffff) + (1 << 14)) >> 15));
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
