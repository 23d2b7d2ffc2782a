// What kernels for processors with DSP instructions share.

#ifndef QNN_DSP_H
#define QNN_DSP_H

#include "qnn_kernels.h"

// Ports build for size, which makes loops in C half again as slow.
#if (QNN_M0 || QNN_DSP) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O2")
#endif

#if QNN_DSP

#define QNN_DSP_POSITIONS (6)

// Whether sums and shifts of an operator are such as the functions below are right for.
int qnn_dsp_can(const qnn_dense_t *d);

// Each of these two does what the function does that it is named for; can: there is the scratch memory.
int qnn_dsp_conv_can(const qnn_conv_t *c);
void qnn_dsp_conv(const qnn_conv_t *c, uint32_t from, uint32_t to);

int qnn_dsp_depthwise_can(const qnn_conv_t *c);
void qnn_dsp_depthwise(const qnn_conv_t *c, uint32_t from, uint32_t to);

// Four channels of one position, from `channel` on.
void qnn_dsp_four(const qnn_dense_t *d, const int8_t *x, uint32_t channel, int8_t *y);

// Six positions against rows of weights; qnn_dsp_six.S has the offsets. Pointers move as rows are done.
typedef struct {
    const uint32_t *x; // for each four places, 6 times (places 0 and 2, places 1 and 3)
    const int8_t *w;
    uint32_t row; // bytes, a multiple of 4
    const int32_t *bias;
    const int32_t *multiplier; // at least 2^30
    const int8_t *shift;       // -20..-1
    uint32_t step;             // of multiplier and shift
    int8_t *y;                 // first channel of the first position that counts
    uint32_t y_stride;
    int32_t min;
    int32_t max;
    int32_t zero;
    uint32_t rows;
    uint32_t skip; // 0..5: this many positions at the beginning do not count
} qnn_rows_t;

void qnn_dsp_six(qnn_rows_t *op);
void qnn_dsp_sums(const int8_t *x, const int8_t *w, uint32_t row, uint32_t n, int32_t *sums);

static inline int32_t qnn_smlad(uint32_t a, uint32_t b, int32_t sum) {
    int32_t out;
    __asm__("smlad %0, %1, %2, %3" : "=r"(out) : "r"(a), "r"(b), "r"(sum));
    return out;
}

static inline int32_t qnn_smuad(uint32_t a, uint32_t b) {
    int32_t out;
    __asm__("smuad %0, %1, %2" : "=r"(out) : "r"(a), "r"(b));
    return out;
}

// Within int8.
static inline int32_t qnn_ssat8(int32_t v) {
    int32_t out;
    __asm__("ssat %0, #8, %1" : "=r"(out) : "r"(v));
    return out;
}

// (sum * multiplier + 2^30) / 2^31, |sum| < 2^30.
static inline int32_t qnn_smmulr(int32_t sum, int32_t multiplier) {
    int32_t out;
    __asm__("smmulr %0, %1, %2" : "=r"(out) : "r"(sum * 2), "r"(multiplier));
    return out;
}

#endif // QNN_DSP

#endif // QNN_DSP_H
