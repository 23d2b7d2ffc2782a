// Matrix products of int8 rows and weights: the portable kernel.

#include "qnn_dsp.h"
#include "qnn_x86.h"

#if !QNN_DSP
// Four channels share each load of x.
static void four(const qnn_dense_t *d, const int8_t *x, uint32_t channel, int8_t *y) {
    uint32_t row = qnn_row(d);
    const int8_t *w0 = d->weights + (uint32_t)channel * row;
    const int8_t *w1 = w0 + row;
    const int8_t *w2 = w1 + row;
    const int8_t *w3 = w2 + row;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    for (uint32_t i = 0; i < d->depth; i++) {
        int32_t v = x[i];
        a0 += v * w0[i];
        a1 += v * w1[i];
        a2 += v * w2[i];
        a3 += v * w3[i];
    }
    // Input and output of a hostile file may overlap: the four are written when all sums are there.
    y[channel] = qnn_requantise(&d->scale, channel, a0);
    y[channel + 1] = qnn_requantise(&d->scale, channel + 1, a1);
    y[channel + 2] = qnn_requantise(&d->scale, channel + 2, a2);
    y[channel + 3] = qnn_requantise(&d->scale, channel + 3, a3);
}
#endif

void qnn_matmul(const qnn_dense_t *dense, const int8_t *x, uint32_t x_stride, uint32_t positions, int8_t *y,
    uint32_t y_stride, uint32_t from, uint32_t to) {
#if QNN_X86
    int fast = qnn_x86_can(&dense->scale, dense->channels);
#endif
    for (uint32_t p = 0; p < positions; p++) {
        uint32_t channel = from;
#if QNN_X86
        if (fast) {
            channel = qnn_x86_channels(dense, x, y, from, to);
        }
#endif
        for (; to - channel >= 4; channel += 4) {
#if QNN_DSP
            qnn_dsp_four(dense, x, channel, y);
#else
            four(dense, x, channel, y);
#endif
        }
        for (; channel < to; channel++) {
            const int8_t *w = dense->weights + channel * qnn_row(dense);
            int32_t acc = 0;
            for (uint32_t i = 0; i < dense->depth; i++) {
                acc += (int32_t)x[i] * w[i];
            }
            y[channel] = qnn_requantise(&dense->scale, channel, acc);
        }
        x += x_stride;
        y += y_stride;
    }
}
