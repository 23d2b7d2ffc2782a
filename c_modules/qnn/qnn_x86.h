// What kernels for x86-64 offer the portable ones, which do the rest.

#ifndef QNN_X86_H
#define QNN_X86_H

#include "qnn_kernels.h"

#if QNN_X86

// Whether this processor and these shifts can be served.
int qnn_x86_can(const qnn_scale_t *s, uint32_t channels);

// One position, channels from..to - 1 as far as they come in eights; returns the first that is left. Layouts:
// PLAIN, ROWS.
uint32_t qnn_x86_channels(const qnn_dense_t *d, const int8_t *x, int8_t *y, uint32_t from, uint32_t to);

// A place of the window over the input of a depthwise convolution.
typedef struct {
    const int8_t *x; // where place (0, 0) is, or would be
    int64_t down, right; // bytes to the next one
    uint32_t y0, y1, x0, x1; // places that lie inside
} qnn_window_t;

// 16 channels of one position. Layout: PLAIN, as many channels in as out.
void qnn_x86_depthwise(const qnn_conv_t *c, const qnn_window_t *at, uint32_t channel, int8_t *y);

#endif // QNN_X86

#endif // QNN_X86_H
