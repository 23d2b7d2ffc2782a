// Cortex-M0+: from operators to the kernels in assembly.

#include "qnn_m0.h"

#if QNN_M0

void qnn_m0_fully_connected(const qnn_conv_t *c, uint32_t from, uint32_t to) {
    const qnn_dense_t *d = &c->dense;
    const qnn_scale_t *s = &d->scale;
    const uint8_t *lists = (const uint8_t *)d->weights + 4;
    uint32_t pairs = qnn_fours_pairs(d->depth), stride = qnn_u32le(lists - 4);
    const uint32_t *words = (const uint32_t *)qnn_fours_words(d->weights, d->channels) + (uint64_t)from * pairs * 2;
    uint32_t first = from * 4, last = to * 4 < d->channels ? to * 4 : d->channels;
    int32_t *x = (int32_t *)c->scratch;
    uint32_t *sums = (uint32_t *)x + 2 * pairs;
    for (uint32_t b = 0; b < c->batches; b++) {
        const int8_t *in = c->x + b * d->depth;
        int32_t sum = 0;
        for (uint32_t i = 0; i < pairs; i++) {
            int32_t v0 = in[2 * i], v1 = 2 * i + 1 < d->depth ? in[2 * i + 1] : 0;
            x[2 * i] = v0;
            x[2 * i + 1] = v1;
            sum += v0 + v1;
            // What the 128 in each byte of the words adds, at bits 0 and 16; at 0, 8 and 16.
            sums[2 * i] = (uint32_t)sum * (128 * 0x00010001u);
            sums[2 * i + 1] = (uint32_t)sum * (128 * 0x00010101u);
        }
        qnn_four_t op = {
            .x = x,
            .sums = (uint32_t)(pairs - 1) * 8,
            .w = words,
            .chunks = lists + from * stride,
            .chunks_stride = stride,
            .bias = s->bias + first,
            .multiplier = s->multiplier + first * s->step,
            .shift = s->shift + first * s->step,
            .step = s->step,
            .y = c->y + b * d->channels + first,
            .min = s->min,
            .range = s->max - s->min,
            .zero = s->zero - s->min,
            .channels = last - first,
        };
        qnn_m0_four(&op);
    }
}

// Two rows of n values to every third pair of words.
static void pack(const int8_t *p, const int8_t *q, uint32_t n, uint32_t rounded, uint32_t *to) {
    uint32_t i = 0;
    for (; i + 2 <= n; i += 2, to += 6) {
        int32_t a = p[i], b = p[i + 1];
        to[0] = (uint32_t)a + ((uint32_t)q[i] << 16);
        to[1] = (uint32_t)b + ((uint32_t)q[i + 1] << 16);
    }
    for (; i < rounded; i += 2, to += 6) {
        to[0] = i < n ? (uint32_t)p[i] + ((uint32_t)q[i] << 16) : 0;
        to[1] = 0;
    }
}

void qnn_m0_conv(const qnn_conv_t *c, uint32_t from, uint32_t to) {
    const qnn_dense_t *d = &c->dense;
    const qnn_scale_t *s = &d->scale;
    uint32_t n = d->depth, row = qnn_row(d);
    uint32_t *packed = (uint32_t *)c->scratch;
    int8_t *rows = (int8_t *)(packed + 3 * row);
    int direct = qnn_conv_is_direct(c);
    while (from < to) {
        uint32_t count = to - from < 6 ? to - from : 6, skip = 6 - count;
        for (uint32_t i = skip & ~1u; i < 6; i += 2) {
            // The first of six stands in for those that do not count.
            uint32_t p = i < skip ? from : from + i - skip, q = from + i + 1 - skip;
            if (direct) {
                pack(c->x + p * n, c->x + q * n, n, row, packed + i);
            } else {
                qnn_gather(c, p, rows);
                qnn_gather(c, q, rows + row);
                pack(rows, rows + row, n, row, packed + i);
            }
        }
        qnn_six_t op = {
            .x = packed,
            .x_end = packed + 3 * row,
            .w = d->weights,
            .half = row & 4,
            .bias = s->bias,
            .multiplier = s->multiplier,
            .shift = s->shift,
            .step = s->step,
            .y = c->y + from * c->out_c,
            .y_stride = c->out_c,
            .min = s->min,
            .range = s->max - s->min,
            .zero = s->zero - s->min,
            .rows = d->channels,
            .skip = skip,
        };
        qnn_m0_six(&op);
        from += count;
    }
}

#endif // QNN_M0
