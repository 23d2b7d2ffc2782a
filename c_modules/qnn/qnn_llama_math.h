// The arithmetic that docs/model-llama.md specifies, and what the files of the transformer share.
//
// Shifts to the right of negative numbers round down, as every compiler that this builds with does it;
// shifts to the left go through unsigned.

#ifndef QNN_LLAMA_MATH_H
#define QNN_LLAMA_MATH_H

#include "qnn_llama.h"

// Types of tensors.
enum {
    QNN_LLAMA_F32 = 0,
    QNN_LLAMA_ROW = 1,    // int8 with 128 added, a scale for each row
    QNN_LLAMA_GROUP = 2,  // int8 with 128 added, a scale for each 32
    QNN_LLAMA_NIBBLE = 3, // 4 bits with 8 added, a scale for each 32
    QNN_LLAMA_INT16 = 4,  // gains
};

// Tensors of a file, in the order of their entries; from LAYER on they repeat.
enum {
    QNN_LLAMA_EMBEDDING,
    QNN_LLAMA_CLASSIFIER,
    QNN_LLAMA_NORM,
    QNN_LLAMA_LAYER,
};
enum {
    QNN_LLAMA_ATTN_NORM,
    QNN_LLAMA_WQ,
    QNN_LLAMA_WK,
    QNN_LLAMA_WV,
    QNN_LLAMA_WO,
    QNN_LLAMA_FFN_NORM,
    QNN_LLAMA_W1,
    QNN_LLAMA_W2,
    QNN_LLAMA_W3,
    QNN_LLAMA_PER_LAYER,
};
#define QNN_LLAMA_ENTRY (16)
#define QNN_LLAMA_LAYER_BYTES (QNN_LLAMA_PER_LAYER * QNN_LLAMA_ENTRY + 8)

#define QNN_LLAMA_LIMIT (1 << 30) // of what the layers add to

// A tensor as the file has it. Where there are groups, a row is `columns` long with its padding.
typedef struct {
    const uint8_t *data;
    const int16_t *scales;
    int32_t exponent;
    uint32_t type;
    uint32_t rows, columns;
} qnn_llama_tensor_t;

static inline const uint8_t *qnn_llama_layer(const qnn_llama_t *m, uint32_t layer) {
    return m->entries + QNN_LLAMA_LAYER * QNN_LLAMA_ENTRY + layer * QNN_LLAMA_LAYER_BYTES;
}

static inline int32_t qnn_llama_left(int32_t x, uint32_t n) {
    return (int32_t)((uint32_t)x << n);
}

// Bits of n: 0 for 0, 32 for 2^31.
static inline int32_t qnn_llama_bits(uint32_t n) {
    return n == 0 ? 0 : 32 - __builtin_clz(n);
}

static inline uint32_t qnn_llama_abs(int32_t x) {
    return x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
}

static inline qnn_real_t qnn_real(uint32_t m, int32_t e) {
    qnn_real_t r = { 0, 0 };
    if (m != 0) {
        int32_t over = qnn_llama_bits(m) - 16;
        r.m = over >= 0 ? m >> over : m << -over;
        r.e = e + over;
    }
    return r;
}

static inline qnn_real_t qnn_real_mul(qnn_real_t a, qnn_real_t b) {
    return qnn_real(a.m * b.m, a.e + b.e);
}

// v * m / 2^16 rounded down, m < 2^16.
static inline int32_t qnn_llama_mul16(int32_t v, uint32_t m) {
    return (v >> 16) * (int32_t)m + (int32_t)(((uint32_t)v & 0xffff) * m >> 16);
}

// v * m / 2^8 rounded down, |v| < 2^23 and m of 16 bits, signed or not.
static inline int32_t qnn_llama_mul8(int32_t v, int32_t m) {
    return (v >> 8) * m + (((v & 255) * m) >> 8);
}

// v * 2^left rounded to the nearest, half up, within +-limit (a power of two).
static inline int32_t qnn_llama_round(int32_t v, int32_t left, int32_t limit) {
    if (left >= 0) {
        int32_t most = left < 31 ? limit >> left : 0;
        return v > most ? limit : v < -most ? -limit : left < 31 ? qnn_llama_left(v, (uint32_t)left) : 0;
    }
    if (left <= -32) {
        return 0;
    }
    v = ((v >> (-left - 1)) + 1) >> 1;
    return v > limit ? limit : v < -limit ? -limit : v;
}

// v * s * 2^left as qnn_llama_round() makes it.
static inline int32_t qnn_llama_apply(int32_t v, qnn_real_t s, int32_t left, int32_t limit) {
    return qnn_llama_round(qnn_llama_mul16(v, s.m), s.e + 16 + left, limit);
}

// Largest magnitude of n numbers.
static inline uint32_t qnn_llama_largest(const int32_t *x, uint32_t n) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t a = qnn_llama_abs(x[i]);
        most = a > most ? a : most;
    }
    return most;
}

// Shifts n numbers so that their largest magnitude has 15 bits; returns how far to the right.
int32_t qnn_llama_fifteen(int32_t *x, uint32_t n);

// Makes int8 of n numbers: p[i] is about q[i] * scale. p is used up.
qnn_real_t qnn_llama_quantise(int32_t *p, uint32_t n, int8_t *q);

// 2^15 * 2^(-i / 256), and 2^16 / (1 + e^(-i / 16)).
extern const uint16_t qnn_llama_exp2[256];
extern const uint16_t qnn_llama_sigmoid[257];

// Entry of a tensor -> its parts; rows and columns as the model's sizes say.
void qnn_llama_tensor(const qnn_llama_t *m, const uint8_t *entry, uint32_t rows, uint32_t columns,
    qnn_llama_tensor_t *t);

// Fills the rest of m->q from n on as far as a kernel reads, and makes m->pairs and m->sums of it.
void qnn_llama_prepare(qnn_llama_t *m, uint32_t n);

// v[i] for rows from <= i < to of a matrix times the activations; returns 2^e of the unit that it adds.
int32_t qnn_llama_rows(const qnn_llama_t *m, const qnn_llama_tensor_t *t, int32_t *v, uint32_t from, uint32_t to);

// m->scores[i] for the first n rows of keys, `stride` apart: their products with one head's activations.
void qnn_llama_dots(qnn_llama_t *m, const uint8_t *rows, uint32_t stride, uint32_t n);

// Of n products, and scales `step` apart: scores times 2^8 / ln(2). Returns the largest. m, left: scale of the query.
int32_t qnn_llama_scores(int32_t *scores, uint32_t n, const uint16_t *scales, uint32_t step, uint32_t m, int32_t left);

uint32_t qnn_llama_largest_scale(const uint16_t *scales, uint32_t n, uint32_t step);

// *n scores to weights of the values; returns the sum of the probabilities. What is written over the scores is
// weight | position << 16 of those *n whose weight is not 0: of a long text's most are.
uint32_t qnn_llama_weights(uint32_t *scores, uint32_t *n, const uint16_t *scales, uint32_t step, uint32_t most,
    uint32_t shift);

// Sums of the values of n such positions, `stride` apart, each times its weight, for `size` places.
void qnn_llama_mix(const int8_t *values, uint32_t stride, uint32_t n, const uint32_t *weights, int32_t *out,
    uint32_t size);

// Attention of one layer: queries in b1 and keys and values in kv, products of the layer's matrices and
// scales a[0], a[1], a[2]; leaves activations in m->q, not yet prepared, and returns their scale.
qnn_real_t qnn_llama_attend(qnn_llama_t *m, uint32_t layer, const qnn_real_t *a);

// The float twin of qnn_llama_step().
int qnn_llama_step_float(qnn_llama_t *m);

#endif // QNN_LLAMA_MATH_H
