// Cortex-M4, M7 and others with the DSP instructions: two products an instruction, which need int16 pairs.
// Inputs are widened beforehand, six positions at a time; weights as they are used.

#include "qnn_dsp.h"

#if QNN_DSP

#include <string.h>

// Bytes 0 and 2, bytes 1 and 3 of a word, each widened.
static inline uint32_t even(uint32_t v) {
    uint32_t out;
    __asm__("sxtb16 %0, %1" : "=r"(out) : "r"(v));
    return out;
}

static inline uint32_t odd(uint32_t v) {
    uint32_t out;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(out) : "r"(v));
    return out;
}

static inline uint32_t word(const int8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4); // as one load: these processors take it at any address
    return v;
}

int qnn_dsp_can(const qnn_dense_t *d) {
    const qnn_scale_t *s = &d->scale;
    uint32_t n = s->step ? d->channels : 1;
    for (uint32_t i = 0; i < n; i++) {
        if (s->shift[i] >= 0 || s->shift[i] < -20 || s->multiplier[i] < 1 << 30) {
            return 0;
        }
    }
    for (uint32_t i = 0; i < d->channels; i++) {
        if (s->bias[i] > 1 << 28 || s->bias[i] < -(1 << 28)) {
            return 0;
        }
    }
    return d->depth < 1 << 14; // sums below 2^28
}

// One position of the input to every sixth place of `to`: words of four become two of (0, 2) and (1, 3).
static void widen(const int8_t *x, uint32_t depth, uint32_t *to) {
    uint32_t i = 0;
    for (; i + 4 <= depth; i += 4, to += 2 * QNN_DSP_POSITIONS) {
        uint32_t v = word(x + i);
        to[0] = even(v);
        to[1] = odd(v);
    }
    if (i < depth) {
        uint32_t v = 0;
        memcpy(&v, x + i, depth - i);
        to[0] = even(v);
        to[1] = odd(v);
    }
}

// Bytes of a position, and of six that are widened.
static uint32_t position_bytes(const qnn_conv_t *c) {
    return (c->dense.depth + 3) & ~3u;
}

int qnn_dsp_conv_can(const qnn_conv_t *c) {
    uint64_t rows = 2 * QNN_DSP_POSITIONS + (qnn_conv_is_direct(c) ? 0 : 1);
    return c->scratch_len >= rows * position_bytes(c) && qnn_row(&c->dense) % 4 == 0 && qnn_dsp_can(&c->dense);
}

void qnn_dsp_conv(const qnn_conv_t *c, uint32_t from, uint32_t to) {
    const qnn_dense_t *d = &c->dense;
    const qnn_scale_t *s = &d->scale;
    uint32_t *wide = (uint32_t *)c->scratch;
    int8_t *gathered = (int8_t *)c->scratch + 2 * QNN_DSP_POSITIONS * position_bytes(c);
    int direct = qnn_conv_is_direct(c);
    uint32_t row = qnn_row(d);
    while (from < to) {
        uint32_t n = to - from < QNN_DSP_POSITIONS ? to - from : QNN_DSP_POSITIONS;
        for (uint32_t i = 0; i < n; i++) {
            const int8_t *x = c->x + (from + i) * c->in_c;
            if (!direct) {
                qnn_gather(c, from + i, gathered);
                x = gathered;
            }
            widen(x, d->depth, wide + 2 * (QNN_DSP_POSITIONS - n + i));
        }
        qnn_rows_t op = {
            .x = wide,
            .w = d->weights,
            .row = row,
            .bias = s->bias,
            .multiplier = s->multiplier,
            .shift = s->shift,
            .step = s->step,
            .y = c->y + from * c->out_c,
            .y_stride = c->out_c,
            .min = s->min,
            .max = s->max,
            .zero = s->zero,
            .rows = d->channels,
            .skip = QNN_DSP_POSITIONS - n,
        };
        qnn_dsp_six(&op);
        from += n;
    }
}

void qnn_dsp_four(const qnn_dense_t *d, const int8_t *x, uint32_t channel, int8_t *y) {
    uint32_t row = qnn_row(d), i = d->depth & ~3u;
    const int8_t *w = d->weights + channel * row;
    int32_t sums[4] = {0};
    if (i > 0) {
        qnn_dsp_sums(x, w, row, i, sums);
    }
    for (; i < d->depth; i++) {
        for (int k = 0; k < 4; k++) {
            sums[k] += x[i] * w[k * row + i];
        }
    }
    for (int k = 0; k < 4; k++) {
        y[channel + k] = qnn_requantise(&d->scale, channel + k, sums[k]);
    }
}

#endif // QNN_DSP
