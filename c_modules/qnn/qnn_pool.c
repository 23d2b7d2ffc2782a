// Pooling.

#include "qnn_ops.h"

typedef struct {
    uint32_t y0, y1, x0, x1;
} window_t;

static void clip(int64_t at, uint32_t kernel, uint32_t size, uint32_t *first, uint32_t *last) {
    int64_t end = at + kernel;
    *first = at <= 0 ? 0 : at < size ? (uint32_t)at : size;
    *last = end <= 0 ? 0 : end < size ? (uint32_t)end : size;
}

static window_t window(const qnn_pool_t *p, uint32_t oy, uint32_t ox) {
    window_t w;
    clip((int64_t)oy * p->stride_h - p->pad_top, p->kernel_h, p->in_h, &w.y0, &w.y1);
    clip((int64_t)ox * p->stride_w - p->pad_left, p->kernel_w, p->in_w, &w.x0, &w.x1);
    return w;
}

void qnn_average_pool(const qnn_pool_t *p, uint32_t from, uint32_t to) {
    for (; from < to; from++) {
        const int8_t *image = p->x + from / p->out_h * p->in_h * p->in_w * p->channels;
        int8_t *y = p->y + from * p->out_w * p->channels;
        for (uint32_t ox = 0; ox < p->out_w; ox++, y += p->channels) {
            window_t w = window(p, from % p->out_h, ox);
            int32_t count = (int32_t)((w.y1 - w.y0) * (w.x1 - w.x0));
            for (uint32_t channel = 0; channel < p->channels; channel++) {
                int32_t acc = 0;
                for (uint32_t iy = w.y0; iy < w.y1; iy++) {
                    const int8_t *x = image + (iy * p->in_w + w.x0) * p->channels + channel;
                    for (uint32_t ix = w.x0; ix < w.x1; ix++, x += p->channels) {
                        acc += *x;
                    }
                }
                if (count > 0) {
                    acc = (acc > 0 ? acc + count / 2 : acc - count / 2) / count;
                }
                y[channel] = qnn_clamp(acc, p->min, p->max);
            }
        }
    }
}

void qnn_max_pool(const qnn_pool_t *p, uint32_t from, uint32_t to) {
    for (; from < to; from++) {
        const int8_t *image = p->x + from / p->out_h * p->in_h * p->in_w * p->channels;
        int8_t *y = p->y + from * p->out_w * p->channels;
        for (uint32_t ox = 0; ox < p->out_w; ox++, y += p->channels) {
            window_t w = window(p, from % p->out_h, ox);
            for (uint32_t channel = 0; channel < p->channels; channel++) {
                int32_t max = INT8_MIN;
                for (uint32_t iy = w.y0; iy < w.y1; iy++) {
                    const int8_t *x = image + (iy * p->in_w + w.x0) * p->channels + channel;
                    for (uint32_t ix = w.x0; ix < w.x1; ix++, x += p->channels) {
                        max = *x > max ? *x : max;
                    }
                }
                y[channel] = qnn_clamp(max, p->min, p->max);
            }
        }
    }
}
