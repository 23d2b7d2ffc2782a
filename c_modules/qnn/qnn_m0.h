// Weights laid out for Cortex-M0+; its kernels in assembly and what they share with the C around them.

#ifndef QNN_M0_H
#define QNN_M0_H

#include "qnn_kernels.h"

// Ports build for size, which makes loops in C half again as slow.
#if (QNN_M0 || QNN_DSP) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O2")
#endif

// FOURS: a u32 `stride`; for each four channels `stride` bytes, a list of chunks; padding to a multiple of 4;
// for each four channels a word per place, the depth made even: (channel's weight + 128) in its four bytes. A
// chunk of n pairs of places is QNN_FOURS_CHUNK - n in the list, which ends with a larger number.
#define QNN_FOURS_CHUNK (16)

static inline uint32_t qnn_fours_pairs(uint32_t depth) {
    return (depth + 1) / 2;
}

static inline uint32_t qnn_u32le(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline const uint8_t *qnn_fours_words(const int8_t *weights, uint32_t channels) {
    const uint8_t *p = (const uint8_t *)weights;
    return p + 4 + (((channels + 3) / 4 * qnn_u32le(p) + 3) & ~3u);
}

// Least scratch of CHANNELS: three lines of input and two of sums, of one line of the output.
#define QNN_M0_DEPTHWISE_SCRATCH (3 * 4 * QNN_M0_PITCH + 2 * 4 * QNN_M0_PITCH)

// Six positions against rows of weights; qnn_m0_six.S has the offsets. Pointers move as rows are done.
typedef struct {
    const uint32_t *x; // packed: for each pair of places 3 times (place, next place), a word two positions
    const uint32_t *x_end;
    const int8_t *w; // rows of a multiple of 4 weights
    uint32_t half;   // 4 when a row's length is an odd multiple of 4, else 0
    const int32_t *bias;
    const int32_t *multiplier;
    const int8_t *shift; // -31..-1
    uint32_t step;       // of multiplier and shift
    int8_t *y;           // first channel of the first position that counts
    uint32_t y_stride;
    int32_t min;
    int32_t range; // max - min
    int32_t zero;  // zero point - min
    uint32_t rows;
    uint32_t skip; // 0..5: this many positions at the beginning do not count
} qnn_six_t;

void qnn_m0_six(qnn_six_t *op);

// One row of input against channels, four at a time; qnn_m0_four.S has the offsets.
typedef struct {
    const int32_t *x; // of an even number of places
    uint32_t sums;    // bytes from one pair of x to what precedes it: see qnn_m0.c
    const uint32_t *w;
    const uint8_t *chunks;
    uint32_t chunks_stride; // of four channels
    const int32_t *bias;
    const int32_t *multiplier;
    const int8_t *shift; // -31..-1
    uint32_t step;
    int8_t *y;
    int32_t min;
    int32_t range; // max - min
    int32_t zero;  // zero point - min
    uint32_t channels; // at least 1
} qnn_four_t;

void qnn_m0_four(qnn_four_t *op);

// 3x3 windows of one channel; qnn_m0_nine.S has the offsets of this and the next.
#define QNN_M0_PITCH (14) // words from line to line of x

typedef struct {
    const uint32_t *x; // the input's lines, a word two places
    const int8_t *w;   // 9
    int32_t *sums;     // out: two for each output word, that of the words' upper halves first
    uint32_t column;   // bytes of x from one output to the next
    uint32_t columns;
    uint32_t line; // bytes of x from the end of a line of outputs to the next
    uint32_t lines;
} qnn_nine_t;

void qnn_m0_nine(const qnn_nine_t *op);

// Sums of one channel, every other word, to outputs.
typedef struct {
    const int32_t *sums;
    uint32_t count; // at least 1
    int32_t bias;
    int32_t multiplier;
    int32_t shift; // to the right, 1..31
    int8_t *y;
    uint32_t y_stride;
    int32_t min;
    int32_t range; // max - min
    int32_t zero;  // zero point - min
} qnn_outputs_t;

void qnn_m0_outputs(const qnn_outputs_t *op);

#endif // QNN_M0_H
