// Running a graph, a piece at a time.

#include <string.h>

#include "qnn_decode.h"

void qnn_init(qnn_run_t *run, const qnn_file_t *file, void *arena) {
    const uint8_t *body = file->bytes + file->body;
    uint32_t tensors = qnn_u16(body);
    run->file = file->bytes;
    run->arena = arena;
    run->count = (uint16_t)qnn_u16(body + 2);
    run->inputs = (uint16_t)qnn_u16(body + 4);
    run->outputs = (uint16_t)qnn_u16(body + 6);
    run->tensors = body + QNN_BODY_HEADER;
    run->operators = run->tensors + tensors * QNN_TENSOR_SIZE + ((run->inputs + run->outputs + 1u) & ~1u) * 2;
    run->at = run->operators;
    run->unit = 0;
    run->left = 0;
}

void qnn_tensor(const qnn_run_t *run, int output, uint32_t i, qnn_tensor_t *tensor) {
    const uint8_t *body = run->tensors - QNN_BODY_HEADER;
    const uint8_t *lists = run->tensors + qnn_u16(body) * QNN_TENSOR_SIZE;
    qnn_read_tensor(run->tensors, qnn_u16(lists + 2 * ((output ? run->inputs : 0u) + i)), tensor);
}

void qnn_begin(qnn_run_t *run) {
    run->at = run->operators;
    run->unit = 0;
    run->left = run->count;
}

static void fill(const qnn_op_t *op, uint32_t from, uint32_t to) {
    uint32_t end = to * QNN_CHUNK < op->y.size ? to * QNN_CHUNK : op->y.size;
    memset(op->u.copy.y + from * QNN_CHUNK, op->value, end - from * QNN_CHUNK);
}

static void work(const qnn_op_t *op, uint32_t from, uint32_t to) {
    switch (op->code) {
        case QNN_FULLY_CONNECTED:
            qnn_fully_connected(&op->u.conv, from, to);
            break;
        case QNN_CONV_2D:
            qnn_conv(&op->u.conv, from, to);
            break;
        case QNN_DEPTHWISE_CONV_2D:
            qnn_depthwise(&op->u.conv, from, to);
            break;
        case QNN_AVERAGE_POOL_2D:
            qnn_average_pool(&op->u.pool, from, to);
            break;
        case QNN_MAX_POOL_2D:
            qnn_max_pool(&op->u.pool, from, to);
            break;
        case QNN_ADD:
            qnn_add(&op->u.binary, from, to);
            break;
        case QNN_SUB:
            qnn_sub(&op->u.binary, from, to);
            break;
        case QNN_MUL:
            qnn_mul(&op->u.binary, from, to);
            break;
        case QNN_COPY:
        case QNN_LOAD:
            qnn_copy(&op->u.copy, from, to);
            break;
        case QNN_FILL:
            fill(op, from, to);
            break;
        case QNN_SOFTMAX:
            qnn_softmax(&op->u.softmax, from, to);
            break;
        case QNN_MEAN:
            qnn_mean(&op->u.mean, from, to);
            break;
        case QNN_DEQUANTIZE:
            qnn_dequantise(&op->u.dequantise, from, to);
            break;
        case QNN_QUANTIZE:
            qnn_quantise(&op->u.quantise, from, to);
            break;
    }
}

int qnn_step(qnn_run_t *run, uint32_t budget) {
    while (run->left > 0) {
        qnn_op_t op;
        qnn_decode(run->tensors, run->at, &op);
        qnn_bind(run->file, run->arena, run->at, &op);
        uint32_t units = (uint32_t)op.units, cost = op.cost < UINT32_MAX ? (uint32_t)op.cost : UINT32_MAX;
        uint32_t n = cost == 0 ? units : budget / cost;
        // Kernels take six positions at a time, or two rows; half of that is as much work as all of it.
        n = n >= 6 ? n - n % 6 : n >= 3 ? 6 : n > 0 ? n : 1;
        if (n < units - run->unit) {
            work(&op, run->unit, run->unit + n);
            run->unit += n;
            return 1;
        }
        n = units - run->unit;
        work(&op, run->unit, units);
        run->at += 4 * qnn_u16(run->at + 2);
        run->unit = 0;
        run->left--;
        uint64_t spent = (uint64_t)n * cost + 256; // and what it takes to begin an operator
        if (spent >= budget) {
            return run->left > 0;
        }
        budget -= (uint32_t)spent;
    }
    return 0;
}
