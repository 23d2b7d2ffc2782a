// Cortex-M4, M7: depthwise convolutions of 3x3 windows, channel by channel. The part of the input that some
// rows of the output need is spread into int16, so that two places of the window are one word.

#include "qnn_dsp.h"

#if QNN_DSP

#include <string.h>

#define WINDOW (3)

// int16 of a line of the plane: what the outputs of a row see, and one more that is read with the last.
static uint32_t pitch(const qnn_conv_t *c) {
    return ((c->out_w - 1) * c->stride_w + WINDOW + 2) & ~1u;
}

static uint64_t plane_bytes(const qnn_conv_t *c, uint32_t rows) {
    return ((uint64_t)(rows - 1) * c->stride_h + WINDOW) * pitch(c) * 2;
}

// And the sums of those rows of the output.
static uint64_t scratch_bytes(const qnn_conv_t *c, uint32_t rows) {
    return plane_bytes(c, rows) + 4 * (uint64_t)rows * c->out_w;
}

int qnn_dsp_depthwise_can(const qnn_conv_t *c) {
    return c->kernel_h == WINDOW && c->kernel_w == WINDOW && c->dilation_h == 1 && c->dilation_w == 1
        && (c->in_h | c->in_w | c->out_h | c->out_w | c->stride_h | c->stride_w | c->pad_top | c->pad_left) < 32768
        && c->scratch_len >= scratch_bytes(c, 1) && qnn_dsp_can(&c->dense);
}

// The plane of some rows of the output, from the input's row `top` on, which may lie outside.
typedef struct {
    const qnn_conv_t *c;
    int16_t *plane;
    int32_t top;
    int32_t first, last; // columns of the plane that lie within the image
    uint32_t pitch, rows, lines;
} plane_t;

static plane_t plane_of(const qnn_conv_t *c, uint32_t row, uint32_t rows) {
    int32_t left = (int32_t)c->pad_left, width = (int32_t)pitch(c), right = left + (int32_t)c->in_w;
    plane_t p = {
        .c = c,
        .plane = (int16_t *)c->scratch,
        .top = (int32_t)(row * c->stride_h) - (int32_t)c->pad_top,
        .first = left < width ? left : width,
        .last = right < width ? right : width,
        .pitch = (uint32_t)width,
        .rows = rows,
        .lines = (rows - 1) * c->stride_h + WINDOW,
    };
    // Places outside of the image stay as they are for all channels.
    int16_t *end = p.plane + p.lines * p.pitch;
    for (int16_t *to = p.plane; to < end; to++) {
        *to = (int16_t)c->dense.x_zero;
    }
    return p;
}

// One channel's part of the image.
static void spread(const plane_t *p, const int8_t *x) {
    uint32_t step = p->c->in_c, line = p->c->in_w * step, n = (uint32_t)(p->last - p->first);
    int32_t y = p->top, in_h = (int32_t)p->c->in_h;
    int16_t *to = p->plane + p->first, *end = p->plane + p->lines * p->pitch;
    if (y < 0) {
        // With more padding than lines, `to` would go far beyond the plane.
        if (-y >= (int32_t)p->lines) {
            return;
        }
        to -= y * (int32_t)p->pitch;
        y = 0;
    }
    x += (uint32_t)y * line;
    for (; to < end && y < in_h; y++, x += line, to += p->pitch) {
        const int8_t *from = x;
        for (int16_t *at = to; at < to + n; from += step) {
            *at++ = *from;
        }
    }
}

static inline uint32_t two(const int16_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static inline uint32_t pair(int32_t low, int32_t high) {
    return ((uint32_t)low & 0xffff) | (uint32_t)high << 16;
}

// All sums of one channel; that alone uses up the registers.
static int32_t *add_up(const plane_t *p, const uint32_t *w, int32_t *sums) {
    uint32_t w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], w4 = w[4], w5 = w[5];
    uint32_t step = p->c->stride_w, out_w = p->c->out_w, down = p->c->stride_h * p->pitch;
    const int16_t *line = p->plane;
    for (uint32_t n = p->rows; n > 0; n--, line += down) {
        const int16_t *x = line, *x1 = x + p->pitch, *x2 = x1 + p->pitch;
        for (int32_t *end = sums + out_w; sums < end;) {
            int32_t a = qnn_smuad(two(x), w0);
            a = qnn_smlad(two(x + 2), w1, a);
            a = qnn_smlad(two(x1), w2, a);
            a = qnn_smlad(two(x1 + 2), w3, a);
            a = qnn_smlad(two(x2), w4, a);
            *sums++ = qnn_smlad(two(x2 + 2), w5, a);
            x += step;
            x1 += step;
            x2 += step;
        }
    }
    return sums;
}

// One channel's sums to outputs.
static void outputs(const qnn_scale_t *s, uint32_t channel, const int32_t *sums, const int32_t *end, int8_t *y,
    uint32_t y_stride) {
    uint32_t i = channel * s->step;
    int32_t bias = s->bias[channel], multiplier = s->multiplier[i], shift = -s->shift[i];
    int32_t half = (2 * s->zero + 1) << (shift - 1), min = s->min, max = s->max;
    if (max - min == 255) {
        for (; sums < end; y += y_stride) {
            int32_t v = qnn_smmulr(*sums++ + bias, multiplier);
            *y = (int8_t)qnn_ssat8((v + (v >> 31) + half) >> shift);
        }
    }
    for (; sums < end; y += y_stride) {
        int32_t v = qnn_smmulr(*sums++ + bias, multiplier);
        v = (v + (v >> 31) + half) >> shift;
        *y = qnn_clamp(v, min, max);
    }
}

void qnn_dsp_depthwise(const qnn_conv_t *c, uint32_t from, uint32_t to) {
    uint32_t multiplier = c->out_c / c->in_c;
    int by_channel = c->dense.layout == QNN_LAYOUT_CHANNELS;
    uint32_t step = by_channel ? c->dense.depth : 1, place = by_channel ? 1 : c->out_c;
    uint32_t most = 1;
    while (most < c->out_h && scratch_bytes(c, most + 1) <= c->scratch_len) {
        most++;
    }
    while (from < to) {
        uint32_t image = from / c->out_h, first = from % c->out_h, rows = c->out_h - first;
        rows = rows < to - from ? rows : to - from;
        rows = rows < most ? rows : most;
        plane_t p = plane_of(c, first, rows);
        int32_t *sums = (int32_t *)(c->scratch + plane_bytes(c, rows));
        const int8_t *x = c->x + image * c->in_h * c->in_w * c->in_c;
        int8_t *y = c->y + from * c->out_w * c->out_c;
        for (uint32_t channel = 0; channel < c->out_c; channel++) {
            if (channel % multiplier == 0) {
                spread(&p, x + channel / multiplier);
            }
            uint32_t w[2 * WINDOW];
            const int8_t *v = c->dense.weights + channel * step;
            for (int i = 0; i < WINDOW; i++, v += WINDOW * place) {
                w[2 * i] = pair(v[0], v[place]);
                w[2 * i + 1] = pair(v[2 * place], 0);
            }
            int32_t *end = add_up(&p, w, sums);
            outputs(&c->dense.scale, channel, sums, end, y + channel, c->out_c);
        }
        from += rows;
    }
}

#endif // QNN_DSP
