// What the engine and its kernels agree on: operators as decoded from the file, and the kernels that a
// faster version may replace. Internal to this module.
//
// A kernel works on "units", the smallest pieces that qnn_step() cuts an operator into; which piece that is
// stands at each function. Units may be done in several calls, in order. Tensors are NHWC int8.
//
// Input and output may overlap where a hostile file says so; that gives nonsense, and must not read or
// write outside of the two. So no `restrict` on them, and no memcpy() from one to the other.

#ifndef QNN_KERNELS_H
#define QNN_KERNELS_H

#include <stdint.h>

#include "qnn_math.h"

// How weights lie in the file: the byte `layout` of an operator; docs/model-graph.md. The portable kernels run
// all of them; what the others promise of their weights is for Cortex-M0+.
enum {
    QNN_LAYOUT_PLAIN = 0,    // [out][kernel_h][kernel_w][in], depthwise [kernel_h][kernel_w][channel]
    QNN_LAYOUT_ROWS = 1,     // CONV_2D: plain, rows padded to a multiple of 4
    QNN_LAYOUT_FOURS = 2,    // FULLY_CONNECTED: words of four channels
    QNN_LAYOUT_CHANNELS = 3, // DEPTHWISE_CONV_2D: [channel][kernel_h][kernel_w]
};

// Fast kernels are left out where the portable ones are to be measured or compared with.
#if defined(__ARM_ARCH_6M__) && !defined(QNN_PORTABLE)
#define QNN_M0 (1)
#else
#define QNN_M0 (0)
#endif
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && !defined(QNN_PORTABLE)
#define QNN_DSP (1)
#else
#define QNN_DSP (0)
#endif
// A native module links with nothing that could tell which processor it is.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(QNN_PORTABLE) && !defined(QNN_NATMOD)
#define QNN_X86 (1)
#else
#define QNN_X86 (0)
#endif

// Longest sum of products: 65536 * 128 * 128 = 2^30, so that no accumulator overflows before the bias.
#define QNN_DEPTH_MAX (65536)

// An accumulator to an output: act(zero + requantise(acc + bias)).
// bias has the input's zero point folded in: bias - x_zero * sum(weights of the channel). Kernels add
// x * w as it stands, and places outside of the image count as x_zero.
typedef struct {
    const int32_t *bias;       // [channels]
    const int32_t *multiplier; // [channels], or one when step is 0; 0..2^31 - 1
    const int8_t *shift;       // likewise; -31..30, negative is to the right
    uint32_t step;             // 1: one multiplier for each channel; 0: one for all
    int32_t zero;              // zero point of the output
    int32_t min;               // range of the fused activation, within int8
    int32_t max;
} qnn_scale_t;

// FULLY_CONNECTED and the inner part of CONV_2D: channels x depth weights.
typedef struct {
    const int8_t *weights; // aligned to 4
    qnn_scale_t scale;
    uint32_t depth;
    uint32_t channels;
    int32_t x_zero;
    uint8_t layout;
} qnn_dense_t;

// CONV_2D and DEPTHWISE_CONV_2D.
typedef struct {
    qnn_dense_t dense; // depth: kernel_h * kernel_w * in_c, depthwise kernel_h * kernel_w
    const int8_t *x;   // [batches][in_h][in_w][in_c]
    int8_t *y;         // [batches][out_h][out_w][out_c]
    uint8_t *scratch;  // aligned to 8, part of the arena outside of x and y, free during this operator
    uint32_t scratch_len;
    uint32_t batches, in_h, in_w, in_c, out_h, out_w, out_c;
    uint32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
} qnn_conv_t;

static inline int8_t qnn_requantise(const qnn_scale_t *s, uint32_t channel, int32_t acc) {
    // Wraps where the reference would overflow; only a hostile file gets there.
    acc = (int32_t)((uint32_t)acc + (uint32_t)s->bias[channel]);
    uint32_t i = channel * s->step;
    int32_t v = qnn_multiply(acc, s->multiplier[i], s->shift[i]);
    return qnn_clamp(qnn_add_wrap(v, s->zero), s->min, s->max);
}

// Unit: four channels, in all batches.
void qnn_fully_connected(const qnn_conv_t *c, uint32_t from, uint32_t to);

// y[p * y_stride + c] for positions p < positions, channels from <= c < to;
// x + p * x_stride are dense->depth values each. Layouts: PLAIN, ROWS.
void qnn_matmul(const qnn_dense_t *dense, const int8_t *x, uint32_t x_stride, uint32_t positions, int8_t *y,
    uint32_t y_stride, uint32_t from, uint32_t to);

// Unit: one position of the output, over all channels.
void qnn_conv(const qnn_conv_t *c, uint32_t from, uint32_t to);

// Unit: one row of the output.
void qnn_depthwise(const qnn_conv_t *c, uint32_t from, uint32_t to);

// Bytes of weights that a layout takes, 0: no such layout for that operator. What comes out is checked
// against the file before any kernel runs. FOURS: the least; qnn_fours_valid() knows the rest.
uint64_t qnn_fully_connected_weights(uint8_t layout, uint32_t channels, uint32_t depth);
uint64_t qnn_conv_weights(uint8_t layout, uint32_t channels, uint32_t depth);
uint64_t qnn_depthwise_weights(uint8_t layout, uint32_t channels, uint32_t depth);

// Whether weights in FOURS, of which `size` bytes are there, hold what they should.
int qnn_fours_valid(const uint8_t *weights, uint64_t size, uint32_t channels, uint32_t depth);

// Least scratch that a kernel works with. c->dense, c's sizes and layout are set, its pointers are not.
uint64_t qnn_fully_connected_scratch(const qnn_conv_t *c);
uint64_t qnn_conv_scratch(const qnn_conv_t *c);
uint64_t qnn_depthwise_scratch(const qnn_conv_t *c);

// Bytes from row to row of weights in PLAIN and ROWS.
static inline uint32_t qnn_row(const qnn_dense_t *d) {
    return d->layout == QNN_LAYOUT_ROWS ? (d->depth + 3) & ~3u : d->depth;
}

// The kernel's places first..last - 1 that lie within [0, size) when its first is at `at`.
static inline void qnn_inside(int64_t at, uint32_t dilation, uint32_t kernel, uint32_t size, uint32_t *first,
    uint32_t *last) {
    if (at >= 0 && at + (uint64_t)(kernel - 1) * dilation < size) {
        *first = 0;
        *last = kernel;
        return;
    }
    *first = at >= 0 ? 0 : (uint32_t)((-at + dilation - 1) / dilation);
    *last = at >= size ? 0 : (uint32_t)((size - at + dilation - 1) / dilation);
    if (*last > kernel) {
        *last = kernel;
    }
    if (*first > *last) {
        *first = *last;
    }
}

// The inputs of a position of the output, c->dense.depth bytes.
void qnn_gather(const qnn_conv_t *c, uint32_t position, int8_t *to);

#if QNN_M0
void qnn_m0_fully_connected(const qnn_conv_t *c, uint32_t from, uint32_t to);
void qnn_m0_conv(const qnn_conv_t *c, uint32_t from, uint32_t to);
void qnn_m0_depthwise(const qnn_conv_t *c, uint32_t from, uint32_t to);
int qnn_m0_depthwise_can(const qnn_conv_t *c);
#endif

// Whether the positions of the input are the rows of the product as they lie: 1x1, stride 1, no padding.
static inline int qnn_conv_is_direct(const qnn_conv_t *c) {
    return c->kernel_h == 1 && c->kernel_w == 1 && c->stride_h == 1 && c->stride_w == 1 && c->pad_top == 0
        && c->pad_left == 0 && c->out_h == c->in_h && c->out_w == c->in_w;
}

#endif // QNN_KERNELS_H
