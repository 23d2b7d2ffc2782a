// ADD, SUB, MUL and copies.

#include <string.h>

#include "qnn_ops.h"

uint64_t qnn_chunks(const qnn_loops_t *l) {
    return (uint64_t)l->n[0] * l->n[1] * l->n[2] * ((l->n[3] + QNN_CHUNK - 1) / QNN_CHUNK);
}

void qnn_chunk(const qnn_loops_t *l, uint32_t unit, qnn_chunk_t *chunk) {
    uint32_t per_row = (l->n[3] + QNN_CHUNK - 1) / QNN_CHUNK;
    uint32_t row = unit / per_row;
    uint32_t i3 = unit % per_row * QNN_CHUNK;
    uint32_t i2 = row % l->n[2];
    uint32_t i1 = row / l->n[2] % l->n[1];
    uint32_t i0 = row / l->n[2] / l->n[1];
    for (int k = 0; k < 2; k++) {
        const uint32_t *s = l->stride[k];
        chunk->at[k] = i0 * s[0] + i1 * s[1] + i2 * s[2] + i3 * s[3];
    }
    chunk->dense = row * l->n[3] + i3;
    chunk->count = l->n[3] - i3 < QNN_CHUNK ? l->n[3] - i3 : QNN_CHUNK;
}

// An input of ADD: (v * 2^left_shift) * multiplier / 2^31 * 2^shift. In all files of ours left_shift is 20
// and the shift not to the left, and then v * multiplier / 2^11 is two products of 32 bits.
typedef struct {
    int32_t zero;
    int32_t multiplier;
    int32_t high; // the multiplier's halves
    int32_t low;
    int shift;
    int left_shift;
} input_t;

static input_t input(const qnn_binary_t *b, int32_t zero, int32_t multiplier, int shift) {
    input_t in = {zero, multiplier, multiplier >> 16, multiplier & 0xffff, shift, b->left_shift};
    return in;
}

static inline int32_t scaled(const input_t *in, int32_t x) {
    int32_t v = x - in->zero;
    if (in->left_shift != 20 || in->shift > 0) {
        return qnn_multiply((int32_t)((uint32_t)v << in->left_shift), in->multiplier, in->shift);
    }
    int32_t product = v * in->high * 32 + ((v * in->low + 1024) >> 11);
    return qnn_divide_pot(product, -in->shift);
}

// A chunk's sums or products to outputs. What a loop needs is in locals: y may be anything's memory.
static void outputs(const qnn_binary_t *b, const int32_t *sums, uint32_t count, int8_t *y) {
    const int32_t multiplier = b->multiplier, zero = b->zero, min = b->min, max = b->max;
    const int left = b->shift > 0 ? b->shift : 0, right = b->shift > 0 ? 0 : -b->shift;
    for (uint32_t i = 0; i < count; i++) {
        int32_t v = qnn_high_mul((int32_t)((uint32_t)sums[i] << left), multiplier);
        y[i] = qnn_clamp(qnn_add_wrap(qnn_divide_pot(v, right), zero), min, max);
    }
}

static void add(const qnn_binary_t *b, uint32_t from, uint32_t to, int subtract) {
    const input_t in1 = input(b, b->zero1, b->multiplier1, b->shift1);
    const input_t in2 = input(b, b->zero2, b->multiplier2, b->shift2);
    const uint32_t step1 = b->loops.stride[0][3], step2 = b->loops.stride[1][3];
    for (; from < to; from++) {
        qnn_chunk_t c;
        qnn_chunk(&b->loops, from, &c);
        const int8_t *x1 = b->x1 + c.at[0];
        const int8_t *x2 = b->x2 + c.at[1];
        int32_t sums[QNN_CHUNK];
        for (uint32_t i = 0; i < c.count; i++, x1 += step1) {
            sums[i] = scaled(&in1, *x1);
        }
        for (uint32_t i = 0; i < c.count; i++, x2 += step2) {
            uint32_t v = (uint32_t)scaled(&in2, *x2);
            sums[i] = (int32_t)((uint32_t)sums[i] + (subtract ? 0 - v : v));
        }
        outputs(b, sums, c.count, b->y + c.dense);
    }
}

void qnn_add(const qnn_binary_t *b, uint32_t from, uint32_t to) {
    add(b, from, to, 0);
}

void qnn_sub(const qnn_binary_t *b, uint32_t from, uint32_t to) {
    add(b, from, to, 1);
}

void qnn_mul(const qnn_binary_t *b, uint32_t from, uint32_t to) {
    const int32_t zero1 = b->zero1, zero2 = b->zero2;
    const uint32_t step1 = b->loops.stride[0][3], step2 = b->loops.stride[1][3];
    for (; from < to; from++) {
        qnn_chunk_t c;
        qnn_chunk(&b->loops, from, &c);
        const int8_t *x1 = b->x1 + c.at[0];
        const int8_t *x2 = b->x2 + c.at[1];
        int32_t products[QNN_CHUNK];
        for (uint32_t i = 0; i < c.count; i++, x1 += step1, x2 += step2) {
            products[i] = (*x1 - zero1) * (*x2 - zero2);
        }
        outputs(b, products, c.count, b->y + c.dense);
    }
}

void qnn_copy(const qnn_copy_t *c, uint32_t from, uint32_t to) {
    uint32_t sx = c->loops.stride[0][3], sy = c->loops.stride[1][3];
    for (; from < to; from++) {
        qnn_chunk_t chunk;
        qnn_chunk(&c->loops, from, &chunk);
        const uint8_t *x = c->x + chunk.at[0];
        uint8_t *y = c->y + chunk.at[1];
        if (c->table != NULL) {
            for (uint32_t i = 0; i < chunk.count; i++, x += sx, y += sy) {
                *y = c->table[*x];
            }
        } else if (sx == 1 && sy == 1) {
            memmove(y, x, chunk.count);
        } else {
            for (uint32_t i = 0; i < chunk.count; i++, x += sx, y += sy) {
                *y = *x;
            }
        }
    }
}
