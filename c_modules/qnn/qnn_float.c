// Between float32 and int8, without floating point: the same bits on every machine.

#include "qnn_ops.h"

void qnn_dequantise(const qnn_dequantise_t *d, uint32_t from, uint32_t to) {
    uint32_t end = to * QNN_CHUNK < d->size ? to * QNN_CHUNK : d->size;
    for (uint32_t i = from * QNN_CHUNK; i < end; i++) {
        d->y[i] = d->table[d->x[i]];
    }
}

// round(v / scale), as float32 divides and roundf() rounds; beyond +-512 only roughly so, which is all the
// same after clamping. Not a number counts as 0.
static int32_t divided(uint32_t v, uint32_t scale) {
    int exponent = (int)(v >> 23 & 255) - (int)(scale >> 23 & 255);
    uint32_t numerator = (v & 0x7fffff) | 0x800000;
    uint32_t denominator = (scale & 0x7fffff) | 0x800000;
    if ((v >> 23 & 255) == 0) {
        return 0; // zero, or so small that no scale above 2^-100 makes a half of it
    }
    if ((v >> 23 & 255) == 255) {
        return v & 0x7fffff ? 0 : v >> 31 ? -512 : 512;
    }
    if (numerator < denominator) {
        numerator <<= 1;
        exponent--;
    }
    if (exponent < -1 || exponent >= 9) {
        return exponent < -1 ? 0 : v >> 31 ? -512 : 512;
    }
    // 24 bits of the quotient, rounded to nearest even as the division would.
    uint32_t quotient = 0;
    for (int i = 0; i < 24; i++) {
        quotient <<= 1;
        if (numerator >= denominator) {
            numerator -= denominator;
            quotient |= 1;
        }
        numerator <<= 1;
    }
    // What is left has been doubled: it is compared with the denominator as a half is with one.
    quotient += numerator > denominator || (numerator == denominator && (quotient & 1));
    int32_t rounded = (int32_t)((quotient + (1u << (22 - exponent))) >> (23 - exponent));
    return v >> 31 ? -rounded : rounded;
}

void qnn_quantise(const qnn_quantise_t *q, uint32_t from, uint32_t to) {
    uint32_t end = to * QNN_CHUNK < q->size ? to * QNN_CHUNK : q->size;
    for (uint32_t i = from * QNN_CHUNK; i < end; i++) {
        int32_t v = divided(q->x[i], q->scale) + q->zero;
        q->y[i] = (uint8_t)(v < q->min ? q->min : v > q->max ? q->max : v);
    }
}
