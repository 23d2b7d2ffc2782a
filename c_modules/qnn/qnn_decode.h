// Operators of a file of kind 1 as the engine sees them. Internal to this module; docs/model-graph.md has
// the words of each.

#ifndef QNN_DECODE_H
#define QNN_DECODE_H

#include "qnn_core.h"
#include "qnn_ops.h"

enum {
    QNN_FULLY_CONNECTED = 1,
    QNN_CONV_2D = 2,
    QNN_DEPTHWISE_CONV_2D = 3,
    QNN_AVERAGE_POOL_2D = 4,
    QNN_MAX_POOL_2D = 5,
    QNN_ADD = 6,
    QNN_SUB = 7,
    QNN_MUL = 8,
    QNN_COPY = 9,
    QNN_FILL = 10,
    QNN_SOFTMAX = 11,
    QNN_MEAN = 12,
    QNN_DEQUANTIZE = 13,
    QNN_QUANTIZE = 14,
    QNN_LOAD = 15,
};

// Words of body header and of a tensor, in bytes.
#define QNN_BODY_HEADER (16)
#define QNN_TENSOR_SIZE (48)

typedef struct {
    uint8_t code;
    uint8_t value;       // FILL
    uint64_t units;      // pieces that it can be cut into; fits 32 bits once checked
    uint64_t cost;       // MACs, or what takes about as long, of one of them
    qnn_tensor_t x, y;
    qnn_tensor_t x2;     // ADD, SUB, MUL
    uint32_t scratch_at; // CONV_2D, DEPTHWISE_CONV_2D
    union {
        qnn_conv_t conv; // FULLY_CONNECTED too: batches positions, in_c, out_c
        qnn_pool_t pool;
        qnn_binary_t binary;
        qnn_copy_t copy;
        qnn_softmax_t softmax;
        qnn_mean_t mean;
        qnn_dequantise_t dequantise;
        qnn_quantise_t quantise;
    } u;
} qnn_op_t;

// Word i of the operator at p.
static inline uint32_t qnn_word(const uint8_t *p, unsigned i) {
    return qnn_u32(p + 4 * i);
}

// Words that an operator has, 0: no such operator.
unsigned qnn_op_words(uint8_t code);

void qnn_read_tensor(const uint8_t *tensors, uint32_t index, qnn_tensor_t *tensor);

// Everything about an operator but pointers. Its length and tensors have been checked.
void qnn_decode(const uint8_t *tensors, const uint8_t *p, qnn_op_t *op);

// The pointers; the operator has been checked.
void qnn_bind(const uint8_t *file, uint8_t *arena, const uint8_t *p, qnn_op_t *op);

#endif // QNN_DECODE_H
