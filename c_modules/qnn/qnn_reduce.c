// SOFTMAX and MEAN.

#include "qnn_ops.h"

static int leading_zeros(uint32_t v) {
    int n = 0;
    for (; n < 32 && !(v & 0x80000000u); n++) {
        v <<= 1;
    }
    return n;
}

// Products of the reference's fixed point types: Q2.29 * Q0.31 -> Q2.29, and so on.
static int32_t half_sum(int32_t a, int32_t b) {
    int64_t sum = (int64_t)a + b;
    return (int32_t)((sum + (sum >= 0 ? 1 : -1)) / 2);
}

static int32_t saturate_shift(int32_t x, int exponent) {
    int32_t max = INT32_MAX >> exponent;
    return x > max ? INT32_MAX : x < -max - 1 ? INT32_MIN : (int32_t)((uint32_t)x << exponent);
}

// 1 / (1 + x) for 0 <= x < 1 in Q0.31: three steps of Newton's method in Q2.29, as the reference takes them.
static int32_t one_over_one_plus(int32_t x) {
    int32_t half = half_sum(x, INT32_MAX);
    int32_t v = qnn_add_wrap(1515870810, qnn_high_mul(half, -1010580540)); // 48/17 - half * 32/17
    for (int i = 0; i < 3; i++) {
        int32_t rest = (int32_t)((1u << 29) - (uint32_t)qnn_high_mul(v, half));
        v = qnn_add_wrap(v, saturate_shift(qnn_high_mul(v, rest), 2));
    }
    return saturate_shift(v, 1);
}

void qnn_softmax(const qnn_softmax_t *s, uint32_t from, uint32_t to) {
    for (; from < to; from++) {
        const int8_t *x = s->x + from * s->depth;
        int8_t *y = s->y + from * s->depth;
        int32_t max = INT8_MIN;
        for (uint32_t i = 0; i < s->depth; i++) {
            max = x[i] > max ? x[i] : max;
        }
        // Q12.19
        uint32_t sum = 0;
        for (uint32_t i = 0; i < s->depth; i++) {
            sum += (uint32_t)qnn_divide_pot(s->exp[(uint8_t)(max - x[i])], 12);
        }
        int headroom = leading_zeros(sum);
        int shift = 12 - headroom + 23;
        int32_t scale = one_over_one_plus((int32_t)((headroom < 32 ? sum << headroom : 0) - 0x80000000u));
        for (uint32_t i = 0; i < s->depth; i++) {
            // A table entry of 0 stands for a difference that the reference leaves out.
            int32_t e = s->exp[(uint8_t)(max - x[i])];
            int32_t v = shift < 0 || shift > 31 ? 0 : qnn_divide_pot(qnn_high_mul(scale, e), shift);
            y[i] = qnn_clamp(qnn_add_wrap(v, -128), -128, 127);
        }
    }
}

void qnn_mean(const qnn_mean_t *m, uint32_t from, uint32_t to) {
    const uint32_t *n = m->reduced.n, *s = m->reduced.stride[0];
    for (; from < to; from++) {
        uint32_t rest = from, at = 0;
        for (int k = 3; k >= 0; k--) {
            at += rest % m->kept.n[k] * m->kept.stride[0][k];
            rest /= m->kept.n[k];
        }
        int32_t sum = 0;
        for (uint32_t i0 = 0; i0 < n[0]; i0++) {
            for (uint32_t i1 = 0; i1 < n[1]; i1++) {
                for (uint32_t i2 = 0; i2 < n[2]; i2++) {
                    const int8_t *x = m->x + at + i0 * s[0] + i1 * s[1] + i2 * s[2];
                    for (uint32_t i3 = 0; i3 < n[3]; i3++, x += s[3]) {
                        sum += *x;
                    }
                }
            }
        }
        uint32_t low = 0, high = 255;
        while (low < high) {
            uint32_t mid = (low + high) / 2;
            if (sum >= m->threshold[mid]) {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        m->y[from] = (int8_t)((int32_t)low - 128);
    }
}
