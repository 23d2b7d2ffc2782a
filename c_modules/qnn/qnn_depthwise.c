// Depthwise convolution: the portable kernel.

#include "qnn_dsp.h"
#include "qnn_x86.h"

// Channels whose sums are kept at a time.
#define BLOCK (16)

void qnn_depthwise(const qnn_conv_t *c, uint32_t from, uint32_t to) {
#if QNN_DSP
    if (qnn_dsp_depthwise_can(c)) {
        qnn_dsp_depthwise(c, from, to);
        return;
    }
#endif
#if QNN_M0
    if (qnn_m0_depthwise_can(c)) {
        qnn_m0_depthwise(c, from, to);
        return;
    }
#endif
    uint32_t multiplier = c->out_c / c->in_c;
    int by_channel = c->dense.layout == QNN_LAYOUT_CHANNELS;
    uint32_t step = by_channel ? c->dense.depth : 1, place = by_channel ? 1 : c->out_c;
#if QNN_X86
    int fast = multiplier == 1 && !by_channel && qnn_x86_can(&c->dense.scale, c->out_c);
#endif
    for (; from < to; from++) {
        uint32_t oy = from % c->out_h;
        const int8_t *image = c->x + from / c->out_h * c->in_h * c->in_w * c->in_c;
        int8_t *y = c->y + from * c->out_w * c->out_c;
        int64_t top = (int64_t)oy * c->stride_h - c->pad_top;
        uint32_t y0, y1;
        qnn_inside(top, c->dilation_h, c->kernel_h, c->in_h, &y0, &y1);
        for (uint32_t ox = 0; ox < c->out_w; ox++, y += c->out_c) {
            int64_t left = (int64_t)ox * c->stride_w - c->pad_left;
            uint32_t x0, x1;
            qnn_inside(left, c->dilation_w, c->kernel_w, c->in_w, &x0, &x1);
            for (uint32_t channel = 0; channel < c->out_c; channel += BLOCK) {
                uint32_t n = c->out_c - channel < BLOCK ? c->out_c - channel : BLOCK;
#if QNN_X86
                if (fast && n == BLOCK) {
                    int64_t right = (int64_t)c->dilation_w * c->in_c, down = (int64_t)c->dilation_h * c->in_w * c->in_c;
                    qnn_window_t at = {image + (top * c->in_w + left) * c->in_c, down, right, y0, y1, x0, x1};
                    qnn_x86_depthwise(c, &at, channel, y + channel);
                    continue;
                }
#endif
                int32_t acc[BLOCK] = {0};
                for (uint32_t ky = 0; ky < c->kernel_h; ky++) {
                    for (uint32_t kx = 0; kx < c->kernel_w; kx++) {
                        const int8_t *w = c->dense.weights + (ky * c->kernel_w + kx) * place + channel * step;
                        if (ky < y0 || ky >= y1 || kx < x0 || kx >= x1) {
                            for (uint32_t i = 0; i < n; i++) {
                                acc[i] += c->dense.x_zero * w[i * step];
                            }
                            continue;
                        }
                        uint32_t iy = (uint32_t)(top + (int64_t)ky * c->dilation_h);
                        uint32_t ix = (uint32_t)(left + (int64_t)kx * c->dilation_w);
                        const int8_t *x = image + (iy * c->in_w + ix) * c->in_c;
                        if (multiplier == 1) {
                            for (uint32_t i = 0; i < n; i++) {
                                acc[i] += (int32_t)x[channel + i] * w[i * step];
                            }
                        } else {
                            for (uint32_t i = 0; i < n; i++) {
                                acc[i] += (int32_t)x[(channel + i) / multiplier] * w[i * step];
                            }
                        }
                    }
                }
                for (uint32_t i = 0; i < n; i++) {
                    y[channel + i] = qnn_requantise(&c->dense.scale, channel + i, acc[i]);
                }
            }
        }
    }
}
