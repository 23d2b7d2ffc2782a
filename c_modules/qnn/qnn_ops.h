// The operators that have one version of their kernel. Internal to this module; qnn_kernels.h says what a
// unit is and what may overlap.

#ifndef QNN_OPS_H
#define QNN_OPS_H

#include "qnn_kernels.h"

// Elements that element-wise operators do as one unit.
#define QNN_CHUNK (64)

// AVERAGE_POOL_2D and MAX_POOL_2D.
typedef struct {
    const int8_t *x;
    int8_t *y;
    uint32_t batches, in_h, in_w, out_h, out_w, channels;
    uint32_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
    int32_t min, max;
} qnn_pool_t;

// Unit: one row of the output.
void qnn_average_pool(const qnn_pool_t *p, uint32_t from, uint32_t to);
void qnn_max_pool(const qnn_pool_t *p, uint32_t from, uint32_t to);

// Four nested loops; the output of element-wise operators is dense in them, their inputs have strides.
typedef struct {
    uint32_t n[4];
    uint32_t stride[2][4];
} qnn_loops_t;

// Where a unit begins: QNN_CHUNK elements of the innermost loop, or what is left of it.
typedef struct {
    uint32_t at[2]; // offsets by the two sets of strides
    uint32_t dense; // number of elements before it
    uint32_t count;
} qnn_chunk_t;

uint64_t qnn_chunks(const qnn_loops_t *l);
void qnn_chunk(const qnn_loops_t *l, uint32_t unit, qnn_chunk_t *chunk);

// ADD, SUB and MUL.
typedef struct {
    const int8_t *x1;
    const int8_t *x2;
    int8_t *y;
    qnn_loops_t loops;
    int32_t zero1, zero2, zero, min, max;
    int32_t multiplier1, multiplier2, multiplier;
    int8_t shift1, shift2, shift;
    uint8_t left_shift; // ADD, SUB: what inputs are scaled up by, 0..20
} qnn_binary_t;

// Unit: a chunk.
void qnn_add(const qnn_binary_t *b, uint32_t from, uint32_t to);
void qnn_sub(const qnn_binary_t *b, uint32_t from, uint32_t to);
void qnn_mul(const qnn_binary_t *b, uint32_t from, uint32_t to);

// COPY: bytes from one place to another, through a table of 256 if there is one.
typedef struct {
    const uint8_t *x;
    uint8_t *y;
    const uint8_t *table; // NULL: as they are
    qnn_loops_t loops;    // strides of x and of y
} qnn_copy_t;

// Unit: a chunk.
void qnn_copy(const qnn_copy_t *c, uint32_t from, uint32_t to);

// SOFTMAX over rows.
typedef struct {
    const int8_t *x;
    int8_t *y;
    const int32_t *exp; // [256]: exp(-difference * scale), Q0.31
    uint32_t depth;
} qnn_softmax_t;

// Unit: a row.
void qnn_softmax(const qnn_softmax_t *s, uint32_t from, uint32_t to);

// MEAN.
typedef struct {
    const int8_t *x;
    int8_t *y;
    const int32_t *threshold; // [255], rising: the output is -128 + the number of them that the sum reaches
    qnn_loops_t kept;         // stride[0]: of x
    qnn_loops_t reduced;
} qnn_mean_t;

// Unit: one element of the output.
void qnn_mean(const qnn_mean_t *m, uint32_t from, uint32_t to);

// DEQUANTIZE by table; unit: QNN_CHUNK elements.
typedef struct {
    const uint8_t *x;
    uint32_t *y;
    const uint32_t *table; // [256] bits of float32
    uint32_t size;
} qnn_dequantise_t;

void qnn_dequantise(const qnn_dequantise_t *d, uint32_t from, uint32_t to);

// QUANTIZE of float32; unit: QNN_CHUNK elements.
typedef struct {
    const uint32_t *x; // bits of float32
    uint8_t *y;
    uint32_t scale; // bits of float32, positive, at least 2^-100
    int32_t zero, min, max;
    uint32_t size;
} qnn_quantise_t;

void qnn_quantise(const qnn_quantise_t *q, uint32_t from, uint32_t to);

#endif // QNN_OPS_H
