// Convolution as a matrix product: the input under the kernel is gathered into rows, a few positions of the
// output at a time.

#include <string.h>

#include "qnn_dsp.h"

// Rows begin at multiples of 4.
static uint32_t row_stride(const qnn_conv_t *c) {
    return (c->dense.depth + 3) & ~3u;
}

uint64_t qnn_conv_scratch(const qnn_conv_t *c) {
    uint64_t row = ((uint64_t)c->dense.depth + 3) & ~3u;
    uint64_t rows = qnn_conv_is_direct(c) ? 0 : 1;
    // Six positions, widened two to a word, and the two that are gathered for it.
    return row * (c->dense.layout == QNN_LAYOUT_ROWS ? 12 + 2 * rows : rows);
}

// Windows of a few bytes are not worth a call.
static inline int8_t *copy(int8_t *to, const int8_t *from, uint32_t n) {
    if (n > 16) {
        memcpy(to, from, n);
        return to + n;
    }
    while (n-- > 0) {
        *to++ = *from++;
    }
    return to;
}

static inline int8_t *fill(int8_t *to, int8_t value, uint32_t n) {
    while (n-- > 0) {
        *to++ = value;
    }
    return to;
}

void qnn_gather(const qnn_conv_t *c, uint32_t position, int8_t *to) {
    uint32_t ox = position % c->out_w;
    uint32_t oy = position / c->out_w % c->out_h;
    const int8_t *image = c->x + position / c->out_w / c->out_h * c->in_h * c->in_w * c->in_c;
    int64_t y = (int64_t)oy * c->stride_h - c->pad_top;
    int64_t x = (int64_t)ox * c->stride_w - c->pad_left;
    int8_t zero = (int8_t)c->dense.x_zero;
    uint32_t n = c->in_c, y0, y1, x0, x1;
    qnn_inside(y, c->dilation_h, c->kernel_h, c->in_h, &y0, &y1);
    qnn_inside(x, c->dilation_w, c->kernel_w, c->in_w, &x0, &x1);
    uint32_t before = x0 * n, within = (x1 - x0) * n, after = (c->kernel_w - x1) * n;
    uint32_t down = c->dilation_h * c->in_w * n, right = c->dilation_w * n;
    const int8_t *line = image;
    if (y0 < y1 && x0 < x1) {
        line += (uint32_t)(y + (int64_t)y0 * c->dilation_h) * c->in_w * n;
        line += (uint32_t)(x + (int64_t)x0 * c->dilation_w) * n;
    }
    to = fill(to, zero, y0 * c->kernel_w * n);
    for (uint32_t k = y0; k < y1; k++, line += down) {
        to = fill(to, zero, before);
        if (c->dilation_w == 1) {
            to = copy(to, line, within);
        } else {
            const int8_t *from = line;
            for (uint32_t i = x0; i < x1; i++, from += right) {
                to = copy(to, from, n);
            }
        }
        to = fill(to, zero, after);
    }
    fill(to, zero, (c->kernel_h - y1) * c->kernel_w * n);
}

void qnn_conv(const qnn_conv_t *c, uint32_t from, uint32_t to) {
#if QNN_DSP
    if (qnn_dsp_conv_can(c)) {
        qnn_dsp_conv(c, from, to);
        return;
    }
#endif
#if QNN_M0
    if (c->dense.layout == QNN_LAYOUT_ROWS) {
        qnn_m0_conv(c, from, to);
        return;
    }
#endif
    if (qnn_conv_is_direct(c)) {
        qnn_matmul(&c->dense, c->x + from * c->in_c, c->in_c, to - from, c->y + from * c->out_c, c->out_c,
            0, c->out_c);
        return;
    }
    uint32_t stride = row_stride(c);
    uint32_t rows = c->scratch_len / stride;
    int8_t *scratch = (int8_t *)c->scratch;
    while (from < to) {
        uint32_t n = to - from < rows ? to - from : rows;
        for (uint32_t i = 0; i < n; i++) {
            qnn_gather(c, from + i, scratch + i * stride);
        }
        qnn_matmul(&c->dense, scratch, stride, n, c->y + from * c->out_c, c->out_c, 0, c->out_c);
        from += n;
    }
}
