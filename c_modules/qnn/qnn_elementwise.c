// ADD, SUB, MUL and copies.

#include "qnn_m0.h"
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

static inline int32_t scaled(const qnn_binary_t *b, int32_t v, int32_t multiplier, int shift) {
    if (b->left_shift == 20 && shift <= 0) {
        // (v * 2^20 * multiplier + 2^30) / 2^31: with nine bits of v, two products of 32 bits say it exactly.
        int32_t high = v * (multiplier >> 11) + ((v * (multiplier & 2047) + 1024) >> 11);
        return qnn_divide_pot(high, -shift);
    }
    return qnn_multiply((int32_t)((uint32_t)v << b->left_shift), multiplier, shift);
}

static void add(const qnn_binary_t *b, uint32_t from, uint32_t to, int subtract) {
    for (; from < to; from++) {
        qnn_chunk_t c;
        qnn_chunk(&b->loops, from, &c);
        const int8_t *x1 = b->x1 + c.at[0];
        const int8_t *x2 = b->x2 + c.at[1];
        int8_t *y = b->y + c.dense;
        for (uint32_t i = 0; i < c.count; i++) {
            int32_t v1 = scaled(b, *x1 - b->zero1, b->multiplier1, b->shift1);
            int32_t v2 = scaled(b, *x2 - b->zero2, b->multiplier2, b->shift2);
            int32_t sum = (int32_t)(subtract ? (uint32_t)v1 - (uint32_t)v2 : (uint32_t)v1 + (uint32_t)v2);
            y[i] = qnn_clamp(qnn_add_wrap(qnn_multiply(sum, b->multiplier, b->shift), b->zero), b->min, b->max);
            x1 += b->loops.stride[0][3];
            x2 += b->loops.stride[1][3];
        }
    }
}

void qnn_add(const qnn_binary_t *b, uint32_t from, uint32_t to) {
    add(b, from, to, 0);
}

void qnn_sub(const qnn_binary_t *b, uint32_t from, uint32_t to) {
    add(b, from, to, 1);
}

void qnn_mul(const qnn_binary_t *b, uint32_t from, uint32_t to) {
    for (; from < to; from++) {
        qnn_chunk_t c;
        qnn_chunk(&b->loops, from, &c);
        const int8_t *x1 = b->x1 + c.at[0];
        const int8_t *x2 = b->x2 + c.at[1];
        int8_t *y = b->y + c.dense;
        for (uint32_t i = 0; i < c.count; i++) {
            int32_t product = (*x1 - b->zero1) * (*x2 - b->zero2);
            int32_t v = qnn_multiply(product, b->multiplier, b->shift);
            y[i] = qnn_clamp(qnn_add_wrap(v, b->zero), b->min, b->max);
            x1 += b->loops.stride[0][3];
            x2 += b->loops.stride[1][3];
        }
    }
}

void qnn_copy(const qnn_copy_t *c, uint32_t from, uint32_t to) {
    uint32_t sx = c->loops.stride[0][3], sy = c->loops.stride[1][3];
    for (; from < to; from++) {
        qnn_chunk_t chunk;
        qnn_chunk(&c->loops, from, &chunk);
        const uint8_t *x = c->x + chunk.at[0];
        uint8_t *y = c->y + chunk.at[1];
        for (uint32_t i = 0; i < chunk.count; i++, x += sx, y += sy) {
            *y = c->table ? c->table[*x] : *x;
        }
    }
}
